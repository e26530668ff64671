"""Settings of an evaluation, read from YAML; the whole of it is the cache key and is reported."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from ruichat.chat.model_options import ModelOptions
from ruichat.config import Config, read_yaml
from ruichat.errors import ConfigError
from ruichat.truth.symbolic import SymbolicConfig
from ruichat.truth.tile_folders import FolderConfig
from ruichat.truth.tiles import SourceConfig

SplitRule = Literal["folds", "groups", "runs"]


class ProbeConfig(Config):
    """Linear probe of one set of tiles."""

    name: str
    """A source of `sources` or a folder of `folders`."""
    split: SplitRule = "groups"
    """groups: the source's own held-out groups, the only split of what training knows; five folds
    over groups where it knows none. runs: the last files of each class by number, and five folds
    of such runs. folds: five folds over groups."""
    test_fraction: float = Field(default=0.3, gt=0, lt=1)
    """Share of files held out where the split is by runs."""
    wanted: float | None = None
    """Balanced accuracy aimed at; shown beside the score."""


class TileSuite(Config):
    """What is asked of the tile encoder."""

    classified: tuple[str, ...] = ()
    """Sources on whose held-out groups the shipped tile classifier is scored."""
    probes: tuple[ProbeConfig, ...] = ()
    regularisation: tuple[float, ...] = (0.0001, 0.001, 0.01, 0.1, 1.0)
    """Values of C, the inverse of the penalty, among which inner folds choose."""
    unknown: tuple[str, ...] = ()
    """Folders of tissue that no stage has trained on."""
    untrained: bool = True
    """Probe an untrained network too, which takes as long as the encoder."""
    random_seed: int = 0
    """Of the untrained network."""


class PhantomSuite(Config):
    """Drawn tissue; seeds from `first_seed` on that no stage trains on."""

    first_seed: int = 100_016
    num_fields: int = Field(default=24, ge=0)
    """Fields whose windows are laid into slides."""
    windows_per_field: int = Field(default=16, gt=0)
    num_slides: int = Field(default=20, ge=0)
    """Whole drawn slides, with seeds after those of the fields."""
    slide_px: tuple[int, int] = (2688, 2240)
    """Width and height of a drawn slide."""
    control_seed: int = 0
    num_control_fields: int = Field(default=16, ge=0)
    """Fields, of seeds for training, from which the colour-only control learns."""


class SlideSuite(Config):
    """What is asked about slides."""

    num_laid: int = Field(default=280, ge=0)
    """Slides laid from held-out tiles."""
    questions_per_slide: int = Field(default=4, gt=0)
    layout: SymbolicConfig = SymbolicConfig()
    phantoms: PhantomSuite = PhantomSuite()
    held_out_wordings: float = Field(default=0.5, ge=0, le=1)
    """Share of questions whose wording no stage has trained on."""
    max_tokens: int = Field(default=160, gt=0)
    """Longest answer, text tokens."""
    think: bool = False
    """Whether the model thinks before it answers; only the answers are scored."""
    batch: int = Field(default=96, gt=0)
    """Questions answered at a time."""
    num_checked: int = Field(default=12, ge=0)
    """Questions answered a second time through the chat itself, to see that batches agree."""


class EvaluateConfig(Config):
    """One evaluation."""

    seed: int = 0
    model: str = "mini"
    """Embedded model, a model folder, "hub:OWNER/NAME" or "openai:NAME"."""
    options: ModelOptions = ModelOptions()
    """How models that aren't ours are loaded, and what they are shown."""
    data: str = "data"
    """Folder that holds the tile sources; relative to where the command runs."""
    sources: tuple[SourceConfig, ...] = ()
    """The sources that training knows, with the same rule of which groups are held out."""
    folders: tuple[FolderConfig, ...] = ()
    tiles: TileSuite | None = None
    slides: SlideSuite | None = None
    questions: tuple[str, ...] = ()
    """JSONL files of questions about slides of your own."""
    num_draws: int = Field(default=1000, ge=10)
    """Bootstrap samples behind each interval."""

    def quick(self) -> EvaluateConfig:
        """The same in little: fewer slides, files and draws, no untrained network."""
        slides, tiles = self.slides, self.tiles
        folders = tuple(
            folder.model_copy(update={"every": 4 * folder.every}) if folder.number else folder
            for folder in self.folders
        )
        if tiles is not None:
            tiles = tiles.model_copy(update={"untrained": False})
        if slides is not None:
            phantoms = slides.phantoms.model_copy(
                update={"num_fields": 6, "num_control_fields": 6, "num_slides": 2}
            )
            slides = slides.model_copy(update={"num_laid": 46, "phantoms": phantoms})
        update = {"slides": slides, "tiles": tiles, "folders": folders, "num_draws": 200}
        return self.model_copy(update=update)


def load_config(path: Path) -> EvaluateConfig:
    """Read a config; `sources` may say where another file states them.

    Training and evaluation must agree on which groups are held out, so `sources` is best read off
    the recipe: {file: ../mini/recipe.yaml, at: encoder.sources}, relative to the config itself.

    Raises:
        ConfigError: a file is missing, isn't YAML, or a field is wrong.
    """
    values = read_yaml(path)
    sources = values.get("sources")
    if isinstance(sources, Mapping):
        where = cast(Mapping[str, str], sources)
        try:
            recipe: Any = read_yaml(path.parent / where["file"])
            values["sources"] = reduce(lambda at, key: at[key], where["at"].split("."), recipe)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path.name}: no sources at {dict(where)} ({error})",
                hint="Give sources: {file: recipe.yaml, at: encoder.sources}",
            ) from None
    return EvaluateConfig.checked(values, source=path.name)

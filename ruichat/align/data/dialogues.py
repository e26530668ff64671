"""Prepared dialogues and their slides, as training reads them: by number, over all files."""

from __future__ import annotations

import functools
import hashlib
from bisect import bisect_right
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from ruichat.align.data.slides import Looked, Reader, facts_of, longest_facts
from ruichat.errors import InputError, RuiChatError
from ruichat.features.bag import FeatureBag
from ruichat.truth.datasets.bags import Bags
from ruichat.truth.datasets.check import EmptySplitError
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.finding import Wrong
from ruichat.truth.datasets.laying import Laid, check_cited, lay, most_regions, names_regions
from ruichat.truth.datasets.store import DialogueFile


@dataclass(frozen=True)
class Shown:
    """The slides of a dialogue as the model is shown them.

    Attributes:
        laid: cut into regions.
        facts: the line before the first question; "" for none.
        area_mm2: tissue of each region.
    """

    laid: Laid
    facts: str
    area_mm2: Float64[NDArray[np.float64], " k"]


@dataclass(frozen=True)
class Size:
    """What is known of a dialogue's slides before their bags are read.

    Attributes:
        tiles: of all of them.
        most_regions: that they will be cut into.
    """

    tiles: int
    most_regions: int


class FiledDialogues(Sequence[Dialogue]):
    """Prepared files one behind the other, and the bags of their slides.

    Args:
        files: in our format.
        bags: of their slides.
        reader: of those bags.
        max_regions: of the model.
        facts: whether slides are told with their measured facts.

    Raises:
        EmptySplitError: there is no dialogue.
    """

    def __init__(
        self,
        files: Sequence[DialogueFile],
        bags: Bags,
        reader: Reader,
        *,
        max_regions: int,
        facts: bool = True,
    ) -> None:
        self._files, self._bags, self._reader = files, bags, reader
        self._max_regions, self._tells = max_regions, facts
        self._looked: dict[Path, Looked] = {}
        self._ends = np.cumsum([len(file) for file in files]).tolist()
        self.longest_facts = longest_facts(reader) if facts else ""
        if not self._ends or not self._ends[-1]:
            raise EmptySplitError("there is no dialogue to train on", hint="Give a file with some")

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, row: int) -> Dialogue:  # type: ignore[override]
        """One dialogue; raises as `DialogueFile`."""
        file, line = self._place(row)
        return file[line]

    def name(self, row: int) -> str:
        """What messages call a dialogue."""
        file, line = self._place(row)
        return file.place(line)

    def slides(self, row: int) -> tuple[Path, ...]:
        """The bags that a dialogue is about; raises as `Bags`."""
        return self._bags.of(self[row])

    @contextmanager
    def naming(self, row: int) -> Generator[None]:
        """Errors within name file and dialogue."""
        try:
            yield
        except Wrong as wrong:
            raise InputError(f"{self.name(row)}: {wrong.message}", hint=wrong.remedy) from None
        except RuiChatError as error:
            raise type(error)(f"{self.name(row)}: {error.message}", hint=error.hint) from error

    def size(self, row: int) -> Size:
        """What a dialogue's slides hold, by the heads of their bags where those can tell.

        Raises:
            Wrong: a slide has no bag.
            InputError: it is about pictures, or cites a region that there won't be.
            ArtifactError: a bag is of another encoder or damaged.
        """
        dialogue = self[row]
        paths = self._bags.of(dialogue)
        if not paths:
            raise InputError(
                "it is about single pictures; training here reads bags of slides",
                hint="Extract the pictures as slides, or leave the record out",
            )
        tiles = [self._look(path).num_tiles for path in paths]
        if self._reader.classifier is not None and names_regions(dialogue):
            # Only the tiles that the model is shown make regions; which, the bag's head can't tell.
            shown = [self._shown(path) for path in paths]
            return Size(sum(tiles), lay(dialogue, shown, self._max_regions).num_regions)
        most = most_regions(dialogue, tiles, self._max_regions)
        check_cited(dialogue, most)
        return Size(sum(tiles), most)

    @property
    def bags_digest(self) -> str:
        """Over how the bags were made whose sizes were asked for."""
        made = sorted(f"{path.name} {looked.made}" for path, looked in self._looked.items())
        return hashlib.sha256("\n".join(made).encode()).hexdigest()[:16]

    def show(self, row: int) -> Shown:
        """Read a dialogue's slides and cut them into regions; raises as `Reader`, `Bags`, `lay`."""
        dialogue = self[row]
        bags = [self._reader.read(path) for path in self._bags.of(dialogue)]
        shown = [self._reader.shown(bag) for bag in bags]
        laid = lay(dialogue, [bag for bag, _ in shown], self._max_regions)
        facts = ""
        if self._tells and len(bags) == 1:
            facts = facts_of(bags[0], shown[0][1], laid.num_regions)
        tile_mm2 = np.concatenate(
            [np.full(len(bag), (bag.span0 * bag.base_mpp / 1000) ** 2) for bag, _ in shown]
        )
        area = np.zeros(laid.num_regions)
        np.add.at(area, laid.region, tile_mm2[laid.tile])
        return Shown(laid, facts, area)

    def _look(self, path: Path) -> Looked:
        if path not in self._looked:
            self._looked[path] = self._reader.look(path)
        return self._looked[path]

    # Dialogues about a slide follow each other.
    @functools.lru_cache(2)  # noqa: B019 - one of these lives as long as its run
    def _shown(self, path: Path) -> FeatureBag:
        return self._reader.shown(self._reader.read(path))[0]

    def _place(self, row: int) -> tuple[DialogueFile, int]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        at = bisect_right(self._ends, row)
        return self._files[at], row - (self._ends[at - 1] if at else 0)

"""The parts that answer: encoder, tile classifier, language model and its calibration."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.chat.calibration import Calibration, load_calibration
from ruichat.chat.model_options import ModelOptions
from ruichat.errors import ArtifactError, ConfigError
from ruichat.registry import load_object

if TYPE_CHECKING:
    from ruichat.features.encoder import Encoder
    from ruichat.model.chat_model import ChatModel, ChatSession, SlideContext
    from ruichat.model.pictures import PictureConfig

CLASSIFIER_FILE = "tiles.safetensors"
"""A checkpoint folder may hold a tile classifier of its own encoder."""


@runtime_checkable
class TileClassifier(Protocol):
    """Reads tissue off embeddings."""

    def class_probabilities(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], "n c"]:
        """Per tile the probability of each of `histology.CLASSES`."""
        ...

    def known_score(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], " n"]:
        """How typical each tile is of the training data, 0-1."""
        ...


@runtime_checkable
class SlideModel(Protocol):
    """A language model that says which slides it reads."""

    @property
    def name(self) -> str:
        """Recorded with every answer."""
        ...

    @property
    def encoder(self) -> str:
        """Name of the encoder whose bags it reads."""
        ...

    @property
    def max_regions(self) -> int:
        """Regions a slide should be cut into at most."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where it was loaded from, None if not from a folder."""
        ...

    def open(self, slide: SlideContext | None) -> ChatSession:
        """See `ruichat.model.chat_model.ChatModel`."""
        ...


@runtime_checkable
class Thinker(Protocol):
    """A language model that may know thoughts."""

    @property
    def thinks(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class ContextReader(Protocol):
    """A language model whose dialogues may be `chat_model.CaseListener`s."""

    @property
    def reads_context(self) -> bool:
        """Whether they are."""
        ...


@dataclass(frozen=True)
class Backend:
    """Everything loaded that a chat needs beside the slide.

    Attributes:
        name: of the model, recorded with every answer.
        encoder: turns tiles into embeddings; None if the model looks at pictures instead.
        classifier: reads tissue classes off them; None if none was trained on this encoder, then
            composition and unknown tissue aren't measured.
        model: writes the answers.
        calibration: of the model; None if it carries none, then nothing is stated as definite.
        max_regions: regions a slide is split into at most.
        thinking_calibration: as `calibration`, of answers that are thought about first.
        prompts: names and versions of prompts of its own, recorded with every answer.
        pictures: how large the pictures are that it is shown; None if it looks at none.
        sends_to: address of another machine that gets pictures, or embeddings, of the slide; ""
            if none does.
    """

    name: str
    encoder: Encoder | None
    classifier: TileClassifier | None
    model: ChatModel
    calibration: Calibration | None
    max_regions: int
    thinking_calibration: Calibration | None = None
    prompts: tuple[str, ...] = ()
    pictures: PictureConfig | None = None
    sends_to: str = ""

    @property
    def thinks(self) -> bool:
        """Whether the model can be told to think before it answers."""
        return isinstance(self.model, Thinker) and self.model.thinks

    @property
    def reads_context(self) -> bool:
        """Whether the model is told the clinical context: never one on another machine."""
        reads = isinstance(self.model, ContextReader) and self.model.reads_context
        return reads and not self.sends_to


def load_backend(
    model: str, options: ModelOptions | None = None, *, num_threads: int = 0
) -> Backend:
    """The model of that name, or of that folder, with all it needs.

    Args:
        model: "mini", a checkpoint folder of ours or of another project, "hub:OWNER/NAME",
            "openai:NAME", or "embeds:FOLDER", a checkpoint of ours whose language model a server
            runs.
        options: how models that aren't ours are loaded; defaults if None.
        num_threads: of a model of ours and of its encoder on the CPU; their own choice if 0.

    Raises:
        ConfigError: neither a known name nor a folder, or an option that it has no use for.
        PrerequisiteError: weights or packages are missing.
        ArtifactError: a file is damaged, or encoder, classifier and model don't belong together.
        ModelError: a processor can't be used, or a server can't be reached.
    """
    from ruichat.chat.other_models import check_given, load_other
    from ruichat.features.encoder import load_encoder
    from ruichat.features.runtime.ways import RunConfig

    options = options or ModelOptions()
    other = load_other(model, options)
    if other is not None:
        return other
    sends_to = ""
    if model.startswith("embeds:"):
        check_given(model, options, {"base_url", "allow_remote", "timeout_s"})
        chat_model, sends_to = _ask_server(model, options)
    else:
        check_given(model, options, set())
        chat_model = _load_model(model, num_threads)
    run = RunConfig(num_threads=num_threads) if num_threads else None
    encoder = load_encoder(chat_model.encoder, run=run)
    classifier = _load_classifier(chat_model.folder, encoder)
    calibration, of_thinking = None, None
    if chat_model.folder is not None:
        calibration = load_calibration(chat_model.folder)
        of_thinking = load_calibration(chat_model.folder, thinking=True)
    return Backend(
        name=chat_model.name,
        encoder=encoder,
        classifier=classifier,
        model=chat_model,
        calibration=calibration,
        max_regions=chat_model.max_regions,
        thinking_calibration=of_thinking,
        sends_to=sends_to,
    )


def check_name(model: str) -> None:
    """Refuse what can't be a model, before anything heavy is imported.

    Raises:
        ConfigError: neither a known name nor a folder nor "hub:…", "openai:…" or "embeds:…".
    """
    from ruichat.model.chat_model import CHAT_MODELS

    kind, _, rest = model.partition(":")
    if kind in ("hub", "openai", "embeds") and rest:
        return
    if model not in CHAT_MODELS and not os.path.isdir(model):
        CHAT_MODELS.get(model)  # names the known models


def _load_classifier(folder: Path | None, encoder: Encoder) -> TileClassifier | None:
    """The checkpoint's own tile classifier, else the shipped one if it reads this encoder."""
    from ruichat.features import tile_classifier as shipped

    own = None if folder is None else folder / CLASSIFIER_FILE
    if own is not None and own.is_file():
        classifier = shipped.load_tile_classifier(own)
    elif encoder.card.name == shipped.ENCODER:
        classifier = shipped.load_tile_classifier()
    else:
        return None
    if classifier.encoder_digest != encoder.digest:
        raise ArtifactError(
            f"the tile classifier was trained on encoder weights {classifier.encoder_digest[:8]}; "
            f"encoder {encoder.card.name!r} has {encoder.digest[:8]}",
            hint=f"Install ruichat again, or put a fitting {CLASSIFIER_FILE} into the checkpoint",
        )
    return classifier


def _ask_server(model: str, options: ModelOptions) -> tuple[SlideModel, str]:
    """A checkpoint whose language model a server runs, and where that is if not here."""
    from ruichat.model.embeds_chat import EmbedsChatModel
    from ruichat.model.openai_http import Endpoint

    endpoint = Endpoint.of(
        options.base_url, allow_remote=options.allow_remote, timeout_s=options.timeout_s
    )
    address = "" if endpoint.is_local else endpoint.base_url
    return EmbedsChatModel.connect(model, endpoint), address


def _load_model(model: str, num_threads: int) -> SlideModel:
    from ruichat.model.chat_model import CHAT_MODELS
    from ruichat.model.checkpoint import load_checkpoint

    if model in CHAT_MODELS:
        loader = load_object(CHAT_MODELS.get(model).loader)
        return cast("Callable[..., SlideModel]", loader)(num_threads=num_threads)
    if os.path.isdir(model):  # unlike pathlib's, false for what no file can be called
        return load_checkpoint(Path(model), num_threads=num_threads)
    check_name(model)
    raise ConfigError(f"{model!r} is neither a known model nor a checkpoint folder")

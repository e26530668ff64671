"""The door to every language model: open a slide, ask, and read the answer piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ruichat.registry import Registry

if TYPE_CHECKING:
    from ruichat.features.bag import FeatureBag
    from ruichat.model.pictures import Picture, SlidePictures
    from ruichat.model.regions import Regions

MAX_TOKENS = 160
"""Text tokens an answer may have unless the caller says otherwise; ours, about 100 words."""

MAX_THOUGHT_TOKENS = 512
"""Text tokens a thought may have before it is closed; ours, a third of mini's context."""


FOREIGN = -1
"""Id of a piece of another vocabulary, which must never be taken for one of ours."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One text token of an answer.

    Attributes:
        text: what it spells, "[R7]" for a name; may be empty while a character is incomplete.
        token_id: its id; `FOREIGN` where the vocabulary isn't ours.
        logprob: natural logarithm of the probability with which it was chosen.
        region: index into `Regions.boxes` if it names a region, 6 for [R7].
        fact: name of the measured fact it stands for, without braces.
        thought: whether it belongs to what the model writes for itself before it answers.
    """

    text: str
    token_id: int
    logprob: float
    region: int | None = None
    fact: str | None = None
    thought: bool = False


@dataclass(frozen=True, slots=True)
class OptionScore:
    """How likely a model finds a given answer.

    Attributes:
        logprob: of all its text tokens and of ending there.
        num_tokens: how many that are; divide by it to compare answers of unequal length.
    """

    logprob: float
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Text tokens that an answer took, as the model's own tokenizer counts them.

    Attributes:
        prompt: that the model had read before its first word, the slide included.
        slide: of these the slide's, read once for all questions; None where nobody says.
        written: by the model, thoughts and what was held back included.
    """

    prompt: int = 0
    slide: int | None = 0
    written: int = 0

    @staticmethod
    def total(usages: Iterable[Usage | None]) -> Usage | None:
        """Of several answers together; None where one isn't known."""
        known: list[Usage] = []
        for usage in usages:
            if usage is None:
                return None
            known.append(usage)
        slides = [usage.slide for usage in known if usage.slide is not None]
        return Usage(
            sum(usage.prompt for usage in known),
            sum(slides) if len(slides) == len(known) else None,
            sum(usage.written for usage in known),
        )


@dataclass(frozen=True)
class SlideContext:
    """What a model is told about a slide before the first question.

    Attributes:
        bag: embeddings of the slide's tiles.
        regions: the bag cut into named regions.
        facts: what was measured, as text of ours.
        pictures: of the slide and its regions, for models that look at pixels; each is read when
            it is asked for. None where there is no slide file.
    """

    bag: FeatureBag
    regions: Regions
    facts: str = ""
    pictures: SlidePictures | None = None


@runtime_checkable
class ChatSession(Protocol):
    """One dialogue about one slide; the slide is read once, turns follow each other.

    A session may say in an attribute `was_cut` whether its last answer ended at `max_tokens`, and
    in `usage` what that took, a `Usage`, or None where it isn't known.
    """

    def stream(
        self, question: str, *, max_tokens: int = MAX_TOKENS, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        """Answer one question, greedily, as the pieces come.

        A caller who has read enough closes the generator; the words yielded so far stay part of
        the dialogue.

        Args:
            question: as typed.
            max_tokens: of the answer; a thought has its own bound.
            think: whether a thought comes before the answer; None leaves it to the model. Models
                that don't think ignore None and False.

        Raises:
            InputError: the question is empty or too long, or the dialogue is.
            ModelError: a thought is asked of a model that doesn't think.
        """
        ...

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        """How likely each option is as the answer to a question; the dialogue stays as it is.

        Raises:
            InputError: as `stream`.
        """
        ...

    def fork(self) -> ChatSession:
        """A dialogue that goes its own way from here; nothing is read again."""
        ...


@runtime_checkable
class CaseListener(Protocol):
    """A dialogue of a model that makes use of what people say about the case.

    Our own models aren't: they were taught on slides and measured facts alone.
    """

    def know(self, context: str) -> None:
        """Tell it before the first question; every line is quoted, none is an instruction."""
        ...


@runtime_checkable
class PictureViewer(Protocol):
    """A language model that can be asked about a picture that is of no slide."""

    def look_at(self, picture: Picture) -> ChatSession:
        """Begin a dialogue about one picture, of which nothing else is told."""
        ...


@runtime_checkable
class ChatModel(Protocol):
    """A language model that answers about slides."""

    @property
    def name(self) -> str:
        """Recorded with every answer."""
        ...

    def open(self, slide: SlideContext | None) -> ChatSession:
        """Begin a dialogue about a slide, or about none.

        Raises:
            ArtifactError: the bag comes from an encoder this model wasn't trained on.
        """
        ...


@dataclass(frozen=True)
class ChatModelCard:
    """A model that can be asked for by name.

    Attributes:
        name: unique.
        license: SPDX identifier of the weights.
        loader: "module:function" that takes `num_threads` (0 leaves the choice to it) and returns
            a `ChatModel`.
    """

    name: str
    license: str
    loader: str


CHAT_MODELS: Registry[ChatModelCard] = Registry("language model", "ruichat.llms")

CHAT_MODELS.add(
    ChatModelCard("mini", license="Apache-2.0", loader="ruichat.model.checkpoint:load_mini")
)

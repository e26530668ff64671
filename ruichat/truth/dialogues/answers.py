"""What answers can say: one clean form for each, given by English and Chinese in their modules.

The program fills the fact pieces with their unit: "{tumour_percent}" becomes "34%".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ruichat.histology import BY_KEY, Language
from ruichat.model.vocabulary import CANNOT
from ruichat.truth.dialogues.reading import Topic

Half = Literal["left", "right", "upper", "lower"]
Share = Literal["small", "moderate", "most"]
Reason = Literal[
    "ihc",
    "molecular",
    "outcome",
    "clinical",
    "identity",
    "modality",
    "beyond",
    "offtopic",
    "attack",
    "region",
    "noslide",
    "organ",
]

GROUP_NAMES: dict[str, tuple[str, str]] = {
    "tumour": ("tumour", "肿瘤"),
    "squamous_carcinoma": ("squamous cell carcinoma", "鳞状细胞癌"),
    "adenocarcinoma": ("adenocarcinoma", "腺癌"),
}


@dataclass(frozen=True, slots=True)
class Cited:
    """A topic and the regions named for it."""

    topic: Topic
    regions: tuple[int, ...]


def region_name(region: int) -> str:
    """The piece that names a region counted from 0."""
    return f"[R{region + 1}]"


def cite(regions: Sequence[int]) -> str:
    """Citation of regions, in reading order."""
    return "".join(region_name(region) for region in regions)


class Words(ABC):
    """Sentences of one language. Each method gives one whole answer unless it says otherwise."""

    language: ClassVar[Language]
    yes: ClassVar[tuple[str, str]]
    """How answers begin that say yes, and that say no."""
    polar: ClassVar[dict[str, str]]
    """How answers begin to questions for which a bare yes or no is an answer."""
    has: ClassVar[str]
    """What follows the name of the region that has more."""
    mixed: ClassVar[str]
    """Word in every answer that calls a region mixed."""
    both: ClassVar[str]
    """How answers begin that put two regions level."""
    normality: ClassVar[dict[str, str]]
    """How answers begin that say whether the tissue is normal, however that was asked."""
    alike: ClassVar[dict[str, str]]
    """How answers begin that say whether two regions show the same."""
    malignant_tumour: ClassVar[str]
    malign: ClassVar[str]
    """How answers begin that say malignant."""
    seen_in: ClassVar[str]
    """Words found in every answer that says where something is."""
    halves: ClassVar[dict[str, str]]
    shares: ClassVar[dict[str, str]]
    reasons: ClassVar[dict[Reason, str]]
    amounts: ClassVar[dict[str, str]]
    """Sentences around a fact piece; "{cites}" stands for citations."""
    organs: ClassVar[dict[str, str]]
    from_organ: ClassVar[str]
    """Words before the organ in every answer that names it."""

    def name(self, topic: Topic) -> str:
        """Noun for a topic, without article."""
        if topic.key in GROUP_NAMES:
            return GROUP_NAMES[topic.key][self.language == "zh"]
        return BY_KEY[topic.key].name(self.language)

    def missing_name(self, topic: Topic) -> str:
        """Noun for a topic that isn't seen: of tumours only the malignant are ruled out."""
        return self.malignant_tumour if topic.key == "tumour" else self.name(topic)

    def cannot(self, reason: Reason) -> str:
        """Why there is no answer."""
        return CANNOT + self.reasons[reason]

    def amount(self, fact: str, regions: Sequence[int] = ()) -> str:
        """A measured number; `fact` is a name in `vocabulary.FACTS_NAMES`."""
        return self.amounts[fact].replace("{cites}", cite(regions))

    @abstractmethod
    def listed(self, parts: Sequence[Cited]) -> str:
        """Names with citations, a part of a sentence."""

    @abstractmethod
    def tissue(self, part: Cited, *, pure: bool) -> str:
        """What most of the tissue is, a part of a sentence."""

    @abstractmethod
    def tumour_found(self, parts: Sequence[Cited]) -> str:
        """Yes, there is tumour, of these types."""

    @abstractmethod
    def tumour_seen(self, parts: Sequence[Cited]) -> str:
        """There is tumour, of these types."""

    @abstractmethod
    def malignant(self, parts: Sequence[Cited]) -> str:
        """Malignant, not benign: tumour of these types."""

    @abstractmethod
    def not_normal(self, parts: Sequence[Cited]) -> str:
        """The tissue isn't normal: there is tumour of these types."""

    @abstractmethod
    def normal(self, parts: Sequence[Cited]) -> str:
        """The tissue is normal."""

    @abstractmethod
    def found(self, part: Cited) -> str:
        """Yes, it is seen."""

    @abstractmethod
    def missing(self, topic: Topic, background: str) -> str:
        """It isn't seen; the background says what is."""

    @abstractmethod
    def location(self, part: Cited) -> str:
        """Where it is seen."""

    @abstractmethod
    def tumour_type(self, parts: Sequence[Cited]) -> str:
        """Which tumour it is."""

    @abstractmethod
    def main_tissue(self, part: Cited, *, pure: bool) -> str:
        """What most of the tissue is."""

    @abstractmethod
    def also(self, parts: Sequence[Cited]) -> str:
        """What else is seen."""

    @abstractmethod
    def region(self, region: int, main: Topic | None, others: Sequence[Topic]) -> str:
        """What a region shows; without `main` it is mixed."""

    @abstractmethod
    def region_yes(self, region: int, topic: Topic) -> str:
        """Yes, the region shows it."""

    @abstractmethod
    def region_no(self, region: int, main: Topic) -> str:
        """No, the region shows something else."""

    @abstractmethod
    def half_more(self, half: Half, part: Cited) -> str:
        """One half holds more of it."""

    @abstractmethod
    def halves_equal(self, part: Cited) -> str:
        """Both halves hold about as much."""

    @abstractmethod
    def more(self, more: int, less: int, topic: Topic) -> str:
        """One region has more of it than another."""

    @abstractmethod
    def as_much(self, first: int, second: int, topic: Topic) -> str:
        """Two regions have about as much of it."""

    @abstractmethod
    def same(self, first: int, second: int, topic: Topic) -> str:
        """Two regions show the same."""

    @abstractmethod
    def different(self, first: int, topic: Topic, second: int, other: Topic) -> str:
        """Two regions show different tissue."""

    @abstractmethod
    def majority(self, part: Cited, *, more: bool) -> str:
        """Whether more than half of the tissue is that."""

    @abstractmethod
    def share(self, share: Share, part: Cited) -> str:
        """Roughly how much of the tissue it is."""

    @abstractmethod
    def organ(self, organ: str, regions: Sequence[int]) -> str:
        """Which organ the tissue is from."""

    @abstractmethod
    def quality(self) -> str:
        """Focus and stain."""

"""What a slide shows, as sets of regions: the truth that dialogues are written from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float32

from ruichat.histology import KEYS, MALIGNANT
from ruichat.truth.symbolic import INDEX, SymbolicSlide

EVIDENCE = 0.5
"""A region shows a class from this fraction on."""

ALLOWED = 0.25
"""From this fraction on, citing the region for the class isn't wrong."""

TRACE = 0.05
"""Below this share of the whole slide, and `ALLOWED` in every region, a class isn't seen."""

MIXED = 0.45
"""A region whose largest class takes less is mixed; from here to `EVIDENCE` it isn't clear."""

PURE = 0.9
"""From this share on, tissue is of one class."""


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that can be asked about: a class or several.

    Attributes:
        key: class key, or a name of several classes such as "tumour".
        members: classes that make it present.
        unclear: classes that may hide it; beside them its absence isn't asserted.
    """

    key: str
    members: tuple[str, ...]
    unclear: tuple[str, ...] = ()


_UNCLEAR: dict[str, tuple[str, ...]] = {
    "lung_adenocarcinoma": ("nodal_metastasis", "carcinoma_glands"),
    "lung_squamous_carcinoma": (
        "oral_squamous_carcinoma",
        "nodal_metastasis",
        "carcinoma_nests",
    ),
    "oral_squamous_carcinoma": (
        "lung_squamous_carcinoma",
        "nodal_metastasis",
        "carcinoma_nests",
    ),
    "breast_carcinoma": ("nodal_metastasis", "carcinoma_nests", "carcinoma_glands"),
    "carcinoma_nests": (
        "lung_adenocarcinoma",
        "lung_squamous_carcinoma",
        "oral_squamous_carcinoma",
        "breast_carcinoma",
        "nodal_metastasis",
    ),
    "carcinoma_glands": ("lung_adenocarcinoma", "breast_carcinoma", "nodal_metastasis"),
    "normal_glands": ("colorectal_polyp",),
    "lymphoid_tissue": ("nodal_metastasis",),
}

TUMOUR = Topic("tumour", tuple(key for key in KEYS if key in MALIGNANT))
SQUAMOUS = Topic(
    "squamous_carcinoma",
    ("lung_squamous_carcinoma", "oral_squamous_carcinoma"),
    ("nodal_metastasis", "carcinoma_nests"),
)
ADENOCARCINOMA = Topic(
    "adenocarcinoma",
    ("lung_adenocarcinoma", "carcinoma_glands"),
    ("breast_carcinoma", "nodal_metastasis"),
)
CLASS_TOPICS: tuple[Topic, ...] = tuple(Topic(key, (key,), _UNCLEAR.get(key, ())) for key in KEYS)
MALIGNANT_TOPICS: tuple[Topic, ...] = tuple(t for t in CLASS_TOPICS if t.key in MALIGNANT)
TOPICS: dict[str, Topic] = {
    topic.key: topic for topic in (*CLASS_TOPICS, TUMOUR, SQUAMOUS, ADENOCARCINOMA)
}


_ORDER: dict[str, int] = {key: i for i, key in enumerate(TOPICS)}


def _membership(choose: Callable[[Topic], tuple[str, ...]]) -> Float32[np.ndarray, "topics c"]:
    """One row per topic: 1 for each of the classes that `choose` gives of it."""
    rows = [[float(key in choose(topic)) for key in KEYS] for topic in TOPICS.values()]
    return np.array(rows, dtype=np.float32)


_MEMBERS = _membership(lambda topic: topic.members)
_UNCLEAR_MEMBERS = _membership(lambda topic: topic.unclear)


class Reading:
    """Sets of regions of one slide by topic; computed once, then looked up."""

    def __init__(self, slide: SymbolicSlide) -> None:
        self.slide = slide
        self.k = slide.num_regions
        self._share = slide.fractions @ _MEMBERS.T
        self._hidden = slide.fractions @ _UNCLEAR_MEMBERS.T
        self._overall = _MEMBERS @ slide.composition
        nothing = (self._share.max(axis=0) < ALLOWED - 1e-6) & (self._overall < TRACE)
        self._present = np.any(self._share >= EVIDENCE - 1e-6, axis=0)
        self._absent = nothing & (_UNCLEAR_MEMBERS @ ~nothing[: len(KEYS)] == 0)

    @cached_property
    def answers(self) -> tuple[tuple[Topic, Literal["yes", "no"]], ...]:
        """Whether each topic is there, for those of which it is clear."""
        return tuple(
            (topic, "yes" if self._present[i] else "no")
            for i, topic in enumerate(TOPICS.values())
            if self._present[i] or self._absent[i]
        )

    def share(self, topic: Topic) -> Float32[np.ndarray, " k"]:
        """Fraction of each region that the topic's classes take."""
        return self._share[:, _ORDER[topic.key]]

    def hidden(self, topic: Topic) -> Float32[np.ndarray, " k"]:
        """Fraction of each region that classes take which may hide the topic."""
        return self._hidden[:, _ORDER[topic.key]]

    def overall(self, topic: Topic) -> float:
        """Share of the slide's tissue."""
        return float(self._overall[_ORDER[topic.key]])

    def evidence(self, topic: Topic) -> tuple[int, ...]:
        """Regions that show the topic."""
        return tuple(np.flatnonzero(self.share(topic) >= EVIDENCE - 1e-6).tolist())

    def allowed(self, topic: Topic) -> tuple[int, ...]:
        """Regions that may be cited for it."""
        return tuple(np.flatnonzero(self.share(topic) >= ALLOWED - 1e-6).tolist())

    def is_present(self, topic: Topic) -> bool:
        """At least one region shows it."""
        return bool(self._present[_ORDER[topic.key]])

    def is_absent(self, topic: Topic) -> bool:
        """No region holds a notable part of it, and nothing that may hide it is there."""
        return bool(self._absent[_ORDER[topic.key]])

    @cached_property
    def shown(self) -> tuple[tuple[int, Topic], ...]:
        """Regions of which one class takes half, with that class."""
        best = self.slide.fractions.argmax(axis=1)
        half = self.slide.fractions.max(axis=1) >= EVIDENCE - 1e-6
        return tuple((r, CLASS_TOPICS[best[r]]) for r in np.flatnonzero(half).tolist())

    @cached_property
    def present_classes(self) -> tuple[Topic, ...]:
        """Classes shown by at least one region, the largest part of the slide first."""
        topics = [topic for topic in CLASS_TOPICS if self.is_present(topic)]
        return tuple(sorted(topics, key=lambda topic: -self.overall(topic)))

    @cached_property
    def dominant(self) -> Topic:
        """The class that takes the largest part of the slide."""
        return CLASS_TOPICS[int(self.slide.composition.argmax())]

    @cached_property
    def lead(self) -> float:
        """By how much of the slide the dominant class exceeds the next."""
        first, second = np.sort(self.slide.composition)[-1:-3:-1]
        return float(first - second)

    def support(self, topic: Topic) -> tuple[int, ...]:
        """Regions to cite for a topic: those that show it, else the one that holds most of it."""
        return self.evidence(topic) or (int(self.share(topic).argmax()),)

    @cached_property
    def tumour_regions(self) -> dict[Topic, tuple[int, ...]]:
        """Regions that show tumour by the type that takes most of them, types in fixed order."""
        columns = [INDEX[topic.key] for topic in MALIGNANT_TOPICS]
        leading = self.slide.fractions[:, columns].argmax(axis=1)
        regions = self.evidence(TUMOUR)
        groups = {
            topic: tuple(r for r in regions if leading[r] == i)
            for i, topic in enumerate(MALIGNANT_TOPICS)
        }
        return {topic: group for topic, group in groups.items() if group}

    def region_classes(self, region: int) -> tuple[Topic, ...]:
        """Classes that take a quarter or more of a region, largest first."""
        row = self.slide.fractions[region]
        order = np.argsort(-row, kind="stable")
        return tuple(CLASS_TOPICS[i] for i in order if row[i] >= ALLOWED - 1e-6)

    def region_class(self, region: int) -> Topic | None:
        """The class a region shows, if one takes half of it."""
        row = self.slide.fractions[region]
        best = int(row.argmax())
        return CLASS_TOPICS[best] if row[best] >= EVIDENCE - 1e-6 else None

    def is_mixed(self, region: int) -> bool:
        """Whether a region clearly holds two classes or more, none of them half of it."""
        return (
            float(self.slide.fractions[region].max()) < MIXED
            and len(self.region_classes(region)) > 1
        )

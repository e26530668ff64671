"""The wording of answers in English."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ruichat.truth.dialogues.answers import (
    Cited,
    Half,
    Reason,
    Share,
    Words,
    cite,
    region_name,
)
from ruichat.truth.dialogues.reading import Topic

_PLURAL = frozenset({"carcinoma_nests", "carcinoma_glands", "normal_glands"})


class English(Words):
    """English answers."""

    language = "en"
    yes = ("Yes", "No ")
    polar: ClassVar[dict[str, str]] = {"yes": "Yes,", "no": "No,"}
    normality: ClassVar[dict[str, str]] = {"yes": "No abnormality", "no": "Not normal"}
    alike: ClassVar[dict[str, str]] = {"yes": "Both show", "no": "They differ"}
    malignant_tumour = "malignant tumour"
    malign = "Malignant"
    from_organ = "is from the "
    has = "has"
    both = "Both"
    mixed = "mixed"
    seen_in = "seen in"
    halves: ClassVar[dict[str, str]] = {
        "left": "left half",
        "right": "right half",
        "upper": "upper half",
        "lower": "lower half",
        "both": "Both halves",
    }
    shares: ClassVar[dict[str, str]] = {
        "small": "a small part",
        "moderate": "a moderate part",
        "most": "most",
    }
    amounts: ClassVar[dict[str, str]] = {
        "tumour_percent": "Tumour makes up {tumour_percent} of the tissue {cites}.",
        "tumour_mm2": "The tumour covers {tumour_mm2} {cites}.",
        "necrosis_percent": "Necrosis makes up {necrosis_percent} of the tissue {cites}.",
        "lymphoid_percent": "Lymphoid tissue makes up {lymphoid_percent} of the tissue {cites}.",
        "tissue_mm2": "The tissue covers {tissue_mm2}.",
        "num_regions": "The slide is divided into {num_regions} regions.",
        "num_tiles": "{num_tiles} tiles of tissue were read.",
        "mpp": "The resolution is {mpp}.",
    }
    organs: ClassVar[dict[str, str]] = {
        "lung": "lung",
        "oral cavity": "oral cavity",
        "colorectum": "colorectum",
        "breast": "breast",
        "lymph node": "lymph node",
    }
    reasons: ClassVar[dict[Reason, str]] = {
        "ihc": "Cannot determine: this needs immunohistochemistry, H&E does not show it.",
        "molecular": "Cannot determine: this needs a molecular test, H&E does not show it.",
        "outcome": "Cannot determine: outcome and treatment cannot be read off an H&E slide.",
        "clinical": "Cannot determine: this needs clinical and gross findings beyond the slide.",
        "identity": "Cannot determine: the slide does not tell who the patient is.",
        "modality": "Cannot determine: only H&E slides can be read here, no other images.",
        "beyond": "Cannot determine: this finding is beyond what this model was trained to see.",
        "offtopic": "Cannot answer: only questions about this slide can be answered.",
        "attack": "Cannot do that: only questions about this slide can be answered.",
        "region": "Cannot determine: there is no such region; the slide has {num_regions} regions.",
        "noslide": "Cannot determine: no slide is open.",
        "organ": "Cannot determine: the tissues seen do not point to one organ.",
    }

    def _is(self, topic: Topic) -> str:
        return "are" if topic.key in _PLURAL else "is"

    def _subject(self, topic: Topic) -> str:
        name = self.name(topic)
        return f"a {name}" if topic.key == "colorectal_polyp" else name

    def listed(self, parts: Sequence[Cited]) -> str:
        return "; ".join(f"{self.name(part.topic)} {cite(part.regions)}" for part in parts)

    def tissue(self, part: Cited, *, pure: bool) -> str:
        adverb = "" if pure else "mainly "
        return f"the tissue is {adverb}{self.name(part.topic)} {cite(part.regions)}"

    def tumour_found(self, parts: Sequence[Cited]) -> str:
        return f"Yes, there is tumour: {self.listed(parts)}."

    def tumour_seen(self, parts: Sequence[Cited]) -> str:
        return f"There is tumour: {self.listed(parts)}."

    def malignant(self, parts: Sequence[Cited]) -> str:
        return f"Malignant: {self.listed(parts)}."

    def not_normal(self, parts: Sequence[Cited]) -> str:
        return f"Not normal, there is tumour: {self.listed(parts)}."

    def normal(self, parts: Sequence[Cited]) -> str:
        return f"No abnormality is seen: {self.listed(parts)}."

    def found(self, part: Cited) -> str:
        topic = part.topic
        return f"Yes, {self._subject(topic)} {self._is(topic)} seen {cite(part.regions)}."

    def missing(self, topic: Topic, background: str) -> str:
        return f"No {self.missing_name(topic)} {self._is(topic)} seen; {background}."

    def location(self, part: Cited) -> str:
        subject = self._subject(part.topic)
        subject = subject[0].upper() + subject[1:]
        return f"{subject} {self._is(part.topic)} seen in {cite(part.regions)}."

    def tumour_type(self, parts: Sequence[Cited]) -> str:
        return f"The tumour is {self.listed(parts)}."

    def main_tissue(self, part: Cited, *, pure: bool) -> str:
        text = self.tissue(part, pure=pure)
        return f"T{text[1:]}."

    def also(self, parts: Sequence[Cited]) -> str:
        return f"Also seen: {self.listed(parts)}."

    def region(self, region: int, main: Topic | None, others: Sequence[Topic]) -> str:
        names = " and ".join(self.name(topic) for topic in others)
        if main is None:
            return f"{region_name(region)} is mixed: {names}."
        if others:
            return f"{region_name(region)} shows mainly {self.name(main)}, with {names}."
        return f"{region_name(region)} shows {self.name(main)}."

    def region_yes(self, region: int, topic: Topic) -> str:
        return f"Yes, {region_name(region)} shows {self.name(topic)}."

    def region_no(self, region: int, main: Topic) -> str:
        return f"No, {region_name(region)} shows {self.name(main)}."

    def half_more(self, half: Half, part: Cited) -> str:
        return f"The {self.halves[half]} has more {self.name(part.topic)} {cite(part.regions)}."

    def halves_equal(self, part: Cited) -> str:
        return f"Both halves have similar amounts of {self.name(part.topic)} {cite(part.regions)}."

    def more(self, more: int, less: int, topic: Topic) -> str:
        return f"{region_name(more)} has more {self.name(topic)} than {region_name(less)}."

    def as_much(self, first: int, second: int, topic: Topic) -> str:
        return f"Both have similar amounts of {self.name(topic)} {cite((first, second))}."

    def same(self, first: int, second: int, topic: Topic) -> str:
        return f"Both show {self.name(topic)} {cite((first, second))}."

    def different(self, first: int, topic: Topic, second: int, other: Topic) -> str:
        return (
            f"They differ: {region_name(first)} shows {self.name(topic)} and "
            f"{region_name(second)} shows {self.name(other)}."
        )

    def majority(self, part: Cited, *, more: bool) -> str:
        start = "Yes, more" if more else "No, less"
        return f"{start} than half of the tissue is {self.name(part.topic)} {cite(part.regions)}."

    def share(self, share: Share, part: Cited) -> str:
        name = self.name(part.topic)
        verb = "make" if part.topic.key in _PLURAL else "makes"
        tissue = f"{self.shares[share]} of the tissue {cite(part.regions)}"
        return f"{name[0].upper()}{name[1:]} {verb} up {tissue}."

    def organ(self, organ: str, regions: Sequence[int]) -> str:
        return f"The tissue {self.from_organ}{self.organs[organ]} {cite(regions)}."

    def quality(self) -> str:
        return "Focus: {focus}. Stain: {stain}."

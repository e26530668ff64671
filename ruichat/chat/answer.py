"""The answer object: claims, the regions they rest on, and how sure the model may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ruichat.chat.context import ContextUse
from ruichat.chat.facts import Share, SlideFacts
from ruichat.chat.guard import GuardTopic
from ruichat.histology import BY_KEY, Language
from ruichat.units import Region0

SCHEMA = "ruichat.answer/1"

DiagnosisClass = Literal["I", "II", "III", "IV"]
"""Chinese reporting classes: definite, qualified, descriptive, not diagnosable."""

Place = Literal["slide", "region"]
"""What an answer is about: a whole slide, or a region that a person drew on it."""

AI_LABEL: Mapping[Language, str] = {
    "en": "AI-generated, not a diagnosis; a pathologist must confirm it",
    "zh": "AI生成内容，非诊断结论，须由病理医师确认",
}
"""The visible label that AI-made content carries (GB 45438-2025)."""

AbstainReason = (
    GuardTopic
    | Literal[
        "not_understood",
        "help",
        "no_such_region",
        "unknown_tissue",
        "low_confidence",
        "disputed",
        "model",
    ]
)
"""Why a question stays open: a modality guard, a measured limit, or the model's own word."""


@dataclass(frozen=True)
class Citation:
    """One region that an answer rests on.

    Attributes:
        name: "R7".
        box0: its box, level-0 pixels.
        classes: its leading tissue classes with mean probability (0-1), largest first.
        shows: key of the tissue it is cited for, else of its leading class; None if it has none.
    """

    name: str
    box0: Region0
    classes: tuple[Share, ...]
    shows: str | None = None


@dataclass(frozen=True)
class Claim:
    """One sentence that states something about the slide.

    Attributes:
        text: the sentence, citations included.
        citations: names of the regions it cites, each of which exists.
        facts: names of the measured facts it quotes ("tissue_mm2").
        grounded: whether it rests on a region or a measurement at all.
        diagnosis_class: None where nothing is said about the slide.
        confidence: calibrated probability that it is right, None where none is calibrated.
    """

    text: str
    citations: tuple[str, ...]
    facts: tuple[str, ...]
    grounded: bool
    confidence: float | None = None


@dataclass(frozen=True)
class DrawnRecord:
    """A region that a person drew and that an answer is about.

    Attributes:
        points0: its corners, level-0 pixels.
        box0: around it, level-0 pixels.
        area_mm2: its area, mm².
        num_tiles: tiles that were read in it.
    """

    points0: tuple[tuple[float, float], ...]
    box0: Region0
    area_mm2: float
    num_tiles: int


@dataclass(frozen=True)
class SlideRecord:
    """What was read, without a name: a file name may identify a patient.

    Attributes:
        digest: sha256 of the slide's bytes.
        width0: width, level-0 pixels.
        height0: height, level-0 pixels.
        mpp: micrometres per pixel used.
        mpp_source: who stated it, "file" or "user".
        file_mpp: what the file states, None if nothing.
    """

    digest: str
    width0: int
    height0: int
    mpp: float
    mpp_source: str
    file_mpp: float | None


@dataclass(frozen=True, slots=True)
class Thought:
    """What the model wrote for itself before an answer; nothing in it is checked or cited."""

    text: str


@dataclass(frozen=True)
class Answer:
    """Everything one question brought.

    Attributes:
        text: the whole answer as shown, citations as "[R7]".
        confidence: calibrated probability (0-1) that the answer is right; None where the
            answer doesn't come from the model or the model carries no calibration.
        abstained: the question stays open, for `reason`.
        alternatives: leading tissue classes where the answer isn't definite.
        errors: what was wrong with the model's words and was taken out.
        seconds: wall-clock seconds by stage; slide stages only on a chat's first answer.
        thought: what the model wrote for itself before, unchecked; empty where it didn't, or where
            its words are withheld.
        drawn: the region that it is about; None if it is about the whole slide.
        context: whether there was clinical context, and whether the model was told it.
        was_cut: the model's words end where they had become too long, not where it ended them.
    """

    text: str
    question: str
    language: Language
    kind: str
    diagnosis_class: DiagnosisClass | None
    confidence: float | None
    abstained: bool
    reason: AbstainReason | None
    claims: tuple[Claim, ...]
    citations: tuple[Citation, ...]
    alternatives: tuple[Share, ...]
    facts: SlideFacts
    slide: SlideRecord
    model: str
    prompt_version: str
    seconds: Mapping[str, float]
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    thought: str = ""
    drawn: DrawnRecord | None = None
    context: ContextUse = "none"
    was_cut: bool = False

    def to_json(self) -> dict[str, object]:
        """The answer as plain JSON values, class names in both languages."""
        return {
            "schema": SCHEMA,
            "label": AI_LABEL[self.language],
            "question": self.question,
            "text": self.text,
            "thought": self.thought,
            "language": self.language,
            "kind": self.kind,
            "diagnosis_class": self.diagnosis_class,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "abstained": self.abstained,
            "reason": self.reason,
            "claims": [_claim_json(claim) for claim in self.claims],
            "citations": [_citation_json(citation) for citation in self.citations],
            "alternatives": [share_json(share) for share in self.alternatives],
            "facts": self.facts.to_json(),
            "slide": vars(self.slide) | {},
            "model": self.model,
            "prompt_version": self.prompt_version,
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "files": dict(self.files),
            "drawn": None if self.drawn is None else _drawn_json(self.drawn),
            "context": self.context,
            "was_cut": self.was_cut,
        }


def share_json(share: Share) -> dict[str, object]:
    """One class share with its names: {"key", "en", "zh", "fraction"}."""
    item = BY_KEY[share.key]
    return {
        "key": share.key,
        "en": item.en,
        "zh": item.zh,
        "fraction": round(share.fraction, 4),
    }


def _claim_json(claim: Claim) -> dict[str, object]:
    return {
        "text": claim.text,
        "citations": list(claim.citations),
        "facts": list(claim.facts),
        "grounded": claim.grounded,
        "confidence": None if claim.confidence is None else round(claim.confidence, 4),
    }


def _drawn_json(drawn: DrawnRecord) -> dict[str, object]:
    return {
        "points0": [list(point) for point in drawn.points0],
        "box0": _box_json(drawn.box0),
        "area_mm2": round(drawn.area_mm2, 4),
        "num_tiles": drawn.num_tiles,
    }


def _box_json(box: Region0) -> dict[str, int]:
    return {"x": box.x, "y": box.y, "width": box.width, "height": box.height}


def _citation_json(citation: Citation) -> dict[str, object]:
    return {
        "name": citation.name,
        "box0": _box_json(citation.box0),
        "classes": [share_json(share) for share in citation.classes],
        "shows": citation.shows,
    }

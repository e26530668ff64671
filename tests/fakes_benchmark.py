"""Slides whose tiles say their class outright, dialogues about them, and models to be asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from fakes import MeanColourEncoder

from ruichat.chat.backend import Backend
from ruichat.features.bag import FeatureBag
from ruichat.model.chat_model import OptionScore, Piece, SlideContext
from ruichat.model.pictures import Picture

CLASSES = ("fat", "stroma", "necrosis", "mucus")
"""What the tiles of a bag show, column by column of their embeddings."""

Answer = Callable[["SlideContext | None", str], str]
Score = Callable[["SlideContext | None", str, Sequence[str]], list[OptionScore]]


def write_bag(path: Path, shown: str, *, num_tiles: int = 8) -> None:
    """A row of tiles whose first half shows one class and whose second half shows stroma."""
    column = np.full(num_tiles, CLASSES.index("stroma"))
    column[: num_tiles // 2] = CLASSES.index(shown)
    plain = np.full(num_tiles, 0.5, np.float32)
    xy0 = np.stack([np.arange(num_tiles) * 224, np.zeros(num_tiles)], axis=1).astype(np.int64)
    encoder = MeanColourEncoder()
    FeatureBag(
        embeddings=np.eye(8, dtype=np.float32)[column],
        xy0=xy0,
        span0=224,
        base_mpp=0.5,
        size0=(num_tiles * 224, 224),
        focus=plain,
        hematoxylin=plain,
        eosin=plain,
        tissue_area_mm2=1.0,
        encoder=encoder.card.name,
        encoder_digest=encoder.digest,
        slide_digest=path.stem * 8,
        fingerprint="f" * 16,
    ).save(path)


def dialogue(number: int, shown: str, kind: str) -> dict[str, object]:
    """A record of our format about slide `number`."""
    turns: list[dict[str, object]]
    match kind:
        case "choice":
            turns = [
                {"role": "user", "text": "Which tissue is there?", "options": list(CLASSES)},
                {"role": "assistant", "text": shown, "choice": CLASSES.index(shown) + 1},
            ]
        case "closed":
            told = "Yes" if shown == "fat" else "No"
            turns = [
                {"role": "user", "text": "Is there fat?"},
                {"role": "assistant", "text": told},
            ]
        case "open":
            turns = [
                {"role": "user", "text": "Where is what?"},
                {"role": "assistant", "text": f"There is {shown} [R1]."},
            ]
        case _:
            turns = [
                {"role": "user", "text": "Describe the slide."},
                {"role": "assistant", "text": f"There is {shown}. The rest is fibrous stroma."},
            ]
    record: dict[str, object] = {
        "format": "ruichat-dialogue-1",
        "id": f"{kind}-{number}",
        "patient": f"P{number // 2}",
        "slides": [f"S{number}"],
        "turns": turns,
    }
    if kind == "open":
        record["num_regions"] = 2
    return record | ({"kind": "report"} if kind == "report" else {})


def write_world(folder: Path, *, num_slides: int = 8) -> Path:
    """Bags, a file of dialogues about them, and the config of a benchmark."""
    records: list[dict[str, object]] = []
    for number in range(num_slides):
        shown = CLASSES[number % 4]
        write_bag(folder / "bags" / f"S{number}.h5", shown)
        kinds = ("choice", "closed", "open", "report")
        records += [dialogue(number, shown, kind) for kind in kinds]
    write_lines(folder / "dialogues.jsonl", records)
    path = folder / "benchmark.yaml"
    path.write_text("data: [{file: dialogues.jsonl}]\nbags: [bags]\nnum_draws: 20\n")
    return path


def write_lines(path: Path, records: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def looks(slide: SlideContext | None, question: str) -> str:
    """Reads the first region and answers from it; without a slide it guesses stroma."""
    shown = "stroma"
    if slide is not None:
        here = slide.regions.assignment == 0
        shown = CLASSES[int(slide.bag.embeddings[here, :4].mean(0).argmax())]
    if question.startswith("Is there fat"):
        return "Yes." if shown == "fat" else "No."
    if question.startswith("Where"):
        return f"There is {shown} [R1]."
    if question.startswith("Describe"):
        return f"There is {shown}. The rest is fibrous stroma."
    return shown


def says_a(slide: SlideContext | None, question: str) -> str:
    """Never looks and always takes the first label."""
    return "A."


def scores_words(
    slide: SlideContext | None, question: str, options: Sequence[str]
) -> list[OptionScore]:
    """Finds the words of its own answer likeliest."""
    said = looks(slide, question)
    return [OptionScore(-1.0 if option == said else -9.0, 2) for option in options]


@dataclass
class AskedSession:
    """One dialogue of `AskedModel`."""

    model: AskedModel
    slide: SlideContext | None

    def stream(
        self, question: str, *, max_tokens: int = 160, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        if think:
            yield Piece("It is fat, I think. ", 9998, -0.1, thought=True)
        self.model.asked.append(question)
        if len(self.model.asked) == self.model.interrupt_after:
            raise KeyboardInterrupt
        for word in self.model.answer(self.slide, question).split(" "):
            yield Piece(f"{word} ", 9999, -0.1)

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        return self.model.score(self.slide, question, options)

    def fork(self) -> AskedSession:
        return replace(self)


@dataclass
class AskedModel:
    """Answers by a function of slide and question; remembers what it was asked and shown."""

    answer: Answer = looks
    score: Score = scores_words
    name: str = "asked"
    interrupt_after: int = 0
    asked: list[str] = field(default_factory=list)
    opened: list[SlideContext | None] = field(default_factory=list)

    def open(self, slide: SlideContext | None) -> AskedSession:
        self.opened.append(slide)
        return AskedSession(self, slide)


def backend_of(model: AskedModel) -> Backend:
    """A backend around a model of tests; it has no tile classifier."""
    return Backend(
        name=model.name,
        encoder=MeanColourEncoder(),
        classifier=None,
        model=model,
        calibration=None,
        max_regions=4,
    )


@dataclass
class ViewingModel(AskedModel):
    """Answers about a picture from its colour; without one it says no."""

    pictures: list[Picture] = field(default_factory=list[Picture])

    def look_at(self, picture: Picture) -> AskedSession:
        self.pictures.append(picture)
        red = picture.rgb[..., 0].mean() > picture.rgb[..., 2].mean()
        seeing = replace(self, answer=lambda _slide, _question: "Yes." if red else "No.")
        return AskedSession(seeing, None)

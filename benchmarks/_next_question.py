"""The second question of a chat: seconds until its first words, and what was read meanwhile."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from _common import cache_bytes, num_cpus, read_bandwidth, weight_bytes

if TYPE_CHECKING:
    from ruichat.chat.answer import Answer
    from ruichat.chat.ask import SlideChat
    from ruichat.chat.backend import Backend

DIALOGUES = (
    ("Which tissues does this slide show?", "Is there tumour on this slide, and where?"),
    ("Which tissues does this slide show?", "What tissue is in region R1?"),
    ("Is there necrosis on this slide?", "How large is the tissue area?"),
    ("这张切片上有哪些组织？", "切片上有肿瘤吗？在哪里？"),
    ("这张切片上有哪些组织？", "区域R1是什么组织？"),
    ("切片上有坏死吗？", "组织面积有多大？"),
)
"""A first question, and the second, which is timed."""


@dataclass
class Counts:
    """What was done, counted where it is done.

    Attributes:
        tiles: tiles handed out by the slide.
        regions: boxes that OpenSlide decoded.
        encoded: calls of the encoder.
        steps: calls of the decoder.
        step_bytes: weights, keys and values that these read.
    """

    tiles: int = 0
    regions: int = 0
    encoded: int = 0
    steps: int = 0
    step_bytes: float = 0.0


@dataclass(frozen=True)
class Turn:
    """A second question.

    Attributes:
        question: as asked.
        language: of the answer.
        abstained: whether it stays open.
        first_words_s: until its first words.
        answer_s: until its end.
        steps: of the decoder until the first words.
        floor_s: reading weights, keys and values that often.
        tiles: read meanwhile.
        regions: of the file decoded meanwhile.
        encoder_calls: made meanwhile.
    """

    question: str
    language: str
    abstained: bool
    first_words_s: float
    answer_s: float
    steps: int
    floor_s: float
    tiles: int
    regions: int
    encoder_calls: int


@dataclass(frozen=True)
class Chat:
    """One process, the slide opened once.

    Attributes:
        opening: tiles and encoder calls of opening it: that counting works at all.
        knows_slide: whether the model would have answered without lifting its limit.
        bandwidth_gb_s: that floors are taken at.
        turns: second questions, every repeat.
    """

    opening: dict[str, int]
    knows_slide: bool
    bandwidth_gb_s: float
    turns: list[Turn]


def measure_chat(slide: Path, repeats: int) -> Chat:
    """Every second question, after its first, in a dialogue of their own."""
    from ruichat.chat.ask import load_backend, open_chat

    backend = load_backend("mini")
    known = 0.0
    if backend.calibration is not None:
        known = backend.calibration.known_fraction
        lifted = backend.calibration.model_copy(update={"known_fraction": 0.0})
        backend = replace(backend, calibration=lifted)
    counts = Counts()
    # On a busy machine two threads may wait for each other and read less than one.
    widths = {1, num_cpus()}
    bandwidth = max(read_bandwidth(num, weight_bytes(backend.model)) for num in widths)
    with (
        tempfile.TemporaryDirectory() as cache,
        counting(backend, counts),
        open_chat(slide, backend=backend, cache=Path(cache)) as chat,
    ):
        opening = {"tiles": counts.tiles, "encoder_calls": counts.encoded}
        turns = [
            ask_second(chat, first, second, counts, bandwidth)
            for _ in range(repeats)
            for first, second in DIALOGUES
        ]
        knows = chat.facts.known_fraction >= known
    return Chat(opening, knows, bandwidth / 1e9, turns)


def ask_second(chat: SlideChat, first: str, second: str, counts: Counts, bandwidth: float) -> Turn:
    """Ask both questions; time and count the second."""
    from ruichat.chat.answer import Answer

    chat.forget()
    for _ in chat.ask(first):
        pass
    before = replace(counts)
    at_words, words_s = before, 0.0
    answer: Answer | None = None
    began = time.perf_counter()
    for event in chat.ask(second):
        if isinstance(event, Answer):
            answer = event
        elif not words_s:
            words_s, at_words = time.perf_counter() - began, replace(counts)
    answer_s = time.perf_counter() - began
    assert answer is not None and words_s > 0, "an answer has words and ends with an Answer"
    return Turn(
        question=second,
        language=answer.language,
        abstained=answer.abstained,
        first_words_s=words_s,
        answer_s=answer_s,
        steps=at_words.steps - before.steps,
        floor_s=(at_words.step_bytes - before.step_bytes) / bandwidth,
        tiles=counts.tiles - before.tiles,
        regions=counts.regions - before.regions,
        encoder_calls=counts.encoded - before.encoded,
    )


@contextmanager
def counting(backend: Backend, counts: Counts) -> Generator[None]:
    """Count what slides, OpenSlide, the encoder and the decoder do."""
    import openslide

    from ruichat.slide.slide import Slide

    model: Any = backend.model
    weights = weight_bytes(model)

    def tiles(_: Slide, xy0: Any, **__: Any) -> None:
        counts.tiles += len(xy0)

    def region(*_: Any) -> None:
        counts.regions += 1

    def encoded(*_: Any) -> None:
        counts.encoded += 1

    def step(_: Any, state: Any, *__: Any) -> None:
        counts.steps += 1
        counts.step_bytes += weights + cache_bytes(model, state.length)

    with ExitStack() as stack:
        for owner, name, note in (
            (Slide, "read_tiles", tiles),
            (openslide.OpenSlide, "read_region", region),
            (type(backend.encoder), "encode", encoded),
            (type(model.decoder), "read", step),
        ):
            stack.enter_context(watched(owner, name, note))
        yield


def watched(owner: type, name: str, note: Callable[..., None]) -> Any:
    """Patch a method so that each call is noted first, with its own arguments."""
    plain: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(plain)
    def method(*args: Any, **kwargs: Any) -> Any:
        note(*args, **kwargs)
        return plain(*args, **kwargs)

    return patch.object(owner, name, method)

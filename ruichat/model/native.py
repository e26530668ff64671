"""Our own model behind the door: a slide's prefix is read once, turns are appended to it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float32

from ruichat.errors import ArtifactError, InputError, ModelError
from ruichat.model.chat_model import (
    MAX_THOUGHT_TOKENS,
    MAX_TOKENS,
    OptionScore,
    Piece,
    SlideContext,
    Usage,
)
from ruichat.model.decoder import Decoder, DecoderState
from ruichat.model.pieces import Pieces
from ruichat.model.processing import RuiChatProcessor, Turn
from ruichat.model.region_state import Array, RegionState, Weights, embed_regions, no_regions
from ruichat.model.shape import ModelShape
from ruichat.model.speller import Speller
from ruichat.model.thinking import ThoughtGate


@dataclass(frozen=True)
class NativeChatModel:
    """A RuiChat checkpoint, ready to answer.

    Attributes:
        name: recorded with every answer.
        shape: sizes of the checkpoint.
        weights: of the region encoder and the pointer.
        processor: its tokenizer.
        decoder: runs its layers.
        encoder: name of the encoder whose bags it reads.
        encoder_digest: digest of that encoder's weights; "" accepts any of that name.
        folder: where it was loaded from, with what else lies there (calibration.json).
        thinker: the same model with the weights that it thinks with, where they are others.
    """

    name: str
    shape: ModelShape
    weights: Weights
    processor: RuiChatProcessor
    decoder: Decoder[Any]
    encoder: str
    encoder_digest: str = ""
    folder: Path | None = None
    thinker: NativeChatModel | None = None

    @property
    def max_regions(self) -> int:
        """Regions a slide should be cut into at most."""
        return self.shape.max_regions

    @property
    def thinks(self) -> bool:
        """Whether it can be told to think before it answers."""
        return self.thinker is not None or self.has_thoughts

    @property
    def has_thoughts(self) -> bool:
        """Whether its own weights have the pieces that a thought stands between."""
        return self.processor.pieces.think_end < self.shape.num_ids

    def open(self, slide: SlideContext | None) -> NativeSession:
        """Read a slide's regions and facts.

        Raises:
            ArtifactError: the bag comes from another encoder.
        """
        regions, num_regions, facts = no_regions(self.shape), 0, ""
        if slide is not None:
            bag = slide.bag
            self.check_encoder(bag.encoder, bag.encoder_digest)
            regions = embed_regions(
                self.weights,
                self.shape,
                bag.embeddings,
                slide.regions.assignment,
                slide.regions.geometry,
            )
            num_regions, facts = len(slide.regions), slide.facts
        state = self.decoder.start()
        if ids := self.processor.prefix_ids(num_regions, facts):
            self.decoder.read(state, ids, regions)
        thinking = None if self.thinker is None else _Opened(self.thinker, slide)
        return NativeSession(self, regions, state, thinking)

    def check_encoder(self, encoder: str, digest: str) -> None:
        """Refuse a bag that this model wasn't trained to read.

        Raises:
            ArtifactError: naming both encoders.
        """
        if encoder == self.encoder and self.encoder_digest in ("", digest):
            return
        refuse_encoder(self.name, (encoder, digest), (self.encoder, self.encoder_digest))


def refuse_encoder(model: str, found: tuple[str, str], read: tuple[str, str]) -> NoReturn:
    """Say that a bag is of another encoder than a model reads; each by name and digest.

    Raises:
        ArtifactError: always.
    """
    raise ArtifactError(
        f"bag was made by encoder {_label(*found)}; model {model!r} reads {_label(*read)}",
        hint=f"Re-extract with encoder {read[0]} of this version",
    )


class _Opened:
    """A slide that a thinker reads once, when a question about it is first thought about."""

    def __init__(self, model: NativeChatModel, slide: SlideContext | None) -> None:
        self._model, self._slide = model, slide
        self._session: NativeSession | None = None
        self._lock = threading.Lock()

    def fork(self) -> NativeSession:
        """A dialogue about it."""
        with self._lock:
            if self._session is None:
                self._session = self._model.open(self._slide)
            return self._session.fork()

    @property
    def num_bytes(self) -> int:
        """Memory of what was read; 0 before."""
        return 0 if self._session is None else self._session.num_bytes


def _label(encoder: str, digest: str) -> str:
    return f"{encoder!r} ({digest[:12]})" if digest else f"{encoder!r}"


class NativeSession:
    """One dialogue; see `chat_model.ChatSession`.

    Args:
        model: answers.
        regions: of the slide.
        state: has read the prefix.
        thinking: the same slide for the model's thinker, if it has one.
    """

    def __init__(
        self,
        model: NativeChatModel,
        regions: RegionState,
        state: DecoderState,
        thinking: _Opened | None = None,
    ) -> None:
        self._model, self._regions, self._state = model, regions, state
        self._thinking = thinking
        self._thinker: NativeSession | None = None
        # Read before the next question: what the last turn wrote but the state hasn't seen.
        self._pending: list[int] = []
        self._turns: list[Turn] = []
        self._num_prefix = state.length
        self.was_cut = False
        """Whether the last answer ended because it had become too long."""
        self.usage: Usage | None = None
        """Text tokens that the last answer took."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Questions and answers so far."""
        said = () if self._thinker is None else self._thinker.turns
        return (*self._turns, *said[len(self._turns) :])

    @property
    def num_tokens(self) -> int:
        """Text tokens of the dialogue, prefix included."""
        own = self._state.length + len(self._pending)
        return own if self._thinker is None else max(own, self._thinker.num_tokens)

    @property
    def num_bytes(self) -> int:
        """Memory of what was read, which every fork copies."""
        own = self._state.num_bytes
        if self._thinker is not None:
            return own + self._thinker.num_bytes
        # What the thinker read of the slide counts once: where dialogues are forked from.
        if self._thinking is None or self._turns:
            return own
        return own + self._thinking.num_bytes

    def stream(
        self,
        question: str,
        *,
        max_tokens: int = MAX_TOKENS,
        think: bool | None = None,
        max_thought_tokens: int = MAX_THOUGHT_TOKENS,
    ) -> Generator[Piece, None, None]:
        """See `chat_model.ChatSession`.

        A thought is closed after `max_thought_tokens`, sooner where the dialogue's room asks it.
        """
        if think and self._thinking is not None:
            yield from self._think(question, max_tokens, max_thought_tokens)
            return
        self._catch_up()
        processor, end_id = self._model.processor, self._model.processor.end_id
        ids = self._question_ids(question)
        num = len(ids) + max_tokens + 1
        gate = self._gate(think, num, max_thought_tokens)
        self._check_room(num)
        logits = self._read(ids)
        self._pending, self.was_cut = [end_id], False
        num_read, num_written = self._state.length, 0
        speller, words, left = Speller(processor), {True: "", False: ""}, max_tokens
        try:
            while left > 0:
                if len(self._pending) == 2:
                    logits = self._read(self._pending[:1])
                    self._pending = [end_id]
                token_id, logprob = _choose(logits[-1], gate)
                if token_id == end_id:
                    break
                self._pending = [token_id, end_id]
                thought = gate is not None and gate.pass_through(token_id)
                left -= not thought
                entry, spelled = processor.entry(token_id), speller.feed(token_id)
                words[thought] += spelled
                self.was_cut = left == 0
                num_written += 1
                yield Piece(spelled, token_id, logprob, entry.region, entry.fact, thought)
        finally:
            stopped_within = gate is not None and gate.is_open
            words[stopped_within] += speller.flush()
            if stopped_within:
                self._close_thought()
            self._turns.append(Turn(question, words[False], words[True]))
            self.usage = Usage(num_read, self._num_prefix, num_written)

    def _think(
        self, question: str, max_tokens: int, max_thought_tokens: int
    ) -> Generator[Piece, None, None]:
        """Let the thinker answer; what it says is heard here before the next turn."""
        assert self._thinking is not None
        self._catch_up()
        thinker = self._thinker = self._thinker or self._thinking.fork()
        for turn in self._turns[len(thinker.turns) :]:
            thinker.hear(turn)
        try:
            yield from thinker.stream(
                question, max_tokens=max_tokens, think=True, max_thought_tokens=max_thought_tokens
            )
        finally:
            self.was_cut, self.usage = thinker.was_cut, thinker.usage

    def _catch_up(self) -> None:
        """Hear what the thinker said last."""
        said = () if self._thinker is None else self._thinker.turns
        for turn in said[len(self._turns) :]:
            self.hear(turn)

    def hear(self, turn: Turn) -> None:
        """Read a turn that was answered elsewhere; thoughts only where this model has them.

        Raises:
            InputError: the dialogue would become too long.
        """
        thought = turn.thought if self._model.has_thoughts else ""
        answer = self._model.processor.answer_ids(turn.answer, thought)
        ids = self._question_ids(turn.question)
        self._check_room(len(ids) + len(answer))
        self._read([*ids, *answer[:-1]])
        self._pending = [answer[-1]]
        self._turns.append(turn)

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        """See `chat_model.ChatSession`; of answers without a thought."""
        self._catch_up()
        processor, length = self._model.processor, self._state.length
        answers = [processor.answer_ids(option) for option in options]
        ids = self._question_ids(question)
        self._check_room(len(ids) + max(map(len, answers), default=0))
        try:
            first = self._read(ids)
            asked = self._state.length
            scores: list[OptionScore] = []
            for answer in answers:
                logits = first
                if len(answer) > 1:
                    later = self._read(answer[:-1], keep=len(answer) - 1)
                    logits = np.concatenate([first, later])
                logprobs = _log_softmax(_without_thoughts(logits, processor.pieces))
                logprobs = logprobs[np.arange(len(answer)), answer]
                scores.append(OptionScore(float(logprobs.sum()), len(answer)))
                self._state.rewind(asked)
        finally:
            self._state.rewind(length)
        return scores

    def fork(self) -> NativeSession:
        """See `chat_model.ChatSession`."""
        twin = NativeSession(self._model, self._regions, self._state.fork(), self._thinking)
        twin._thinker = None if self._thinker is None else self._thinker.fork()
        twin._pending, twin._turns = list(self._pending), list(self._turns)
        twin._num_prefix = self._num_prefix
        return twin

    def _read(self, ids: Sequence[int], keep: int = 1) -> Float32[Array, "r v"]:
        logits = self._model.decoder.read(self._state, ids, self._regions, keep)
        logits[:, self._model.processor.pieces.never_written] = -np.inf
        return logits

    def _question_ids(self, question: str) -> list[int]:
        asked = self._model.processor.question_ids(question, first=not self._turns)
        return self._pending + asked

    def _gate(self, think: bool | None, num: int, max_tokens: int) -> ThoughtGate | None:
        """What decides on thoughts beside `num` other ids; none for a model without thoughts."""
        if self._model.has_thoughts:
            room = self._model.shape.max_positions - self._state.length - num
            # Two ids open and close the thought.
            most = max(0, min(max_tokens, room - 2))
            return ThoughtGate(self._model.processor.pieces, think, most)
        if think:
            raise ModelError(
                f"{self._model.name} wasn't trained to think before it answers",
                hint="Ask without thinking, or train the model with: ruichat align think",
            )
        return None

    def _close_thought(self) -> None:
        """Let later turns read a whole thought where the reader stopped within one."""
        pieces = self._model.processor.pieces
        self._pending = [*self._pending[:-1], pieces.think_end, pieces.end]

    def _check_room(self, num: int) -> None:
        room = self._model.shape.max_positions
        if self._state.length + num > room:
            raise InputError(
                f"the dialogue would reach {self._state.length + num} text tokens; "
                f"{self._model.name} reads {room}",
                hint="Start a new chat about this slide",
            )


def _choose(logits: Float32[Array, " v"], gate: ThoughtGate | None) -> tuple[int, float]:
    """The likeliest id that may come next, or the one that must, with its log-probability."""
    forced = None if gate is None else gate.forced
    if gate is not None:
        logits = logits.copy()
        logits[list(gate.barred)] = -np.inf
    logprobs = _log_softmax(logits)
    token_id = int(logprobs.argmax()) if forced is None else forced
    return token_id, float(logprobs[token_id])


def _without_thoughts(logits: Float32[Array, "r v"], pieces: Pieces) -> Float32[Array, "r v"]:
    """Logits of answers that hold no piece of a thought."""
    logits = logits.copy()
    barred = [i for i in (pieces.think, pieces.think_end) if i < logits.shape[1]]
    logits[:, barred] = -np.inf
    return logits


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

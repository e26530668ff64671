"""Many questions about many slides, answered at once in the very words the chat would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import ConfigError
from ruichat.evaluate.controls import Shown
from ruichat.features.bag import FeatureBag
from ruichat.model.chat_model import MAX_THOUGHT_TOKENS, ChatModel, Piece, SlideContext
from ruichat.model.region_state import Array, embed_regions
from ruichat.model.thinking import ThoughtGate

if TYPE_CHECKING:
    from ruichat.model.native import NativeChatModel

Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to a model that is shown something."""

    shown: Shown
    question: str


@dataclass(frozen=True, slots=True)
class Written:
    """An answer, piece by piece."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The words, the abstention piece by its name."""
        return "".join(piece.text for piece in self.pieces)


@runtime_checkable
class Answerer(Protocol):
    """Answers prompts, each in a dialogue of its own, greedily."""

    @property
    def how(self) -> str:
        """How answers are decoded, for the record."""
        ...

    def answer(
        self, prompts: Sequence[Prompt], *, max_tokens: int, tick: Tick | None = None
    ) -> list[Written]:
        """One answer per prompt, in their order."""
        ...


class SessionAnswerer:
    """Any chat model, one question after the other; the blind are shown tiles of zeros.

    Args:
        model: answers.
        encoder: name of the encoder that made the embeddings.
        encoder_digest: of its weights.
        think: let it think before it answers; only the answers count.
    """

    how = "greedy, one by one through the chat session"

    def __init__(
        self, model: ChatModel, encoder: str, encoder_digest: str, *, think: bool = False
    ) -> None:
        self._model, self._think = model, think
        self._encoder, self._digest = encoder, encoder_digest

    def answer(
        self, prompts: Sequence[Prompt], *, max_tokens: int, tick: Tick | None = None
    ) -> list[Written]:
        """See `Answerer`; a slide is read once for all its questions."""
        order = sorted(range(len(prompts)), key=lambda i: id(prompts[i].shown))
        answers: dict[int, Written] = {}
        last, session = None, None
        for i in order:
            shown = prompts[i].shown
            if session is None or shown is not last:
                last, session = shown, self._model.open(self._context(shown))
            pieces = session.fork().stream(
                prompts[i].question, max_tokens=max_tokens, think=self._think
            )
            answers[i] = Written(tuple(piece for piece in pieces if not piece.thought))
            if tick is not None:
                tick(len(answers), len(prompts))
        return [answers[i] for i in range(len(prompts))]

    def _context(self, shown: Shown) -> SlideContext:
        tiles = np.zeros_like(shown.embeddings) if shown.blind else shown.embeddings
        bag = bag_of(tiles, shown, self._encoder, self._digest)
        return SlideContext(bag=bag, regions=shown.regions, facts=shown.facts)


def bag_of(
    tiles: NDArray[np.float32], shown: Shown, encoder: str, encoder_digest: str
) -> FeatureBag:
    """The bag of tiles without pixels: they lie where their regions do, and look like any other."""
    boxes = shown.regions.boxes
    corners = np.array([(box.x, box.y) for box in boxes], np.int64)
    plain = np.full(len(tiles), 0.5, np.float32)
    return FeatureBag(
        embeddings=tiles,
        xy0=corners[shown.regions.assignment],
        span0=224,
        base_mpp=0.5,
        size0=(max(b.x + b.width for b in boxes), max(b.y + b.height for b in boxes)),
        focus=plain,
        hematoxylin=plain,
        eosin=plain,
        tissue_area_mm2=max(len(tiles) * 0.112**2, 1e-6),
        encoder=encoder,
        encoder_digest=encoder_digest,
        slide_digest="evaluation",
        fingerprint="evaluation",
    )


class BatchAnswerer:
    """Our own model in batches on torch: the chat's prompts, its masks, its greedy choice.

    Args:
        model: a checkpoint loaded with the torch runtime.
        batch: prompts at a time.
        think: let it think before it answers; only the answers count.

    Raises:
        ConfigError: a thought is asked of a model that doesn't think.
    """

    how = "greedy, in batches on torch, float32"

    def __init__(self, model: NativeChatModel, batch: int, *, think: bool = False) -> None:
        if think and not model.thinks:
            raise ConfigError(
                f"{model.name} wasn't trained to think before it answers", hint="Leave think out"
            )
        self._model, self._think = model, think
        self._batch = batch
        decoder: Any = model.decoder
        self._network: Any = decoder.model

    def answer(
        self, prompts: Sequence[Prompt], *, max_tokens: int, tick: Tick | None = None
    ) -> list[Written]:
        """See `Answerer`; prompts of like length go together."""
        processor = self._model.processor
        ids = [
            processor.prefix_ids(len(p.shown.regions), p.shown.facts)
            + processor.question_ids(p.question)
            for p in prompts
        ]
        # Answers of one kind end at about the same step, and kinds show in the question's words.
        order = sorted(range(len(prompts)), key=lambda i: (len(ids[i]) // 16, prompts[i].question))
        answers: dict[int, Written] = {}
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            written = self._generate(
                [ids[i] for i in rows], [self._embed(prompts[i].shown) for i in rows], max_tokens
            )
            answers |= dict(zip(rows, written, strict=True))
            if tick is not None:
                tick(len(answers), len(prompts))
        return [answers[i] for i in range(len(prompts))]

    def _embed(self, shown: Shown) -> Array:
        """Region vectors [k,e], zeros for the blind."""
        model = self._model
        if shown.blind:
            return np.zeros((len(shown.regions), model.shape.region_width), np.float32)
        regions = shown.regions
        return embed_regions(
            model.weights, model.shape, shown.embeddings, regions.assignment, regions.geometry
        ).embeds

    def _generate(
        self, ids: list[list[int]], embeds: list[Array], max_tokens: int
    ) -> list[Written]:
        import torch

        pieces, b = self._model.processor.pieces, len(ids)
        gates = [self._gate(len(row), max_tokens) for row in ids]
        regions, exists = _pad_regions(embeds)
        with torch.inference_mode():
            run = _Run(self._network, ids, regions, exists)
            tokens: list[list[int]] = [[] for _ in range(b)]
            logprobs: list[list[float]] = [[] for _ in range(b)]
            rows = list(range(b))
            while rows:
                best, chosen = self._choose(run.logits, [gates[row] for row in rows])
                going: list[int] = []
                for at, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
                    if token == pieces.end:
                        continue
                    if not gates[row].pass_through(token):
                        tokens[row].append(token)
                        logprobs[row].append(float(best[at]))
                    if len(tokens[row]) < max_tokens:
                        going.append(at)
                rows = [rows[at] for at in going]
                if rows:
                    run.step(chosen, going)
        return [self._spell(*pair) for pair in zip(tokens, logprobs, strict=True)]

    def _gate(self, num: int, max_tokens: int) -> ThoughtGate:
        """What a row may write as far as thoughts go, as in the chat."""
        room = self._model.shape.max_positions - num - max_tokens - 1
        most = max(0, min(MAX_THOUGHT_TOKENS, room - 2))
        return ThoughtGate(self._model.processor.pieces, self._think, most)

    def _choose(self, logits: Any, gates: list[ThoughtGate]) -> tuple[Any, Any]:
        """Each row's likeliest id that may come next, or the one that must."""
        import torch

        num = self._model.shape.num_ids
        barred = self._model.processor.pieces.never_written
        logits[:, [i for i in barred if i < num]] = -torch.inf
        for at, gate in enumerate(gates):
            logits[at, [i for i in gate.barred if i < num]] = -torch.inf
        best, chosen = torch.log_softmax(logits, -1).max(-1)
        for at, gate in enumerate(gates):
            if gate.forced is not None:
                chosen[at] = gate.forced
        return best, chosen

    def _spell(self, tokens: list[int], logprobs: list[float]) -> Written:
        from ruichat.model.speller import Speller

        speller = Speller(self._model.processor)
        pieces: list[Piece] = []
        for token, logprob in zip(tokens, logprobs, strict=True):
            entry = self._model.processor.entry(token)
            pieces.append(Piece(speller.feed(token), token, logprob, entry.region, entry.fact))
        return Written(tuple(pieces))


def _pad_regions(embeds: list[Array]) -> tuple[Any, Any]:
    """Region vectors [b,k,e] and which exist [b,k]."""
    import torch

    k = max(len(item) for item in embeds)
    padded = torch.zeros(len(embeds), k, embeds[0].shape[1])
    exists = torch.zeros(len(embeds), k, dtype=torch.bool)
    for row, item in enumerate(embeds):
        padded[row, : len(item)] = torch.from_numpy(item)
        exists[row, : len(item)] = True
    return padded, exists


class _Run:
    """A batch being decoded; rows that have ended leave it.

    Prompts are padded on the left and positions count from each prompt's own beginning, so that
    every row is computed as it would be alone.
    """

    def __init__(self, network: Any, ids: list[list[int]], regions: Any, exists: Any) -> None:
        import torch
        from transformers.cache_utils import DynamicCache

        self._network, self._regions, self._exists = network, regions, exists
        longest = max(len(item) for item in ids)
        tokens = torch.zeros(len(ids), longest, dtype=torch.long)
        self._mask = torch.zeros(len(ids), longest, dtype=torch.long)
        for row, item in enumerate(ids):
            tokens[row, longest - len(item) :] = torch.tensor(item)
            self._mask[row, longest - len(item) :] = 1
        self._cache = DynamicCache(config=network.config.text_config)
        positions = (self._mask.cumsum(1) - 1).clamp_min(0)
        self._next = positions[:, -1:] + 1
        self.logits = self._read(tokens, positions)

    def step(self, chosen: Any, going: list[int]) -> None:
        """Read the tokens just chosen, for the rows that go on."""
        import torch

        if len(going) < len(chosen):
            keep = torch.tensor(going)
            self._cache.batch_select_indices(keep)
            self._regions, self._exists = self._regions[keep], self._exists[keep]
            self._mask, self._next, chosen = self._mask[keep], self._next[keep], chosen[keep]
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], 1)
        self.logits = self._read(chosen[:, None], self._next)
        self._next = self._next + 1

    def _read(self, tokens: Any, positions: Any) -> Any:
        return self._network(
            tokens,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            region_embeds=self._regions,
            region_mask=self._exists,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

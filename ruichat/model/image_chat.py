"""Any image-text-to-text model of transformers behind the door: it looks at pictures of regions."""

from __future__ import annotations

import copy
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ruichat.errors import InputError, ModelError
from ruichat.model.chat_model import MAX_TOKENS, OptionScore, Piece, SlideContext, Usage
from ruichat.model.foreign_words import OPENINGS, ForeignWords
from ruichat.model.image_inputs import Exchange, PictureReader, Rendered
from ruichat.model.picture_prompt import Part, prompt_labels, question_parts, slide_parts

MAX_THOUGHT = 2048
"""Tokens that a model may think before it answers."""

_PROBE = "?"


@dataclass(frozen=True)
class ImageChatModel:
    """A checkpoint of another project, ready to look at slides.

    Attributes:
        name: recorded with every answer.
        network: `AutoModelForImageTextToText`, in eval mode.
        reader: its processor.
        folder: where it was loaded from; None if from the hub.
    """

    name: str
    network: Any
    reader: PictureReader
    folder: Path | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Prompts, with their versions, that its answers record."""
        return prompt_labels()

    @property
    def reads_context(self) -> bool:
        """It understands what people write about a case."""
        return True

    def open(self, slide: SlideContext | None) -> ImageChatSession:
        """Look at a slide's overview and regions; the pictures are read and encoded here, once.

        Raises:
            InputError: there are no pictures, or they are too many for the model.
            ModelError: the model can't read its own prompt.
        """
        opened = _Opened(self, slide, () if slide is None else slide_parts(slide))
        opened.prepare()
        return ImageChatSession(opened)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer, the tokenizer's own first.

        Raises:
            ModelError: there is none.
        """
        config = self.network.generation_config
        stated = config.eos_token_id if config is not None else None
        listed = stated if isinstance(stated, list) else [stated]
        known = [self.reader.tokenizer.eos_token_id, *listed]
        num = self.network.get_input_embeddings().num_embeddings
        found = tuple(dict.fromkeys(int(i) for i in known if i is not None and 0 <= i < num))
        if not found:
            raise ModelError(
                f"{self.name} names no token that ends an answer",
                hint="Copy its generation_config.json and tokenizer files again",
            )
        return found

    @cached_property
    def never_ids(self) -> list[int]:
        """Structure that an answer can't contain."""
        added = self.reader.tokenizer.added_tokens_decoder
        return sorted({i for i, token in added.items() if token.special} - set(self.end_ids))

    @cached_property
    def room(self) -> int:
        """Tokens that the model reads at most."""
        text = self.network.config.get_text_config()
        return int(getattr(text, "max_position_embeddings", None) or 1 << 30)


@dataclass
class _Cache:
    """What a model keeps of tokens it has read.

    Attributes:
        keys: past keys and values.
        turns: by module, how far positions ran behind the tokens (Qwen-VL), which its network
            keeps beside the cache.
    """

    keys: Any
    turns: list[tuple[Any, Any]]


@dataclass(frozen=True)
class _Asked:
    """A dialogue, read up to its open question.

    Attributes:
        logits: of the answer's first token, [v].
        cache: of all that was read.
        prompt: it, as text.
        num_read: its tokens, those of pictures included.
        num_kept: of these the slide's, which had been read before.
    """

    logits: Any
    cache: _Cache
    prompt: str
    num_read: int
    num_kept: int = 0


class _Opened:
    """A slide as one model has read it; shared by all dialogues about it, and never changed."""

    def __init__(
        self, model: ImageChatModel, slide: SlideContext | None, parts: tuple[Part, ...]
    ) -> None:
        self.model, self.slide, self._parts = model, slide, parts
        self._head_text = ""
        self._head_ids: list[int] = []
        self._head: _Cache | None = None

    @property
    def num_regions(self) -> int:
        return 0 if self.slide is None else len(self.slide.regions)

    def prepare(self) -> None:
        """Read the pictures once: all that the prompts of any two questions have in common."""
        if not self._parts:
            return
        reader = self.model.reader
        # The probe has no closer view, so that whatever follows the last picture is words.
        probe = self.render([Exchange((_PROBE,))])
        inputs = reader.read(probe)
        ids = inputs["input_ids"][0].tolist()
        self._check_room(len(ids))
        # The words after the last picture begin alike for all questions.
        last = reader.plain(str(self._parts[-1])).strip()
        at = probe.text.rfind(last)
        tail = reader.ids(probe.text[at:]) if at > 0 else []
        # Where they aren't split alike alone and after a picture, prompts are read whole.
        if not tail or ids[-len(tail) :] != tail:
            return
        head = len(ids) - len(tail)
        self._head_ids, self._head_text = ids[:head], probe.text[:at]
        self._head = self._prefill({k: _cut(v, len(ids), head) for k, v in inputs.items()})[1]

    def render(self, exchanges: Sequence[Exchange], think: bool | None = None) -> Rendered:
        """The dialogue with the slide before its first question."""
        first = Exchange(self._parts + exchanges[0].parts, exchanges[0].answer)
        return self.model.reader.render([first, *exchanges[1:]], think)

    def ask(
        self, exchanges: Sequence[Exchange], max_tokens: int, think: bool | None = None
    ) -> _Asked:
        """Read a dialogue up to its open question."""
        rendered = self.render(exchanges, think)
        words_only = all(isinstance(part, str) for e in exchanges for part in e.parts)
        starts_alike = bool(self._head_text) and rendered.text.startswith(self._head_text)
        if self._head is not None and words_only and starts_alike:
            tail = self.model.reader.ids(rendered.text[len(self._head_text) :])
            kept = len(self._head_ids)
            self._check_room(kept + len(tail) + max_tokens)
            cache = _Cache(copy.deepcopy(self._head.keys), self._head.turns)
            logits = self.step(cache, tail)[-1]
            return _Asked(logits, cache, rendered.text, kept + len(tail), kept)
        inputs = self.model.reader.read(rendered)
        num = int(inputs["input_ids"].shape[1])
        self._check_room(num + max_tokens)
        logits, cache = self._prefill(inputs)
        return _Asked(logits[-1], cache, rendered.text, num)

    def step(self, cache: _Cache, ids: Sequence[int], *, keep: int = 1) -> Any:
        """Read more words after a cache; logits of the last `keep` of them, float32 [keep,v]."""
        network = self.model.network
        tokens = torch.tensor([list(ids)], device=network.device)
        with self.model.lock, torch.inference_mode():
            for module, behind in cache.turns:
                module.rope_deltas = behind
            out = network(
                input_ids=tokens, past_key_values=cache.keys, use_cache=True, logits_to_keep=keep
            )
        return self._logits(out)

    def _prefill(self, inputs: dict[str, Any]) -> tuple[Any, _Cache]:
        network = self.model.network
        moved = {name: value.to(network.device) for name, value in inputs.items()}
        with self.model.lock, torch.inference_mode():
            for module in _turning(network):
                module.rope_deltas = None
            try:
                out = network(**moved, use_cache=True, logits_to_keep=1)
            except (ValueError, RuntimeError, IndexError, KeyError, TypeError) as error:
                raise _unread(self.model.name, error) from error
            kept = [(module, module.rope_deltas) for module in _turning(network)]
        return self._logits(out), _Cache(out.past_key_values, kept)

    def _logits(self, out: Any) -> Any:
        logits = out.logits[0].float().clone()
        if not torch.isfinite(logits).all():
            raise ModelError(
                f"{self.model.name} computes values that are not finite",
                hint="Try --dtype float32, or copy the model again",
            )
        logits[:, self.model.never_ids] = -torch.inf
        return logits

    def _check_room(self, num: int) -> None:
        if num > self.model.room:
            raise InputError(
                f"pictures and dialogue take {num} tokens; {self.model.name} reads "
                f"{self.model.room}",
                hint="Start a new chat, or show fewer regions with --regions",
            )


class ImageChatSession:
    """One dialogue; see `chat_model.ChatSession`."""

    def __init__(self, opened: _Opened, exchanges: tuple[Exchange, ...] = ()) -> None:
        self._opened, self._exchanges = opened, exchanges
        self.was_cut = False
        """Whether the last answer ended because it had become too long."""
        self.usage: Usage | None = None
        """Tokens that the last answer took, those of pictures included."""
        self._context = ""

    @property
    def num_turns(self) -> int:
        """Questions asked so far."""
        return len(self._exchanges)

    def stream(
        self, question: str, *, max_tokens: int = MAX_TOKENS, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        """See `chat_model.ChatSession`."""
        opened, model = self._opened, self._opened.model
        asked = Exchange(question_parts(question, opened.slide, self._untold))
        read = opened.ask([*self._exchanges, asked], max_tokens, think)
        logits, cache, opening = read.logits, read.cache, read.prompt.rstrip()
        thinking = next((t for t in OPENINGS if opening.endswith(t)), "")
        if think and not thinking and not model.reader.knows_thinking:
            raise ModelError(
                f"{model.name} isn't a model that thinks when it is asked to",
                hint="Leave --think out",
            )
        words, text = ForeignWords(opened.num_regions, thinking=thinking), ""
        written: list[int] = []
        said = shown = 0
        self.was_cut = False
        try:
            while shown < max_tokens and len(written) - shown < MAX_THOUGHT:
                if written:
                    logits = opened.step(cache, written[-1:])[-1]
                logprobs = torch.log_softmax(logits, -1)
                token = int(logprobs.argmax())
                if token in model.end_ids:
                    break
                written.append(token)
                spelled = model.reader.tokenizer.decode(written, skip_special_tokens=True)
                # A character that isn't whole yet is spelled as a replacement sign.
                new = "" if spelled.endswith("\ufffd") else spelled[said:]
                said += len(new)
                for piece in words.feed(new, float(logprobs[token])):
                    text += "" if piece.thought else piece.text
                    yield piece
                shown += not words.is_thinking
            else:
                self.was_cut = True
            for piece in words.end():
                text += "" if piece.thought else piece.text
                yield piece
        finally:
            self._exchanges += (Exchange(asked.parts, text),)
            self.usage = Usage(read.num_read, read.num_kept, len(written))

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        """See `chat_model.ChatSession`."""
        opened, model = self._opened, self._opened.model
        asked = Exchange(question_parts(question, opened.slide, self._untold))
        answers = [model.reader.ids(option) for option in options]
        longest = max(map(len, answers), default=0)
        read = opened.ask([*self._exchanges, asked], longest + 1)
        logits, cache = read.logits, read.cache
        scores: list[OptionScore] = []
        for answer in answers:
            ids = [*answer, model.end_ids[0]]
            rows = logits[None]
            if answer:
                own = _Cache(copy.deepcopy(cache.keys), cache.turns)
                rows = torch.cat([rows, opened.step(own, answer, keep=len(answer))])
            logprobs = torch.log_softmax(rows, -1)[range(len(ids)), ids]
            scores.append(OptionScore(float(logprobs.sum()), len(ids)))
        return scores

    def know(self, context: str) -> None:
        """See `chat_model.CaseListener`."""
        self._context = context

    @property
    def _untold(self) -> str:
        """What the next question has to say about the case: only the first of a dialogue does."""
        return "" if self._exchanges else self._context

    def fork(self) -> ImageChatSession:
        """See `chat_model.ChatSession`."""
        twin = ImageChatSession(self._opened, self._exchanges)
        twin._context = self._context
        return twin


def _turning(network: Any) -> list[Any]:
    """Modules that keep positions beside the cache."""
    return [module for module in network.modules() if hasattr(module, "rope_deltas")]


def _cut(value: Any, length: int, head: int) -> Any:
    """The first `head` columns of what holds one value per token; anything else as it is."""
    return value[:, :head] if value.ndim == 2 and value.shape[1] == length else value


def _unread(name: str, error: Exception) -> ModelError:
    return ModelError(
        f"{name} can't read its own prompt ({type(error).__name__}: {error})",
        hint="Its weights, its config and its processor don't belong together",
    )

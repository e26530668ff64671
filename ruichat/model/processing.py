"""Dialogue to ids and back: one splice of regions, facts and words for training and serving."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from ruichat.errors import ArtifactError, InputError
from ruichat.model import vocabulary as v
from ruichat.model.mentions import find_mentions

TOKENIZER_FILE = "tokenizer.model"

MAX_QUESTION_CHARS = 2000
"""Longest question; ours, about half of mini's context in Chinese."""

IGNORED = -100
"""Label of positions without a loss, as transformers has it."""

_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF5B))}
_CONTROL_CHARS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff\s]+")
_MATCHED_PIECE = re.compile("|".join(re.escape(p) for p in (*v.REGION_PIECES, *v.FACT_PIECES)))


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dialogue as ids, with the loss on the assistant's words only."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Dialogues padded on the right, int64 [b, t] each."""

    input_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray


class RuiChatProcessor:
    """The tokenizer and the form of a dialogue.

    With a slide: `<s><|slide|>[R1]..[Rk]<|facts|>FACTS<|user|>QUESTION<|assistant|>ANSWER<|end|>`
    and further turns; without one: `<s><|user|>` and so on.

    Args:
        path: a sentencepiece model that holds `vocabulary.SPECIAL_PIECES` as its first ids.

    Raises:
        ArtifactError: the file is missing, unreadable or of another vocabulary.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.tokenizer: Any = sentencepiece.SentencePieceProcessor(model_file=str(self.path))
        except (OSError, RuntimeError) as error:
            raise ArtifactError(
                f"{self.path} is not a sentencepiece model: {error}",
                hint="Train one with: ruichat align mini",
            ) from error
        pieces = tuple(
            self.tokenizer.id_to_piece(i)
            for i in range(min(len(v.SPECIAL_PIECES), self.vocab_size))
        )
        if pieces != v.SPECIAL_PIECES:
            raise ArtifactError(
                f"{self.path.name} doesn't begin with this version's special pieces",
                hint="Train the tokenizer again with: ruichat align mini",
            )
        self._special = {piece: i for i, piece in enumerate(v.SPECIAL_PIECES)}
        self._table = [_Entry.of(self.tokenizer, i) for i in range(self.vocab_size)]

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return int(self.tokenizer.get_piece_size())

    @property
    def end_id(self) -> int:
        """Id of `<|end|>`, which closes every answer."""
        return self._special[v.END]

    # Encoding

    def prefix_ids(self, num_regions: int = 0, facts: str = "") -> list[int]:
        """Ids of what comes before the first question.

        Args:
            num_regions: regions of the slide; 0 means no slide.
            facts: measured facts; our own text, so fact pieces in it stay pieces. Ignored without
                a slide.
        """
        if num_regions == 0:
            return [self._special[v.BOS]]
        if not 0 < num_regions <= v.NUM_REGION_IDS:
            raise InputError(
                f"slide has {num_regions} regions; {v.NUM_REGION_IDS} have names",
                hint="Lower max_regions",
            )
        names = range(v.FIRST_REGION_ID, v.FIRST_REGION_ID + num_regions)
        head = [self._special[v.BOS], self._special[v.SLIDE], *names, self._special[v.FACTS]]
        return head + self.tokenizer.encode(facts)

    def question_ids(self, question: str) -> list[int]:
        """Ids of one user turn, up to where the answer begins; see `user_ids`."""
        return [self._special[v.USER], *self.user_ids(question), self._special[v.ASSISTANT]]

    def user_ids(self, text: str) -> list[int]:
        """Ids of what a user typed: mentions of regions become names, nothing else special does.

        Raises:
            InputError: the text is empty or longer than `MAX_QUESTION_CHARS`.
        """
        if len(text) > MAX_QUESTION_CHARS:
            raise InputError(
                f"the question has {len(text)} characters; at most {MAX_QUESTION_CHARS} are read",
                hint="Shorten the question, or ask it in several turns",
            )
        text = _CONTROL_CHARS.sub(" ", text.translate(_FULL_WIDTH)).strip()
        if not text:
            raise InputError("the question is empty", hint='Ask for example: "Is there tumour?"')
        ids: list[int] = []
        done = 0
        for mention in find_mentions(text, v.NUM_REGION_IDS):
            ids += self._plain_ids(text[done : mention.start])
            ids.append(v.FIRST_REGION_ID + mention.number - 1)
            done = mention.end
        return ids + self._plain_ids(text[done:])

    def answer_ids(self, answer: str) -> list[int]:
        """Ids of one of our answers with its `<|end|>`.

        Names `[R7]`, facts `{tissue_mm2}` and `<|cannot|>` become their pieces.
        """
        ids: list[int] = []
        for i, part in enumerate(answer.split(v.CANNOT)):
            if i:
                ids.append(self._special[v.CANNOT])
            ids += self.tokenizer.encode(part)
        return [*ids, self.end_id]

    def dialogue(self, turns: Sequence[Turn], num_regions: int = 0, facts: str = "") -> Encoded:
        """A whole dialogue with labels, for training; the same ids that serving makes."""
        ids = self.prefix_ids(num_regions, facts)
        labels = [IGNORED] * len(ids)
        for turn in turns:
            question, answer = self.question_ids(turn.question), self.answer_ids(turn.answer)
            ids += question + answer
            labels += [IGNORED] * len(question) + answer
        return Encoded(ids, labels)

    def turn_tokens(self, turn: Turn) -> int:
        """Tokens that a question and its answer take."""
        return len(self.question_ids(turn.question)) + len(self.answer_ids(turn.answer))

    def collate(self, items: Sequence[Encoded], multiple_of: int = 1) -> Batch:
        """Pad dialogues on the right to the longest, rounded up to `multiple_of`."""
        longest = max(len(item.input_ids) for item in items)
        shape = (len(items), -(-longest // multiple_of) * multiple_of)
        ids = np.full(shape, self._special[v.PAD], np.int64)
        mask, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
        for row, item in enumerate(items):
            n = len(item.input_ids)
            ids[row, :n], labels[row, :n], mask[row, :n] = item.input_ids, item.labels, 1
        return Batch(ids, mask, labels)

    def _plain_ids(self, text: str) -> list[int]:
        """Ids of text in which no special piece may arise, whatever it spells."""
        ids: list[int] = []
        done = 0
        for match in _MATCHED_PIECE.finditer(text):
            # Cut after the bracket: the halves spell the same but match no piece.
            cut = match.start() + 1
            ids += self.tokenizer.encode(text[done:cut])
            done = cut
        return ids + self.tokenizer.encode(text[done:])

    # Decoding

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; names, facts and `<|cannot|>` as their pieces, structure left out."""
        speller = Speller(self)
        return "".join(speller.feed(i) for i in ids) + speller.flush()

    def entry(self, token_id: int) -> _Entry:
        """What an id spells and stands for."""
        return self._table[token_id]

    # Files

    def save_pretrained(self, folder: Path | str) -> None:
        """Copy the tokenizer into a checkpoint folder."""
        target = Path(folder) / TOKENIZER_FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.resolve() != self.path.resolve():
            shutil.copyfile(self.path, target)

    @classmethod
    def from_pretrained(cls, folder: Path | str, **_: Any) -> RuiChatProcessor:
        """Load from a checkpoint folder; extra arguments of Auto classes are ignored."""
        return cls(Path(folder) / TOKENIZER_FILE)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One id: its text, or the byte it stands for; the region or fact it names."""

    text: str
    byte: int | None = None
    region: int | None = None
    fact: str | None = None

    @staticmethod
    def of(tokenizer: Any, i: int) -> _Entry:
        piece: str = tokenizer.id_to_piece(i)
        if tokenizer.is_byte(i):
            return _Entry("", byte=int(piece[3:5], 16))
        if piece == v.CANNOT:
            return _Entry(piece)
        if tokenizer.is_control(i) or tokenizer.is_unknown(i):
            return _Entry("")
        number = i - v.FIRST_REGION_ID
        if 0 <= number < v.NUM_REGION_IDS:
            return _Entry(piece, region=number)
        if piece in v.FACT_PIECES:
            return _Entry(piece, fact=piece[1:-1])
        return _Entry(piece.replace("\u2581", " "))


class Speller:
    """Ids to text one by one; bytes are held back until they make a character."""

    def __init__(self, processor: RuiChatProcessor) -> None:
        self._processor = processor
        self._bytes = b""

    def feed(self, token_id: int) -> str:
        """Text that this id completes, often its own, sometimes none yet."""
        entry = self._processor.entry(token_id)
        if entry.byte is None:
            return self.flush() + entry.text
        self._bytes += bytes([entry.byte])
        try:
            text = self._bytes.decode()
        except UnicodeDecodeError as error:
            # A character may still be completed; a sequence that can't be is replaced at once.
            return self.flush() if error.reason != "unexpected end of data" else ""
        self._bytes = b""
        return text

    def flush(self) -> str:
        """What is held back, with replacement characters for broken bytes."""
        text, self._bytes = self._bytes.decode(errors="replace"), b""
        return text

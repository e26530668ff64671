"""Dialogue to ids and back: one splice of regions, facts and words for training and serving."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from ruichat.config import Config
from ruichat.errors import ArtifactError, InputError
from ruichat.model import vocabulary as v
from ruichat.model.dialogue_form import OWN_FORM, DialogueForm, derive_form, read_template
from ruichat.model.hub_tokenizer import HubTokenizer
from ruichat.model.mentions import find_mentions
from ruichat.model.pieces import Pieces
from ruichat.model.speller import Entry, Speller
from ruichat.model.text_tokenizer import SentencePieceTokenizer, TextTokenizer
from ruichat.storage.artifacts import write_atomic

PROCESSOR_FILE = "processor.json"
"""Keeps the form of a dialogue where it isn't our own."""

MAX_QUESTION_CHARS = 2000
"""Longest question; ours, about half of mini's context in Chinese."""

IGNORED = -100
"""Label of positions without a loss, as transformers has it."""

_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF5B))}
_CONTROL_CHARS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff\s]+")
_WRITTEN_PIECE = re.compile(
    "|".join(re.escape(p) for p in (*v.REGION_PIECES, *v.FACT_PIECES, v.CANNOT))
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer, with what the model thought before it if anything."""

    question: str
    answer: str
    thought: str = ""


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

    With a slide: `BEGIN<|slide|>[R1]..[Rk]<|facts|>FACTS`, then question and answer in the form's
    markers, and further turns; without one, the same less slide and facts. A thought stands before
    its answer: `<|think|>THOUGHT<|/think|>`. In our own form:
    `<s><|slide|>[R1]..[Rk]<|facts|>FACTS<|user|>QUESTION<|assistant|>ANSWER<|end|>`.

    Args:
        tokenizer: of the language model, or the path of a tokenizer of ours.
        form: what stands around the words.
        num_base: ids of the language model's vocabulary; the tokenizer's if missing.

    Raises:
        ArtifactError: the tokenizer can't be read or doesn't fit the form or the vocabulary.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer | Path | str,
        form: DialogueForm = OWN_FORM,
        num_base: int | None = None,
    ) -> None:
        if isinstance(tokenizer, Path | str):
            tokenizer = SentencePieceTokenizer(Path(tokenizer))
        self.tokenizer: TextTokenizer = tokenizer
        self.form = form
        self.pieces = Pieces.of(
            tokenizer, tokenizer.num_ids if num_base is None else num_base, form.end
        )
        self._names = {i: name for name, i in self.pieces.ids.items()}
        longest_first = sorted(self.pieces.ids, key=len, reverse=True)
        self._structure = re.compile("|".join(map(re.escape, longest_first)))
        self._entries: dict[int, Entry] = {}

    @classmethod
    def for_language_model(cls, folder: Path, num_base: int) -> RuiChatProcessor:
        """The processor of a published language model, in the form of its chat template.

        Args:
            folder: holds tokenizer.json and, where the model has one, its chat template.
            num_base: rows of its word embeddings.

        Raises:
            ArtifactError: a file is missing or damaged, or has more ids than `num_base`.
            ModelError: tokenizer or template are of a kind that isn't read here.
        """
        tokenizer = HubTokenizer(folder / HubTokenizer.file_name)
        return cls(tokenizer, derive_form(read_template(folder), tokenizer.structure), num_base)

    @property
    def vocab_size(self) -> int:
        """Ids of the language model's own vocabulary; those of added pieces follow."""
        return self.pieces.num_base

    @property
    def end_id(self) -> int:
        """Closes every answer."""
        return self.pieces.end

    # Encoding

    def prefix_ids(self, num_regions: int = 0, facts: str = "") -> list[int]:
        """Ids of what comes before the first question.

        Args:
            num_regions: regions of the slide; 0 means no slide.
            facts: measured facts; our own text, so fact pieces in it stay pieces. Ignored without
                a slide.
        """
        begin = self._marker_ids(self.form.begin)
        if num_regions == 0:
            return begin
        if not 0 < num_regions <= v.NUM_REGION_IDS:
            raise InputError(
                f"slide has {num_regions} regions; {v.NUM_REGION_IDS} have names",
                hint="Lower max_regions",
            )
        ids, first = self.pieces.ids, self.pieces.first_region
        names = range(first, first + num_regions)
        return [*begin, ids[v.SLIDE], *names, ids[v.FACTS], *self._own_ids(facts)]

    def question_ids(self, question: str, *, first: bool = True) -> list[int]:
        """Ids of one user turn, up to where the answer begins; see `user_ids`.

        Args:
            question: as typed.
            first: whether the dialogue begins with it.
        """
        opening = self.form.first_user if first else self.form.next_user
        return [
            *self._marker_ids(opening),
            *self.user_ids(question),
            *self._marker_ids(self.form.assistant),
        ]

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
            ids += self.tokenizer.encode(text[done : mention.start])
            ids.append(self.pieces.first_region + mention.number - 1)
            done = mention.end
        return ids + self.tokenizer.encode(text[done:])

    def answer_ids(self, answer: str, thought: str = "") -> list[int]:
        """Ids of one of our answers with its end, the thought before it if there is one.

        Names `[R7]`, facts `{tissue_mm2}` and `<|cannot|>` become their pieces.
        """
        ids = [*self._own_ids(answer), self.end_id]
        return [*self.thought_ids(thought), *ids] if thought else ids

    def thought_ids(self, thought: str) -> list[int]:
        """Ids of a whole thought; pieces in it as in an answer."""
        return [self.pieces.think, *self._own_ids(thought), self.pieces.think_end]

    def dialogue(self, turns: Sequence[Turn], num_regions: int = 0, facts: str = "") -> Encoded:
        """A whole dialogue with labels, for training; the same ids that serving makes.

        Thoughts carry a loss as answers do, and stay in what later turns read.
        """
        ids = self.prefix_ids(num_regions, facts)
        labels = [IGNORED] * len(ids)
        for i, turn in enumerate(turns):
            question = self.question_ids(turn.question, first=i == 0)
            answer = self.answer_ids(turn.answer, turn.thought)
            ids += question + answer
            labels += [IGNORED] * len(question) + answer
        return Encoded(ids, labels)

    def turn_tokens(self, turn: Turn, *, first: bool = True) -> int:
        """Tokens that a question, its thought and its answer take."""
        question = self.question_ids(turn.question, first=first)
        return len(question) + len(self.answer_ids(turn.answer, turn.thought))

    def collate(self, items: Sequence[Encoded], multiple_of: int = 1) -> Batch:
        """Pad dialogues on the right to the longest, rounded up to `multiple_of`."""
        longest = max(len(item.input_ids) for item in items)
        shape = (len(items), -(-longest // multiple_of) * multiple_of)
        ids = np.full(shape, self.pieces.pad, np.int64)
        mask, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
        for row, item in enumerate(items):
            n = len(item.input_ids)
            ids[row, :n], labels[row, :n], mask[row, :n] = item.input_ids, item.labels, 1
        return Batch(ids, mask, labels)

    def _own_ids(self, text: str) -> list[int]:
        """Ids of text of ours, in which pieces are pieces."""
        return self._split_ids(text, _WRITTEN_PIECE)

    def _marker_ids(self, text: str) -> list[int]:
        """Ids of a part of the form, in which structure is structure."""
        return self._split_ids(text, self._structure)

    def _split_ids(self, text: str, matched: re.Pattern[str]) -> list[int]:
        ids: list[int] = []
        done = 0
        for match in matched.finditer(text):
            ids += self.tokenizer.encode(text[done : match.start()])
            ids.append(self.pieces.ids[match[0]])
            done = match.end()
        return ids + self.tokenizer.encode(text[done:])

    # Decoding

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; names, facts and `<|cannot|>` as their pieces, structure left out."""
        speller = Speller(self)
        return "".join(speller.feed(i) for i in ids) + speller.flush()

    def show(self, ids: Iterable[int]) -> str:
        """As `decode`, with structure by its names: what a person checks a dialogue by."""
        speller, text = Speller(self), ""
        for i in ids:
            spelled = speller.feed(i)
            text += spelled or (self._names.get(i, "") and speller.flush() + self._names[i])
        return text + speller.flush()

    def entry(self, token_id: int) -> Entry:
        """What an id spells and stands for."""
        found = self._entries.get(token_id)
        if found is None:
            found = self._entries[token_id] = self._look_up(token_id)
        return found

    def _look_up(self, token_id: int) -> Entry:
        name = self._names.get(token_id)
        if name is None:
            known = token_id < self.tokenizer.num_ids
            return Entry(self.tokenizer.spell(token_id) if known else b"")
        if name in v.REGION_PIECES:
            return Entry(name.encode(), region=token_id - self.pieces.first_region)
        if name in v.FACT_PIECES:
            return Entry(name.encode(), fact=name[1:-1])
        return Entry(name.encode() if name == v.CANNOT else b"", is_structure=True)

    # Files

    def files(self) -> dict[str, bytes]:
        """What a checkpoint folder keeps of it, by file name."""
        kept = {self.tokenizer.file_name: self.tokenizer.to_bytes()}
        if not isinstance(self.tokenizer, SentencePieceTokenizer) or self.form != OWN_FORM:
            kept[PROCESSOR_FILE] = _Kept(num_base=self.vocab_size, form=self.form).to_bytes()
        return kept

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the files into a checkpoint folder."""
        for name, content in self.files().items():
            write_atomic(Path(folder) / name, content)

    @classmethod
    def from_pretrained(cls, folder: Path | str, **_: Any) -> RuiChatProcessor:
        """Load from a checkpoint folder; extra arguments of Auto classes are ignored.

        Raises:
            ArtifactError: a file is missing, damaged or of another version.
        """
        folder = Path(folder)
        if not (folder / PROCESSOR_FILE).is_file():
            return cls(folder / SentencePieceTokenizer.file_name)
        kept = _Kept.read(folder / PROCESSOR_FILE)
        kinds = (HubTokenizer, SentencePieceTokenizer)
        kind = next((k for k in kinds if (folder / k.file_name).is_file()), HubTokenizer)
        return cls(kind(folder / kind.file_name), kept.form, kept.num_base)


class _Kept(Config):
    """Content of processor.json."""

    schema_version: Literal[1] = 1
    num_base: int
    form: DialogueForm

    @staticmethod
    def read(path: Path) -> _Kept:
        try:
            return _Kept.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(
                f"{path} can't be read: {error}", hint="Copy the checkpoint folder again"
            ) from error

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=2).encode()

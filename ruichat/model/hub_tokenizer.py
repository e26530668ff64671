"""The tokenizer of a published language model: its tokenizer.json, read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ruichat.errors import ArtifactError, InputError, ModelError
from ruichat.model import vocabulary as v

_BLANK = "\u2581"
"""What sentencepiece writes for a space."""


class HubTokenizer:
    """A fast tokenizer as the Hugging Face hub has it.

    Tokens that its authors added to the vocabulary are structure: they are found by name, and no
    text encodes to them. Runs of white space among them are text.

    Args:
        path: of the tokenizer.json.

    Raises:
        ArtifactError: the file is missing or unreadable.
        ModelError: it can't spell every text, or not in a way known here.
    """

    file_name: ClassVar[str] = "tokenizer.json"

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._path = path
        settings = _read(path)
        self._is_byte_level = _spells_bytes(settings, path)
        try:
            self._model: Any = Tokenizer.from_str(json.dumps(_plain(settings)))
        # The library raises nothing narrower.
        except Exception as error:
            raise ArtifactError(
                f"{path} is not a tokenizer: {error}", hint="Download it again"
            ) from error
        self._num_ids = 1 + max(self._model.get_vocab(with_added_tokens=True).values())
        added = {int(item["id"]): str(item["content"]) for item in settings["added_tokens"]}
        self._blanks = {i: text for i, text in added.items() if not _words(text)}
        self._structure = {text: i for i, text in added.items() if i not in self._blanks}
        self._barred = frozenset(self._structure.values())

    @property
    def num_ids(self) -> int:
        """See `TextTokenizer`."""
        return self._num_ids

    @property
    def structure(self) -> Mapping[str, int]:
        """See `TextTokenizer`."""
        return self._structure

    def find(self, piece: str) -> int | None:
        """See `TextTokenizer`; names of regions and facts, which go in order, are never found."""
        own = (*v.CONTROL_PIECES, *v.THINK_PIECES)
        return self._structure.get(piece) if piece in own else None

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer`.

        Raises:
            InputError: a single character of the text is structure in this vocabulary.
        """
        coded = self._model.encode(text, add_special_tokens=False)
        ids: list[int] = coded.ids
        for token_id, (start, end) in zip(ids, coded.offsets, strict=True):
            if token_id in self._barred:
                if end - start < 2:
                    raise InputError(
                        f"{text[start:end]!r} can't be read by this model",
                        hint="Leave the character out",
                    )
                # Cut after its first character: the halves spell the same but match no token.
                return self.encode(text[: start + 1]) + self.encode(text[start + 1 :])
        return ids

    def spell(self, token_id: int) -> bytes:
        """See `TextTokenizer`."""
        if token_id in self._barred:
            return b""
        if token_id in self._blanks:
            return self._blanks[token_id].replace(_BLANK, " ").encode()
        token: str = self._model.id_to_token(token_id) or ""
        if self._is_byte_level:
            return bytes(_BYTES[char] for char in token)
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace(_BLANK, " ").encode()

    def to_bytes(self) -> bytes:
        """See `TextTokenizer`."""
        return self._path.read_bytes()


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        _ = settings["model"], settings["added_tokens"]
    except FileNotFoundError:
        raise ArtifactError(
            f"no tokenizer at {path}",
            hint="Save one with transformers: AutoTokenizer.from_pretrained(NAME).save_pretrained",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is not a tokenizer: {error}", hint="Download it again"
        ) from error
    return settings


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings under which text is spelled as it is: nothing added, cut off or put before it."""
    none = {"post_processor": None, "truncation": None, "padding": None}
    parts = {key: _unprefixed(settings.get(key)) for key in ("normalizer", "pre_tokenizer")}
    return {**settings, **none, **parts}


def _unprefixed(part: Any) -> Any:
    """A normaliser or pre-tokenizer that puts no space before a text."""
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Sequence":
        key = "normalizers" if "normalizers" in part else "pretokenizers"
        inner = [kept for item in part[key] if (kept := _unprefixed(item)) is not None]
        return {**part, key: inner}
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    if part["type"] == "ByteLevel":
        return {**part, "add_prefix_space": False}
    return part


def _spells_bytes(settings: dict[str, Any], path: Path) -> bool:
    """Whether tokens are spelled in GPT-2's letters for bytes, or else in characters."""
    decoder: dict[str, Any] = settings.get("decoder") or {"type": "none"}
    kinds = {item["type"] for item in decoder.get("decoders", [decoder])}
    if "ByteLevel" in kinds:
        return True
    if kinds & {"Metaspace", "ByteFallback"} and settings["model"].get("byte_fallback"):
        return False
    raise ModelError(
        f"{path} spells with {settings['model']['type']} and decodes with {sorted(kinds)}; "
        "read are byte-level tokenizers, and those that fall back to bytes",
        hint="Choose a language model with such a tokenizer, for example Qwen, Llama or Gemma",
    )


def _words(text: str) -> str:
    return text.replace(_BLANK, " ").strip()


def _byte_letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, others follow from 256 on.

    Source:
        Radford et al. 2019; every byte-level tokenizer since uses the same table.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_letters()

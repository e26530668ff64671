"""From a dialogue of words and pictures to what a transformers model reads, by its own template."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ruichat.errors import ModelError
from ruichat.model.picture_prompt import Part, map_text, pictures_in
from ruichat.model.pictures import Picture

_THINKING = "enable_thinking"
"""Variable by which chat templates ask whether the model should think first (Qwen and others)."""


@dataclass(frozen=True)
class Exchange:
    """One question as parts of a prompt, and what was answered; None while it is open."""

    parts: tuple[Part, ...]
    answer: str | None = None


@dataclass(frozen=True)
class Rendered:
    """A dialogue in the model's own markers.

    Attributes:
        text: with a placeholder for each picture.
        pictures: that stand for the placeholders.
    """

    text: str
    pictures: tuple[Picture, ...]


class PictureReader:
    """A processor of transformers, which holds a chat template.

    Args:
        processor: takes text and images.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer: Any = processor.tokenizer
        self._markers = _markers(self.tokenizer)

    def render(self, exchanges: Sequence[Exchange], think: bool | None = None) -> Rendered:
        """The dialogue as the model's chat template writes it, ready to be answered.

        Args:
            exchanges: the last of them has no answer yet.
            think: told to templates that ask for it.

        Raises:
            ModelError: the template can't write it.
        """
        more = {} if think is None else {_THINKING: think}
        messages: list[dict[str, Any]] = []
        pictures: list[Picture] = []
        for exchange in exchanges:
            parts = map_text(exchange.parts, self.plain)
            pictures += pictures_in(parts)
            messages.append({"role": "user", "content": [_content(part) for part in parts]})
            if exchange.answer is not None:
                words = {"type": "text", "text": self.plain(exchange.answer)}
                messages.append({"role": "assistant", "content": [words]})
        try:
            text = self.processor.apply_chat_template(messages, add_generation_prompt=True, **more)
        except Exception as error:  # a template is a program of whoever published the model
            raise ModelError(
                f"the model's chat template fails ({type(error).__name__}: {error})",
                hint="Give a chat model with the processor files it was published with",
            ) from error
        return Rendered(str(text), tuple(pictures))

    def read(self, rendered: Rendered) -> dict[str, Any]:
        """Tensors of a dialogue, pictures included.

        Raises:
            ModelError: the processor can't read it.
        """
        from PIL import Image

        images = [Image.fromarray(picture.rgb) for picture in rendered.pictures]
        # As transformers does: a template that writes the opening token leaves none to add.
        bos = self.tokenizer.bos_token
        add = not (bos and rendered.text.startswith(bos))
        try:
            return dict(
                self.processor(
                    text=[rendered.text],
                    images=images or None,
                    return_tensors="pt",
                    add_special_tokens=add,
                )
            )
        except Exception as error:  # processors of foreign models raise anything
            raise ModelError(
                f"the model's processor can't read the prompt ({type(error).__name__}: {error})",
                hint="Give the processor files that the model was published with",
            ) from error

    @property
    def knows_thinking(self) -> bool:
        """Whether its template asks whether to think."""
        return _THINKING in str(self.processor.chat_template)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text as it stands."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def plain(self, text: str) -> str:
        """Text in which nothing is read as a marker of the model's own: data stays data."""
        for marker in self._markers:
            if marker in text:
                text = text.replace(marker, f"{marker[0]} {marker[1:]}")
        return text


def _content(part: Part) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}


def _markers(tokenizer: Any) -> tuple[str, ...]:
    """Every token that is matched before the text is split: roles, pictures, ends."""
    found = {str(token) for token in tokenizer.get_added_vocab()}
    with contextlib.suppress(AttributeError):
        found |= set(tokenizer.all_special_tokens)
    return tuple(sorted((m for m in found if len(m.strip()) > 1), key=len, reverse=True))

"""How a dialogue is spelled: our own form, or that of a published language model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruichat.config import Config
from ruichat.errors import ArtifactError, ModelError
from ruichat.model import vocabulary as v


class DialogueForm(Config):
    """What stands around the words of a dialogue, as plain text with structure by name.

    A dialogue is `begin`, the slide and its facts if there is one, then `first_user` QUESTION
    `assistant` ANSWER `end`, and `next_user` QUESTION and so on.
    """

    begin: str
    first_user: str
    next_user: str
    assistant: str
    end: str
    """One piece or token, which closes every answer."""


OWN_FORM = DialogueForm(
    begin=v.BOS, first_user=v.USER, next_user=v.USER, assistant=v.ASSISTANT, end=v.END
)
"""Of the tokenizers that we train."""


@dataclass(frozen=True)
class ChatTemplate:
    """A language model's own way to write dialogues.

    Attributes:
        source: Jinja template; "" where the model has none.
        bos: token that begins a text; "" where it has none.
        eos: token that ends one.
    """

    source: str
    bos: str
    eos: str


def read_template(folder: Path) -> ChatTemplate:
    """The chat template beside a tokenizer.json.

    Raises:
        ArtifactError: tokenizer_config.json can't be read.
    """
    path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = {}
    try:
        if path.is_file():
            settings = json.loads(path.read_text(encoding="utf-8"))
        separate = folder / "chat_template.jinja"
        source = separate.read_text(encoding="utf-8") if separate.is_file() else None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} can't be read: {error}", hint="Download it again") from error
    source = source or settings.get("chat_template") or ""
    if isinstance(source, list):
        named = {item["name"]: item["template"] for item in source}
        source = named.get("default", "")
    return ChatTemplate(source, _token(settings, "bos_token"), _token(settings, "eos_token"))


def _token(settings: dict[str, Any], name: str) -> str:
    value = settings.get(name) or ""
    return value["content"] if isinstance(value, dict) else value


_SYSTEM, _USER_1, _ANSWER_1, _USER_2, _ANSWER_2 = _MARKERS = (
    "RUICHATSYSTEM",
    "RUICHATUSERONE",
    "RUICHATANSWERONE",
    "RUICHATUSERTWO",
    "RUICHATANSWERTWO",
)


def derive_form(template: ChatTemplate, structure: Iterable[str]) -> DialogueForm:
    """The form that a chat template writes; ours, in added pieces, where there is none.

    The template is rendered once around markers and what stands between them is kept, so that
    answering needs no template. Of a template without a system turn the slide goes before the
    first question.

    Args:
        template: of the language model.
        structure: names of the tokenizer's structure tokens.

    Raises:
        ModelError: the template doesn't write a dialogue in order.
    """
    if not template.source:
        return OWN_FORM.model_copy(update={"begin": template.bos})
    text = _render(template)
    gaps = re.split("|".join(_MARKERS), text)
    if re.findall("|".join(_MARKERS), text) != list(_MARKERS):
        raise ModelError(
            "the language model's chat template doesn't keep system text, questions and answers in "
            "order",
            hint="Remove the template from the model's folder to use RuiChat's own form",
        )
    begin, first_user, assistant, between = gaps[:4]
    names = sorted(structure, key=len, reverse=True)
    found = re.search("|".join(map(re.escape, names)), between) if names else None
    if found is None:
        end, next_user = v.END, between
    else:
        end, next_user = found[0], between[found.end() :]
    return DialogueForm(
        begin=begin, first_user=first_user, next_user=next_user, assistant=assistant, end=end
    )


def _render(template: ChatTemplate) -> str:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(*turns: tuple[str, str]) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        rendered = render_jinja_template(
            [messages],
            chat_template=template.source,
            bos_token=template.bos,
            eos_token=template.eos,
        )
        # A list of dialogues and, in some versions, what generated them.
        first: Any = rendered[0]
        return first if isinstance(first, str) else first[0]

    dialogue = [
        ("user", _USER_1),
        ("assistant", _ANSWER_1),
        ("user", _USER_2),
        ("assistant", _ANSWER_2),
    ]
    try:
        text = render(("system", _SYSTEM), *dialogue)
        if _SYSTEM in text:
            return text
    except TemplateError:
        pass  # Some templates refuse a system turn.
    try:
        return render(("user", f"{_SYSTEM}\n\n{_USER_1}"), *dialogue[1:])
    except TemplateError as error:
        raise ModelError(
            f"the language model's chat template can't be used: {error}",
            hint="Remove the template from the model's folder to use RuiChat's own form",
        ) from error

"""`ruichat doctor --model NAME`: what is missing on this machine to chat with one model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruichat.cli.doctor import Check, Status, check_package, guarded, memory_bytes

PACKAGES = {"torch": "torch", "transformers": "transformers", "tokenizers": "tokenizers"}

WORKING_BYTES = 2_000_000_000
"""The libraries, a slide and the pictures, beside the weights."""

_WEIGHTS = (".safetensors", ".bin")
_GB = 1e9


def model_checks(name: str, base_url: str | None = None) -> Iterator[Check]:
    """Everything that chatting with this model takes; nothing of a slide is sent anywhere.

    Args:
        name: as `--model` takes it.
        base_url: of the server of openai:NAME; the environment's if None.
    """
    if name.startswith("openai:"):
        yield check_package("httpx", "httpx")
        yield guarded("server", lambda: _server(name, base_url))
        return
    if name.startswith("embeds:"):
        yield check_package("httpx", "httpx")
        name = name.removeprefix("embeds:")
    for module, distribution in PACKAGES.items():
        yield check_package(module, distribution)
    if os.path.isdir(name):
        yield from _folder(Path(name))
    else:
        yield guarded("model", lambda: _named(name))


def _named(name: str) -> Check:
    """A name of ours, or one of the hub, which isn't asked."""
    from ruichat.model.chat_model import CHAT_MODELS
    from ruichat.model.checkpoint import check_mini

    if name.startswith("hub:"):
        return Check("model", "ok", f"{name} is looked up on the hub when it is first asked")
    card = CHAT_MODELS.get(name)
    return Check("model", "ok", check_mini() if card.name == "mini" else card.name)


def _folder(folder: Path) -> Iterator[Check]:
    from ruichat.model.image_loading import is_foreign_folder

    if not is_foreign_folder(folder):
        yield guarded("model", lambda: _checkpoint(folder))
        return
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    yield guarded("model", lambda: _class(str(config["model_type"]), "auto_map" in config))
    yield _template(folder)
    yield from _weights(folder)


def _checkpoint(folder: Path) -> Check:
    from ruichat.model.checkpoint import read_manifest

    details = read_manifest(folder).details
    return Check("model", "ok", f"{details['name']}, reads {details['encoder']}")


def _class(kind: str, has_program: bool) -> Check:
    """Whether transformers knows models of that type as such that read pictures."""
    from ruichat.model.image_loading import picture_class

    known = picture_class(kind)
    if known is not None:
        return Check("model", "ok", f"{kind}: {known}")
    if has_program:
        hint = "Read its program files, then give --trust-remote-code if you trust them"
        return Check("model", "missing", f"{kind} needs program files of its own", hint)
    hint = "Give a model that reads pictures and text, such as Gemma 3, Qwen-VL or LLaVA"
    return Check("model", "missing", f"{kind} is no image-text-to-text model", hint)


def _template(folder: Path) -> Check:
    """Where a chat template may lie, over the years."""
    places = ("chat_template.jinja", "chat_template.json")
    found = [name for name in places if (folder / name).is_file()]
    tokenizer = folder / "tokenizer_config.json"
    if not found and tokenizer.is_file() and '"chat_template"' in tokenizer.read_text("utf-8"):
        found = [tokenizer.name]
    if found:
        return Check("chat template", "ok", found[0])
    hint = "Give the instruction-tuned version of the model, with all its files"
    return Check("chat template", "missing", "none", hint)


def _weights(folder: Path) -> Iterator[Check]:
    files = [path for path in folder.iterdir() if path.suffix in _WEIGHTS]
    size = sum(path.stat().st_size for path in files)
    if not size:
        yield Check("weights", "missing", "no weight files", "Copy the model again, whole")
        return
    yield Check("weights", "ok", f"{len(files)} files, {size / _GB:.1f} GB")
    needed, have = size + WORKING_BYTES, memory_bytes()
    status: Status = "ok" if not have or have >= needed else "small"
    hint = "Use a GPU, a smaller model, or a server with openai:NAME"
    yield Check("memory", status, f"{have / _GB:.0f} GB, needed {needed / _GB:.0f}", hint)


def _server(name: str, base_url: str | None) -> Check:
    from ruichat.model.openai_chat import OpenAiChatModel
    from ruichat.model.openai_http import Endpoint

    endpoint = Endpoint.of(base_url, allow_remote=True, timeout_s=10.0)
    OpenAiChatModel.connect(name, endpoint)
    where = "on this machine" if endpoint.is_local else "on another machine: needs --allow-remote"
    return Check("server", "ok", f"{endpoint.base_url}, {where}")

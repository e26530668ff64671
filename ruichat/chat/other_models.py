"""Models of other projects as backends: they look at pictures, and nothing calibrates them."""

from __future__ import annotations

import os
from pathlib import Path

from ruichat.chat.backend import Backend
from ruichat.chat.calibration import load_calibration
from ruichat.chat.model_options import ModelOptions
from ruichat.errors import ConfigError

_PICTURES = {"max_regions", "region_px"}
_OF_FOLDERS = {"trust_remote_code", "device", "dtype"} | _PICTURES
_OF_SERVERS = {"base_url", "allow_remote", "timeout_s"} | _PICTURES

_SERVER = "openai:"
_HUB = "hub:"


def load_other(model: str, options: ModelOptions) -> Backend | None:
    """The backend of a model that isn't ours; None if the name isn't one of such a model.

    Raises:
        ConfigError: a setting is of no use to it, or it isn't a model that reads pictures.
        PrerequisiteError: weights or packages are missing, or a server refuses the key.
        ArtifactError: files are missing or damaged.
        ModelError: its processor can't be used, or its server can't be reached.
    """
    if model.startswith(_SERVER):
        check_given(model, options, _OF_SERVERS)
        return _server(model, options)
    if model.startswith(_HUB) or _is_foreign(model):
        check_given(model, options, _OF_FOLDERS)
        return _folder(model, options)
    return None


def check_given(model: str, options: ModelOptions, useful: set[str]) -> None:
    """Refuse settings that would do nothing.

    Raises:
        ConfigError: naming them.
    """
    useless = sorted(options.given() - useful)
    if useless:
        raise ConfigError(
            f"model {model!r} has no use for {', '.join(useless)}",
            hint="Leave these options out, or give another --model",
        )


def _is_foreign(model: str) -> bool:
    if not os.path.isdir(model):  # unlike pathlib's, false for what no file can be called
        return False
    from ruichat.model.image_loading import is_foreign_folder

    return is_foreign_folder(Path(model))


def _folder(model: str, options: ModelOptions) -> Backend:
    from ruichat.model.image_loading import load_image_model

    chat_model = load_image_model(
        model,
        trust_remote_code=options.trust_remote_code,
        device=options.device,
        dtype=options.dtype,
    )
    calibration = None if chat_model.folder is None else load_calibration(chat_model.folder)
    return Backend(
        name=chat_model.name,
        encoder=None,
        classifier=None,
        model=chat_model,
        calibration=calibration,
        max_regions=options.max_regions,
        prompts=chat_model.prompts,
        pictures=options.pictures(),
    )


def _server(model: str, options: ModelOptions) -> Backend:
    from ruichat.model.openai_chat import OpenAiChatModel
    from ruichat.model.openai_http import Endpoint

    endpoint = Endpoint.of(
        options.base_url, allow_remote=options.allow_remote, timeout_s=options.timeout_s
    )
    chat_model = OpenAiChatModel.connect(model, endpoint)
    return Backend(
        name=chat_model.name,
        encoder=None,
        classifier=None,
        model=chat_model,
        calibration=None,
        max_regions=options.max_regions,
        prompts=chat_model.prompts,
        pictures=options.pictures(),
        sends_to="" if endpoint.is_local else endpoint.base_url,
    )

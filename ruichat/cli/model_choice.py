"""Options of every command that loads a chat model."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ruichat.chat.model_options import ModelOptions

HELP = "mini, a model folder, hub:OWNER/NAME, or on a server openai:NAME, embeds:FOLDER."


class DtypeChoice(StrEnum):
    """Of the weights of another project's model."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="Server of openai: or embeds:, ending in /v1"),
]
AllowRemote = Annotated[
    bool, typer.Option("--allow-remote", help="Pictures of the slide may leave this machine.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run program files that come with this model.")
]
Device = Annotated[str, typer.Option("--device", help="Of such a model: auto, cpu, cuda, cuda:1.")]
Dtype = Annotated[DtypeChoice, typer.Option("--dtype", help="Of such a model's weights.")]
NumRegions = Annotated[
    int | None,
    typer.Option("--regions", min=1, max=64, help="Regions that such a model is shown."),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Longest silence of a server, seconds.")
]


def model_options(
    *,
    base_url: str | None,
    allow_remote: bool,
    trust_remote_code: bool,
    device: str = "auto",
    dtype: DtypeChoice = DtypeChoice.auto,
    regions: int | None = None,
    timeout: float | None = None,
) -> ModelOptions:
    """The options as one object.

    Raises:
        ConfigError: a value that can't be.
    """
    from ruichat.chat.model_options import ModelOptions

    values: dict[str, Any] = {
        "base_url": base_url,
        "allow_remote": allow_remote,
        "trust_remote_code": trust_remote_code,
        "device": device,
        "dtype": dtype.value,
    }
    if regions is not None:
        values["max_regions"] = regions
    if timeout is not None:
        values["timeout_s"] = timeout
    return ModelOptions.checked(values, source="the command")


def warn_of_sending(model: str, options: ModelOptions) -> None:
    """Say, before anything is asked, that pictures leave this machine, if they may.

    Raises:
        ConfigError: the server's address is none, or it is another machine without leave.
    """
    if not model.startswith(("openai:", "embeds:")):
        return
    from ruichat.cli.texts import say, terminal_language
    from ruichat.model.openai_http import Endpoint

    endpoint = Endpoint.of(
        options.base_url, allow_remote=options.allow_remote, timeout_s=options.timeout_s
    )
    language = terminal_language()
    if not endpoint.is_local:
        typer.secho(say("sends", language).format(to=endpoint.base_url), fg="yellow", err=True)
        if not endpoint.is_encrypted:
            typer.secho(say("unencrypted", language), fg="yellow", err=True)

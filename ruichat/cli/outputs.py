"""What a command writes never goes over what it reads."""

from __future__ import annotations

from pathlib import Path

from ruichat.errors import ConfigError


def check_not_input(out: Path, source: Path, *, what: str = "the slide itself") -> None:
    """Refuse an output that is what is read, under whatever name.

    Raises:
        ConfigError: both are the same file.
    """
    try:
        same = out.samefile(source)
    except OSError:
        return  # one of them isn't there
    if same:
        raise ConfigError(f"{out} is {what}", hint="Give another name for the output")

"""The embedded tile encoder `mini`: a small residual network read out as texture statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ruichat.errors import ConfigError

if TYPE_CHECKING:
    from ruichat.features.mini.encoder import MiniEncoder
    from ruichat.features.runtime.ways import RunConfig

__all__ = ["load_mini"]


def load_mini(run: RunConfig) -> MiniEncoder:
    """The shipped encoder; what its card's loader names.

    Raises:
        ConfigError: it can't be run that way.
    """
    from ruichat.features.mini.encoder import MiniEncoder

    if run.precision not in ("auto", "fp32"):
        raise ConfigError(
            f"encoder 'mini' runs in fp32 only, not in {run.precision}",
            hint="Leave out --precision",
        )
    return MiniEncoder.load(config=run)

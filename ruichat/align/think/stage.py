"""Stage `think`: long thoughts, first taught on written ones, then rewarded for right answers."""

from __future__ import annotations

from pathlib import Path

from ruichat.align.loop import Log
from ruichat.align.preflight.room import Launch, Need
from ruichat.align.think.config import LaidThinkConfig, ThinkConfig
from ruichat.align.think.filed import filed_needs, think_filed
from ruichat.align.think.laid import laid_needs, think_laid


def think_needs(config: ThinkConfig, launch: Launch) -> list[Need]:
    """Memory that being taught takes, and being rewarded, from the settings alone.

    Raises:
        ConfigError, ArtifactError: there is no such checkpoint.
        UnknownShapeError: its memory isn't computed here.
    """
    if isinstance(config, LaidThinkConfig):
        return laid_needs(config, launch)
    return filed_needs(config, launch)


def think(
    config: ThinkConfig, data: Path, out: Path, log: Log = print, *, anyway: bool = False
) -> Path:
    """Run what isn't done yet; interrupt it at any time and run it again.

    Args:
        config: settings: questions of our own, or of dialogue files.
        data: folder that the settings' paths lie under.
        out: where states, curves and the finished checkpoint are kept.
        log: takes lines.
        anyway: start it even if memory is foretold not to suffice.

    Returns:
        The checkpoint, which `ruichat ask --model` takes.

    Raises:
        PrerequisiteError: data or a package isn't there, or memory doesn't suffice.
        ConfigError: `out` holds a run with other settings, or settings don't fit each other.
        RuiChatError: whatever can be known to be wrong before the model is loaded.
    """
    if isinstance(config, LaidThinkConfig):
        return think_laid(config, data, out, log, anyway=anyway)
    return think_filed(config, data, out, log, anyway=anyway)

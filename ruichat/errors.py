"""The one error family: every message says what was found and what to do about it."""

from __future__ import annotations


class RuiChatError(Exception):
    """Something the user can act on.

    Args:
        message: what was wrong, the value found, what is allowed. Never a patient identifier.
        hint: what to do about it, as an instruction.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class ConfigError(RuiChatError):
    """A setting, a name or a command line that can't be right."""

    exit_code = 2


class PrerequisiteError(RuiChatError):
    """A package, weight or resource that this machine lacks."""

    exit_code = 3


class InputError(RuiChatError):
    """A slide, question or file from the user that can't be used."""

    exit_code = 4


class UnsuitableSlideError(InputError):
    """A sound file that holds no stained slide in colour: no other reader should try it."""


class BrokenDecoderError(InputError):
    """The process that decoded a slide died of it: the slide may be opened once more."""


class MissingMppError(InputError):
    """The file doesn't state its resolution; the user has to."""


class ArtifactError(RuiChatError):
    """A file of ours that is damaged, of another schema, or made by something else."""

    exit_code = 4


class ModelError(RuiChatError):
    """A model that can't be loaded, or that returned what it must not."""

    exit_code = 3


class SlowModelError(ModelError):
    """A model took longer than its limit; given time, it may well answer."""


class NotFoundError(RuiChatError):
    """Something that isn't there, or not for this user: which of both isn't told."""

    exit_code = 4


class ConflictError(RuiChatError):
    """A change that no longer fits: somebody else has changed the record, or it is in use."""

    exit_code = 4


class StorageFullError(ArtifactError):
    """No room on the disk; what is there can still be read."""


class DatabaseUnavailableError(PrerequisiteError):
    """The database doesn't answer, or has been locked for too long; trying again may help."""

"""Frozen settings objects, read from YAML, with one fingerprint over all fields."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ruichat.errors import ConfigError

C = TypeVar("C", bound="Config")

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Of whatever is drawn by chance: as NumPy and torch take one."""


class Config(BaseModel):
    """Base of every settings object: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def fingerprint(self) -> str:
        """Hex digest (16 characters) over all fields: the only cache key."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_yaml(cls: type[C], path: Path) -> C:
        """Read and validate one YAML file.

        Raises:
            ConfigError: the file can't be read, isn't YAML, or a field is wrong.
        """
        return cls.checked(read_yaml(path), source=path.name)

    @classmethod
    def checked(cls: type[C], values: object, *, source: str, hint: str = "") -> C:
        """Validate settings that a user gave.

        Args:
            values: by field.
            source: who gives them, for the message: a file, a command.
            hint: what else to tell the user.

        Raises:
            ConfigError: a field is wrong, unknown or missing; all such are named.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = "; ".join(
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
            )
            raise ConfigError(f"{source} has wrong settings: {lines}", hint=hint) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The fields of one YAML file; none of an empty one.

    Raises:
        ConfigError: the file can't be read, isn't YAML, or holds no fields.
    """
    hint = "Give the path of a YAML file"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}", hint=hint) from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})", hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no settings", hint="Give a YAML file of fields")
    return cast(dict[str, Any], values)

"""Versioned prompts: one Jinja file each, with front matter that names and dates its wording."""

from __future__ import annotations

import functools
import importlib.resources
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import yaml

from ruichat.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from jinja2 import Template

_FENCE = "---\n"
_FIELDS = {"name", "version", "languages"}


@dataclass(frozen=True)
class Prompt:
    """One prompt file.

    Attributes:
        name: the file's name without suffix.
        version: counts up whenever the rendered wording changes; recorded with every answer.
        languages: languages the prompt serves; a prompt may serve both with one wording.
        source: the Jinja text below the front matter.
    """

    name: str
    version: int
    languages: tuple[str, ...]
    source: str

    @property
    def label(self) -> str:
        """How an answer records the prompt it was made with, "facts/1"."""
        return f"{self.name}/{self.version}"

    def render(self, **values: object) -> str:
        """The prompt with its variables filled in, without surrounding blank space.

        Raises:
            ConfigError: the template uses a variable that isn't given.
        """
        from jinja2 import UndefinedError

        try:
            return _compile(self.source).render(**values).strip()
        except UndefinedError as error:
            raise ConfigError(f"prompt {self.label} lacks a variable: {error.message}") from error


@functools.cache
def load_prompt(name: str) -> Prompt:
    """The prompt of that name from the package's assets.

    Raises:
        ConfigError: there is no prompt of that name.
        ArtifactError: its front matter is missing or wrong.
    """
    folder = importlib.resources.files("ruichat") / "assets" / "prompts"
    known = sorted(item.name[:-3] for item in folder.iterdir() if item.name.endswith(".md"))
    if name not in known:
        raise ConfigError(f"unknown prompt {name!r}", hint=f"Known: {', '.join(known)}")
    return parse_prompt(name, (folder / f"{name}.md").read_text(encoding="utf-8"))


def parse_prompt(name: str, text: str) -> Prompt:
    """Split a prompt file into front matter and template, and check both.

    Raises:
        ArtifactError: no front matter, a field missing or unknown, or another name in it.
    """
    if not text.startswith(_FENCE) or text.count(_FENCE) < 2:
        raise ArtifactError(f"prompt {name} has no front matter", hint="Start the file with '---'")
    head, _, body = text[len(_FENCE) :].partition(_FENCE)
    loaded = yaml.safe_load(head)
    fields = cast(dict[str, object], loaded) if isinstance(loaded, dict) else {}
    if set(fields) != _FIELDS or fields["name"] != name:
        raise ArtifactError(
            f"prompt {name} has front matter {sorted(fields)}; "
            f"it must hold exactly {sorted(_FIELDS)}, with the file's own name"
        )
    languages = cast(list[str], fields["languages"])
    return Prompt(name, int(str(fields["version"])), tuple(languages), body)


@functools.cache
def _compile(source: str) -> Template:
    """Compile once: sandboxed, and a missing variable is an error rather than a blank."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)

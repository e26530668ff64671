"""Registries of cards: plain data, readable without weights or heavy imports."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import logging
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Generic, Protocol, TypeVar, runtime_checkable

from ruichat.errors import ConfigError, PrerequisiteError, RuiChatError

log = logging.getLogger(__name__)


@runtime_checkable
class Card(Protocol):
    """Anything with a name can be a card."""

    @property
    def name(self) -> str:
        """Unique within its registry."""
        ...


C = TypeVar("C", bound=Card)


@dataclass(frozen=True)
class Broken:
    """A plug-in that can't be used.

    Attributes:
        name: of its entry point.
        package: the distribution that brings it.
        problem: what is wrong with it.
    """

    name: str
    package: str
    problem: str

    def error(self) -> PrerequisiteError:
        """What to say to whoever needs it."""
        return PrerequisiteError(
            self.problem, hint=f"Update or uninstall the package {self.package}"
        )


class Registry(Generic[C]):
    """Cards by name; packages outside register through an entry-point group.

    One of them that is broken costs a warning, and an error only whoever asks for it.

    Args:
        kind: what the cards describe, for messages ("encoder").
        entry_point_group: group whose entry points are callables returning one card.
    """

    def __init__(self, kind: str, entry_point_group: str | None = None) -> None:
        self.kind = kind
        self._group = entry_point_group
        self._cards: dict[str, C] = {}
        self._broken: list[Broken] = []

    def add(self, card: C) -> C:
        """Register a card; a second card of the same name is a ConfigError."""
        if card.name in self._cards:
            raise ConfigError(f"{self.kind} {card.name!r} is registered twice")
        self._cards[card.name] = card
        return card

    def get(self, name: str) -> C:
        """The card of that name.

        Raises:
            ConfigError: there is none; the hint has near matches.
            PrerequisiteError: the plug-in of that name is broken.
        """
        self._load_entry_points()
        if name not in self._cards:
            for broken in self._broken:
                if broken.name == name:
                    raise broken.error()
            near = difflib.get_close_matches(name, self._cards, n=3, cutoff=0.4)
            hint = f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(self)}"
            raise ConfigError(f"unknown {self.kind} {name!r}", hint=hint)
        return self._cards[name]

    def __iter__(self) -> Iterator[str]:
        self._load_entry_points()
        return iter(sorted(self._cards))

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Plug-ins that can't be used."""
        self._load_entry_points()
        return tuple(self._broken)

    def _load_entry_points(self) -> None:
        if self._group is None:
            return
        group, self._group = self._group, None
        for entry in importlib.metadata.entry_points(group=group):
            try:
                self.add(entry.load()())
            except Exception as error:  # packages outside raise anything
                package = entry.dist.name if entry.dist is not None else "that brings it"
                said = error.message if isinstance(error, RuiChatError) else str(error)
                broken = Broken(
                    entry.name,
                    package,
                    f"the plug-in {entry.value!r} of package {package} for a {self.kind} can't be "
                    f"loaded ({type(error).__name__}: {said})",
                )
                self._broken.append(broken)
                log.warning("%s", broken.problem)


def require(module: str, *, extra: str = "") -> ModuleType:
    """Import a heavy or optional package, telling a missing one from a broken one.

    Args:
        module: dotted name.
        extra: of ours that brings it; none where ruichat itself does.

    Raises:
        PrerequisiteError: the package isn't installed; the hint says what to install.
    """
    if importlib.util.find_spec(module.split(".")[0]) is None:
        wanted = f"'ruichat[{extra}]'" if extra else "ruichat"
        raise PrerequisiteError(f"{module} is not installed", hint=f"Run: pip install {wanted}")
    return importlib.import_module(module)


def load_object(target: str) -> object:
    """The object named by 'package.module:attribute', as cards name their loaders.

    An attribute may have further ones behind dots: a method of a class.
    """
    module, _, attribute = target.partition(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))

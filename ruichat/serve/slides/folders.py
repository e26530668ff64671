"""Where slides may lie: allowed folders, and the one of uploads. Nothing else is ever opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ruichat.errors import ConfigError, InputError, NotFoundError, PrerequisiteError

UPLOADS = "@uploads"
"""Name of the folder of uploaded slides; the others are called as their last part."""


class Folders:
    """The folders by name, and the only way from a name and a path to a file.

    Args:
        allowed: folders of slides that may be added to cases.
        uploads: the folder of uploaded slides; made where it is missing.

    Raises:
        ConfigError: two of them share a name, by which the database knows them.
    """

    def __init__(self, allowed: Sequence[Path], uploads: Path) -> None:
        try:
            uploads.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PrerequisiteError(
                f"the folder of uploads can't be made ({error.strerror})",
                hint="Let the server write to its data folder, or choose another one",
            ) from error
        roots = {UPLOADS: uploads.resolve()}
        for folder in allowed:
            name = folder.resolve().name or "root"
            if name in roots:
                raise ConfigError(
                    f"two of the slide folders are called {name!r}, by which slides are found",
                    hint="Name the folders differently, or allow the one that holds them",
                )
            roots[name] = folder.resolve()
        self.roots: Mapping[str, Path] = roots

    def resolve(self, root: str, path: str) -> Path:
        """The file or folder at a relative path, checked to lie inside.

        Raises:
            NotFoundError: it isn't there, or not in an allowed folder.
            InputError: it leads outside, by name or by a link.
        """
        top = self.roots.get(root)
        if top is None:
            raise NotFoundError(
                "the folder that holds this slide is no longer allowed",
                hint="Ask the operator to allow it again (slide_folders)",
            )
        parts = _parts(path)
        try:
            real = top.joinpath(*parts).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # loops of links raise the latter
            raise NotFoundError(
                "the slide's file isn't there", hint="Ask the operator to put it back"
            ) from error
        if not real.is_relative_to(top):
            raise InputError("the slide's file leads outside its folder", hint="Copy it there")
        return top.joinpath(*parts)

    def locate(self, file: Path) -> tuple[str, str]:
        """Name and relative path under which `resolve` finds a file of ours.

        Raises:
            InputError: it lies in none of the folders.
        """
        for name, top in self.roots.items():
            if file.is_relative_to(top):
                return name, file.relative_to(top).as_posix()
        raise InputError("the file lies in none of the allowed folders")


def _parts(path: str) -> Sequence[str]:
    """Parts of a relative path that goes down only.

    Raises:
        InputError: it is absolute, goes up, or holds what no name of a file holds.
    """
    parts = PurePosixPath(path).parts
    is_odd = not parts or PurePosixPath(path).is_absolute() or ".." in parts
    if is_odd or "\0" in path or "\\" in path or not path.isprintable():
        raise InputError("this is no path inside an allowed folder")
    return parts

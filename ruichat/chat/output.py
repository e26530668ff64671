"""Where an answer's files go: beside nothing of the user's, over nothing but our own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ruichat.chat.answer import Answer
from ruichat.chat.labelling import file_metadata
from ruichat.chat.plain import strip_controls
from ruichat.errors import InputError

MAX_STEM_CHARS = 80
MAX_NUMBER = 999

_UNSAFE = re.compile(r'[<>:"/\\|?*%\s]+')
_IDENTITY = ("ruichat:kind", "ruichat:slide", "ruichat:question")
_RESERVED = re.compile(r"^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


@dataclass(frozen=True)
class AnswerPaths:
    """Where the overlay and the regions of one answer are written."""

    overlay: Path
    geojson: Path


def safe_stem(slide_path: Path) -> str:
    """A file name made from a slide's, without separators, controls or reserved names."""
    stem = _UNSAFE.sub("_", strip_controls(slide_path.stem)).strip("._ ")
    stem = stem[:MAX_STEM_CHARS].rstrip("._ ")
    if not stem or _RESERVED.match(stem):
        stem = f"slide_{stem}".rstrip("_")
    return stem


def choose_paths(folder: Path, slide_path: Path, answer: Answer) -> AnswerPaths:
    """Free names in a folder, or those of an earlier answer to the same question.

    A file that RuiChat didn't make from this very slide and question is never replaced: the
    next number is taken instead.

    Raises:
        InputError: the folder can't be one, or a thousand names are taken.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder", hint="Give a folder with --out")
    stem = safe_stem(slide_path)
    for number in range(1, MAX_NUMBER + 1):
        suffix = "" if number == 1 else f"-{number}"
        paths = AnswerPaths(
            overlay=folder / f"{stem}.answer{suffix}.png",
            geojson=folder / f"{stem}.answer{suffix}.geojson",
        )
        if _may_write(paths.overlay, answer) and _may_write(paths.geojson, answer):
            return paths
    raise InputError(
        f"{folder} already holds {MAX_NUMBER} files for this slide", hint="Give another --out"
    )


def write_answer_files(paths: AnswerPaths, *, overlay: bytes, geojson: bytes) -> None:
    """Write both files, each whole or not at all.

    Raises:
        ArtifactError: the disk is full or the folder can't be written.
    """
    from ruichat.storage.artifacts import write_atomic

    write_atomic(paths.overlay, overlay)
    write_atomic(paths.geojson, geojson)


def _may_write(path: Path, answer: Answer) -> bool:
    """Whether nothing is there, or a file of ours about the same slide and question."""
    if path.is_symlink():
        return False
    if not path.exists():
        return True
    if not path.is_file():
        return False
    mine = file_metadata(answer)
    found = _metadata(path)
    return all(found.get(key) == mine[key] for key in _IDENTITY)


def _metadata(path: Path) -> dict[str, object]:
    """What a file of ours says of itself; empty for any other file."""
    try:
        if path.suffix == ".png":
            from PIL import Image

            with Image.open(path) as picture:
                return {str(key): value for key, value in picture.info.items()}
        return dict(json.loads(path.read_bytes())["metadata"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}

"""Where an answer's files go: beside nothing of the user's, over nothing but our own."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ruichat.chat.answer import Answer
from ruichat.chat.labelling import file_metadata
from ruichat.chat.plain import strip_controls
from ruichat.errors import ArtifactError, InputError

MAX_STEM_BYTES = 120
"""Of UTF-8: file systems take names of 255, and ours add a number and two suffixes."""

MAX_NUMBER = 999

_OTHER_FOLDER = "Give a folder that can be written with --out, or leave the files with --no-overlay"

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
    stem = stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore").rstrip("._ ")
    if not stem or _RESERVED.match(stem):
        stem = f"slide_{stem}".rstrip("_")
    return stem


def check_folder(folder: Path) -> None:
    """Refuse early what can't take files, before minutes are spent on a slide.

    Raises:
        InputError: it is a file, or can't be written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is not a folder", hint=_OTHER_FOLDER)
        nearest = next((p for p in (folder, *folder.absolute().parents) if p.exists()), None)
    except OSError as error:
        why = f"{folder} can't be written ({error.strerror})"
        raise InputError(why, hint=_OTHER_FOLDER) from error
    if nearest is not None and not os.access(nearest, os.W_OK):
        raise InputError(f"{folder} can't be written", hint=_OTHER_FOLDER)


def choose_paths(folder: Path, slide_path: Path, answer: Answer) -> AnswerPaths:
    """Free names in a folder, or those of an earlier answer to the same question.

    A file that RuiChat didn't make from this very slide and question is never replaced: the
    next number is taken instead.

    Raises:
        InputError: the folder can't take files, or a thousand names are taken.
    """
    check_folder(folder)
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

    try:
        write_atomic(paths.overlay, overlay)
        write_atomic(paths.geojson, geojson)
    except ArtifactError as error:
        raise ArtifactError(error.message, hint=_OTHER_FOLDER) from error


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
    from PIL import Image

    try:
        if path.suffix == ".png":
            with Image.open(path, formats=["PNG"]) as picture:
                return {str(key): value for key, value in picture.info.items()}
        return dict(json.loads(path.read_bytes())["metadata"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    except (Image.DecompressionBombError, RecursionError):  # absurdly large, absurdly deep
        return {}

"""The bags of the slides that dialogues are about, found by name in folders."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ruichat.errors import InputError
from ruichat.registry import require
from ruichat.truth.datasets.check import Extra
from ruichat.truth.datasets.dialogue import Dialogue, cited_numbers
from ruichat.truth.datasets.fields import slide_name, tcga_patient
from ruichat.truth.datasets.finding import Severity, Wrong

SUFFIXES = frozenset({".h5", ".hdf5", ".pt", ".csv"})
"""Of files that hold the embeddings of one slide."""

_TABLES = ("features", "feats", "coords")
"""Datasets with a row per tile, in the HDF5 files of whatever program."""


class Bags:
    """Files of embeddings by the name of their slide, whatever its case.

    A TCGA slide is also found by its barcode alone, without the identifier after the first dot,
    where only one file has it.

    Args:
        folders: searched with all below them.

    Raises:
        InputError: a folder isn't there or can't be read.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._paths: dict[str, list[Path]] = {}
        self._short: dict[str, list[Path]] = {}
        self._rows: dict[Path, int | None] = {}
        for path in _walk(folders):
            name = slide_name(path.name, "slides").casefold()
            self._paths.setdefault(name, []).append(path)
            if tcga_patient(name):
                self._short.setdefault(name.split(".")[0], []).append(path)
        self._names = sorted(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def of_slide(self, name: str) -> Path | None:
        """The bag of a slide; None if there is none.

        Raises:
            Wrong: there are several.
        """
        key = name.casefold()
        found = self._paths.get(key)
        if found is None and tcga_patient(name) and "." not in key:
            found = self._short.get(key)
        if found is None:
            return None
        if len(found) > 1:
            raise Wrong(
                "slides",
                "several_bags",
                f"{len(found)} files hold embeddings of one slide, "
                f"in {' and '.join(str(path.parent) for path in found[:2])}",
                "Name one folder, or take the others away",
            )
        return found[0]

    def of_patient(self, patient: str) -> tuple[Path, ...]:
        """Bags of slides whose name begins with a patient's, as TCGA's do, in order of names."""
        start = f"{patient.casefold()}-"
        at = bisect_left(self._names, start)
        found: list[Path] = []
        while at < len(self._names) and self._names[at].startswith(start):
            found += self._paths[self._names[at]]
            at += 1
        return tuple(found)

    def of(self, dialogue: Dialogue) -> tuple[Path, ...]:
        """Bags of a dialogue's slides in their order; of its patient's where it names none.

        Raises:
            Wrong: one is missing, or there are several for one slide.
        """
        if dialogue.tiles:
            return ()
        if not dialogue.slides:
            paths = self.of_patient(dialogue.patient or "")
            if not paths:
                raise _missing("patient", "no bag of any slide of the patient was found")
            return paths
        paths = [self.of_slide(name) for name in dialogue.slides]
        for name, path in zip(dialogue.slides, paths, strict=True):
            if path is None:
                raise _missing("slides", f"no bag of slide {name!r} was found")
        return tuple(path for path in paths if path is not None)

    def num_tiles(self, path: Path) -> int | None:
        """Tiles in a bag; None where its file doesn't tell without being read."""
        if path not in self._rows:
            self._rows[path] = _count_rows(path)
        return self._rows[path]


def looking_for(bags: Bags) -> Extra:
    """Look for the bags of a dialogue's slides, and for regions that they can't have.

    A missing bag is a warning: the folders may not hold all yet. A region beyond what the bag
    can be cut into is an error.
    """

    def look(dialogue: Dialogue) -> Iterator[tuple[Wrong, Severity]]:
        try:
            paths = bags.of(dialogue)
        except Wrong as wrong:
            yield wrong, "warning" if wrong.code == "no_bag" else "error"
            return
        if dialogue.num_regions is None or len(paths) != 1:
            return
        num_tiles = bags.num_tiles(paths[0])
        for at, turn in enumerate(dialogue.turns):
            for number in cited_numbers(turn.text):
                if num_tiles is not None and number > num_tiles:
                    yield _beyond(f"turns.{at}.text", number, num_tiles), "error"

    return look


def _walk(folders: Iterable[Path]) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise InputError(
            f"{error.filename} can't be read ({error.strerror})", hint="Give a folder of bags"
        ) from error

    for folder in folders:
        for name, inner, files in os.walk(folder, onerror=fail):
            inner[:] = sorted(one for one in inner if not one.startswith("."))
            for file in sorted(files):
                if Path(file).suffix.lower() in SUFFIXES and not file.startswith("."):
                    yield Path(name) / file


def _count_rows(path: Path) -> int | None:
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return None
    h5py = require("h5py")
    try:
        with h5py.File(path, "r") as file:
            for name in _TABLES:
                if name in file and len(file[name].shape):
                    return int(file[name].shape[0])
    except OSError:
        return None
    return None


def _missing(field: str, message: str) -> Wrong:
    return Wrong(field, "no_bag", message, "Extract the slide, or name another folder")


def _beyond(field: str, number: int, num_tiles: int) -> Wrong:
    return Wrong(
        field,
        "no_such_region",
        f"it cites [R{number}]; the slide's bag has {num_tiles} tiles and no more regions",
        "Correct the number, or name the bag that the dialogue was written for",
    )

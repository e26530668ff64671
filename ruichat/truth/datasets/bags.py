"""The bags of the slides that dialogues are about, found by name in folders."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ruichat.registry import require
from ruichat.truth.datasets.below import files_below
from ruichat.truth.datasets.check import Extra
from ruichat.truth.datasets.dialogue import Box, Dialogue, cited_numbers
from ruichat.truth.datasets.fields import slide_name, tcga_patient
from ruichat.truth.datasets.finding import Severity, Wrong

SUFFIXES = frozenset({".h5", ".hdf5", ".pt", ".csv"})
"""Of files that hold the embeddings of one slide."""

_TABLES = ("features", "feats", "coords")
"""Datasets with a row per tile, in the HDF5 files of whatever program."""

_SIDE = "patch_size_level0"
"""Attribute of `coords`: side of a tile, level-0 pixels."""

Centres = NDArray[np.int64]
"""Of tiles, level-0 pixels [n,2]."""

_SIZE = ("level0_width", "level0_height")
"""Attributes of `coords`, as TRIDENT and we write them."""


@dataclass(frozen=True, slots=True)
class BagOutline:
    """What a bag's file tells without being read.

    Attributes:
        num_tiles: in the bag; None if it doesn't tell.
        size0: width and height of the slide, level-0 pixels; None if it doesn't tell.
    """

    num_tiles: int | None = None
    size0: tuple[int, int] | None = None


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
        self._outlines: dict[Path, BagOutline] = {}
        self._unfit: dict[Path, Wrong | None] = {}
        for _, path in files_below(folders, SUFFIXES, "bags"):
            name = slide_name(path.name, "slides").casefold()
            self._paths.setdefault(name, []).append(path)
            if tcga_patient(name):
                self._short.setdefault(name.split(".")[0], []).append(path)
        self._names = sorted(self._paths)
        # Dialogues about a slide follow each other.
        self._centres = functools.lru_cache(4)(_read_centres)

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

    def outline(self, path: Path) -> BagOutline:
        """What a bag's file tells; read once."""
        if path not in self._outlines:
            self._outlines[path] = _outline(path)
        return self._outlines[path]

    def unfit(self, path: Path) -> Wrong | None:
        """Why no stage can train on a bag, as far as its kind tells; looked at once."""
        if path not in self._unfit:
            self._unfit[path] = _unfit(path)
        return self._unfit[path]

    def centres(self, path: Path) -> Centres | None:
        """Centres of a bag's tiles, level-0 pixels; None if its file doesn't tell them plainly."""
        return self._centres(path)


def looking_for(bags: Bags) -> Extra:
    """Look for the bags of a dialogue's slides, and for regions that they can't have.

    A missing bag is a warning: the folders may not hold all yet. So is one that no stage can
    train on, which may be here only to be counted. A region beyond what the bag
    can be cut into, outside the slide, or without a tile of it, is an error.
    """

    def look(dialogue: Dialogue) -> Iterator[tuple[Wrong, Severity]]:
        try:
            paths = bags.of(dialogue)
        except Wrong as wrong:
            yield wrong, "warning" if wrong.code == "no_bag" else "error"
            return
        for path in paths:
            if unfit := bags.unfit(path):
                yield unfit, "warning"
        for at, box in enumerate(dialogue.regions):
            size0 = bags.outline(paths[box.slide]).size0
            if size0 and (box.x + box.width > size0[0] or box.y + box.height > size0[1]):
                yield _outside(f"regions.{at}", size0), "error"
            elif not _holds_a_tile(box, bags.centres(paths[box.slide])):
                yield _without_tiles(f"regions.{at}"), "error"
        if dialogue.num_regions is None or len(paths) != 1:
            return
        num_tiles = bags.outline(paths[0]).num_tiles
        for at, turn in enumerate(dialogue.turns):
            for number in cited_numbers(turn.text):
                if num_tiles is not None and number > num_tiles:
                    yield _beyond(f"turns.{at}.text", number, num_tiles), "error"

    return look


def _outline(path: Path) -> BagOutline:
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return BagOutline()
    h5py = require("h5py")
    try:
        with h5py.File(path, "r") as file:
            found = {name: file[name] for name in _TABLES if name in file}
            tables = {name: it for name, it in found.items() if isinstance(it, h5py.Dataset)}
            num_tiles = [int(table.shape[0]) for table in tables.values() if table.shape]
            told = dict(tables["coords"].attrs) if "coords" in tables else {}
    except OSError:
        return BagOutline()
    size = [told.get(name) for name in _SIZE]
    # TRIDENT writes the word None where it doesn't know.
    known = [int(length) for length in size if isinstance(length, int | np.integer) and length > 0]
    size0 = (known[0], known[1]) if len(known) == 2 else None
    return BagOutline(num_tiles[0] if num_tiles else None, size0)


def _unfit(path: Path) -> Wrong | None:
    """As `features.foreign` refuses it, without reading the embeddings."""
    what, remedy = "", "Extract the slide, or fetch the file of features with positions"
    suffix = path.suffix.lower()
    if suffix == ".csv":
        what = "is a table (SlideInstruction's are), which doesn't say where its tiles lie"
    elif suffix == ".pt":
        what = "is a tensor (HistGen's and WSI-Bench's are), which doesn't say where its tiles lie"
        remedy = (
            "Make a bag of it with CLAM's file of patches of the same slide: ruichat features "
            "import --patches; or extract the slide"
        )
    else:
        h5py = require("h5py")
        try:
            with h5py.File(path, "r") as file:
                names = set(file)
        except OSError:
            what, remedy = "can't be opened as HDF5", "Copy it again"
        else:
            if not names & {"features", "feats"}:
                what = "holds no features"
            elif "coords" not in names:
                what = "holds no positions of its tiles"
    return (
        Wrong("slides", "bag_unfit", f"no stage trains on its bag: it {what}", remedy)
        if what
        else None
    )


def _read_centres(path: Path) -> Centres | None:
    """As TRIDENT and we write them: corners, and the side of a tile as an attribute."""
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return None
    h5py = require("h5py")
    try:
        with h5py.File(path, "r") as file:
            corners = file.get("coords")
            if not isinstance(corners, h5py.Dataset) or corners.shape[-1:] != (2,):
                return None
            side = corners.attrs.get(_SIDE)
            if not isinstance(side, int | np.integer):
                return None
            return np.asarray(corners[...], np.int64).reshape(-1, 2) + int(side) // 2
    except (OSError, ValueError):
        return None


def _holds_a_tile(box: Box, centres: Centres | None) -> bool:
    """Whether a tile's centre lies in a box, as `laying.lay` will ask; true where nobody knows."""
    if centres is None:
        return True
    low, high = (box.x, box.y), (box.x + box.width, box.y + box.height)
    return bool(((centres >= low) & (centres < high)).all(axis=1).any())


def _without_tiles(field: str) -> Wrong:
    return Wrong(
        field,
        "region_without_tiles",
        "it holds the centre of no tile of the slide's bag",
        "Give level-0 pixels of the slide whose bag this is, or leave the region out",
    )


def _outside(field: str, size0: tuple[int, int]) -> Wrong:
    return Wrong(
        field,
        "region_outside",
        f"it leaves the slide of {size0[0]} x {size0[1]} px",
        "Give level-0 pixels, or name the bag of the slide that is meant",
    )


def _missing(field: str, message: str) -> Wrong:
    return Wrong(field, "no_bag", message, "Extract the slide, or name another folder")


def _beyond(field: str, number: int, num_tiles: int) -> Wrong:
    return Wrong(
        field,
        "no_such_region",
        f"it cites [R{number}]; the slide's bag has {num_tiles} tiles and no more regions",
        "Correct the number, or name the bag that the dialogue was written for",
    )

"""From a path to an open slide, or to an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from ruichat.errors import InputError, PrerequisiteError, RuiChatError, UnsuitableSlideError
from ruichat.registry import load_object
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import MAX_SIDE0
from ruichat.slide.mpp import MppChoice, choose_mpp
from ruichat.slide.plugins import PLUGIN_FORMATS, missing_plugin
from ruichat.slide.readers import READERS, Opened, PictureKind, SlideReader
from ruichat.slide.sandbox import SandboxedReader
from ruichat.slide.siblings import check_files, check_siblings
from ruichat.slide.slide import Slide
from ruichat.slide.tiff_gate import check_tiff

SQUARE = 0.02
"""Relative difference of mpp in x and y that is worth a warning."""

_OWN_SUFFIXES = (
    *(".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".czi", ".svslide"),
    *(".tif", ".tiff", ".png", ".jpg", ".jpeg"),
)

SLIDE_SUFFIXES = (*_OWN_SUFFIXES, *PLUGIN_FORMATS)


def slide_suffixes() -> frozenset[str]:
    """Suffixes of files that are taken for slides: ours, and those that plug-ins bring."""
    brought = (suffix for name in READERS for suffix in READERS.get(name).suffixes)
    return frozenset((*SLIDE_SUFFIXES, *brought))


def open_slide(path: Path, *, mpp: float | None = None, icc: bool = False) -> Slide:
    """Open a slide file, a DICOM folder, or a plain image region.

    Args:
        path: a file, or a folder that holds one DICOM series.
        mpp: micrometres per level-0 pixel, used only where the file states no plausible value.
        icc: whether colours are converted to sRGB by the file's ICC profile.

    Raises:
        InputError: missing, empty, damaged, not a slide, or of absurd size.
        MissingMppError: neither the file nor `mpp` says what a pixel measures.
        PrerequisiteError: the format needs a plug-in.
    """
    path = Path(path)
    reader = _open_reader(path, icc=icc)
    try:
        choice, warnings = _choose_mpp(reader, mpp)
    except RuiChatError:
        reader.close()
        raise
    return Slide(
        path,
        reader,
        choice,
        reader.warnings + warnings,
        opened_by=reader.opened_by,
        icc=icc,
        new_array=reader.new_array,
    )


def read_picture(path: Path, kind: PictureKind) -> Bytes:
    """RGB, uint8 [h,w,3], of a slide's label or of its whole glass, which can show names.

    Raises:
        InputError: the slide can't be opened, or holds no such picture.
    """
    reader = _open_reader(Path(path), icc=False)
    try:
        found = reader.picture(kind)
    finally:
        reader.close()
    if found is None:
        raise InputError(
            f"{path.name} holds no {kind} image", hint="Ask for the other kind, label or macro"
        )
    return found


def _open_reader(path: Path, *, icc: bool) -> SandboxedReader:
    file = find_slide_file(path)
    check_tiff(file)
    check_siblings(file)
    reader = SandboxedReader(file, icc=icc)
    try:
        check_files(file, reader.files)
        _check_levels(file, reader)
    except RuiChatError:
        reader.close()
        raise
    return reader


def find_slide_file(path: Path) -> Path:
    """The file to open: `path` itself, or the first DICOM file of a folder.

    Raises:
        InputError: nothing there, an empty file, no permission, or a folder without one slide.
    """
    try:
        if path.is_dir():
            return _file_in_folder(path)
        if not path.exists():
            raise InputError(f"no file at {path}", hint="Check the path")
        if not path.is_file():
            raise InputError(f"{_named(path)} is not a file", hint="Give a slide file")
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path.name} is empty (0 bytes)", hint="Copy it again")
    except OSError as error:
        raise InputError(
            f"{_named(path)} can't be read ({error.strerror})", hint="Check its permissions"
        ) from error
    return path


def _file_in_folder(folder: Path) -> Path:
    """A DICOM series is a folder of files; any other folder must be narrowed down by the user."""
    for pattern in ("*", "*/*"):
        found = sorted(p for p in folder.glob(pattern) if p.suffix.lower() == ".dcm")
        if len({p.parent for p in found}) > 1:
            raise InputError(
                f"{_named(folder)} holds {len({p.parent for p in found})} folders of DICOM files",
                hint="Give one of them",
            )
        if found:
            return _one_series(folder, found)
    known = slide_suffixes()
    slides = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in known)
    if (folder / "Slidedat.ini").exists():
        hint = f"Give the .mrxs file beside it: {folder.with_suffix('.mrxs').name}"
    elif slides:
        hint = f"Give one file of it: {', '.join(slides[:5])}"
    else:
        hint = "Give a slide file, or a folder with the .dcm files of one slide"
    raise InputError(f"{_named(folder)} is a folder, not a slide", hint=hint)


def _named(path: Path) -> str:
    """The last part alone: clients of a server are told, who mustn't learn how its disk is laid."""
    return path.name or str(path)


def _one_series(folder: Path, found: list[Path]) -> Path:
    check_files(found[0], found)
    check_siblings(found[0])
    first: Path | None = None
    rest = found
    while rest:
        reader = _try_dicom(rest[0])
        if reader is None:
            rest = rest[1:]
            continue
        members = {p.name for p in reader.files}
        reader.close()
        if first is not None:
            raise InputError(
                f"{_named(folder)} holds more than one DICOM slide",
                hint=f"Give one file of the slide you mean: {first.name} or {rest[0].name}",
            )
        first = rest[0]
        rest = [p for p in rest[1:] if p.name not in members]
    if first is None:
        raise InputError(
            f"none of the {len(found)} DICOM files in {_named(folder)} is a whole-slide image",
            hint="Give the folder of a VL Whole Slide Microscopy series",
        )
    return first


def _try_dicom(path: Path) -> SlideReader | None:
    try:
        reader = SandboxedReader(path)
    except InputError:
        return None
    if reader.vendor == "dicom":
        return reader
    reader.close()
    return None


def _load(name: str) -> Callable[[Path], SlideReader | None]:
    loader = READERS.get(name).loader
    return cast(Callable[[Path], "SlideReader | None"], load_object(loader))


def read_with_any(path: Path) -> Opened:
    """Open a file with the first reader that knows its format; only in a child process.

    Raises:
        InputError: no reader knows it, or the first that does finds it damaged.
        PrerequisiteError: a reader can't be loaded, or the format needs a plug-in that is missing
            or broken.
    """
    problem: InputError | None = None
    for name in _in_order(path):
        try:
            reader = _load(name)(path)
        except UnsuitableSlideError:
            raise
        except InputError as error:
            problem = problem or error
            continue
        except ImportError as error:
            raise PrerequisiteError(
                f"the {name} reader can't be loaded ({error})", hint="Run: ruichat doctor"
            ) from error
        if reader is not None:
            return Opened(name, reader)
    if problem is not None:
        raise problem
    if READERS.broken and path.suffix.lower() not in _OWN_SUFFIXES:
        raise READERS.broken[0].error()
    kinds = "; ".join(READERS.get(name).summary for name in READERS)
    raise missing_plugin(path) or InputError(
        f"{path.name} is not a slide or image", hint=f"RuiChat opens {kinds}"
    )


def _in_order(path: Path) -> list[str]:
    """Names of the readers: those that claim the file's suffix come first."""
    cards = [READERS.get(name) for name in READERS]
    suffix = path.suffix.lower()
    return [c.name for c in sorted(cards, key=lambda c: (suffix not in c.suffixes, c.order))]


def _check_levels(path: Path, reader: SlideReader) -> None:
    width, height = reader.level_sizes[0]
    if not (0 < width <= MAX_SIDE0 and 0 < height <= MAX_SIDE0):
        raise InputError(
            f"{path.name} claims to be {width} x {height} px; plausible are sides up to "
            f"{MAX_SIDE0}",
            hint="The file is damaged or not a scan of a slide: export it again",
        )


def _choose_mpp(reader: SlideReader, user: float | None) -> tuple[MppChoice, tuple[str, ...]]:
    stated = reader.file_mpp
    value = (stated[0] * stated[1]) ** 0.5 if stated else None
    choice = choose_mpp(value, user, objective=reader.objective)
    if stated and choice.source == "file" and abs(stated[0] / stated[1] - 1) > SQUARE:
        return choice, (
            f"pixels are not square ({stated[0]:g} x {stated[1]:g} um): {choice.value:g} is used",
        )
    return choice, ()

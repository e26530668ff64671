"""Files of any known format into one file of ours, with a manifest of what it was made from."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import ConfigError
from ruichat.storage.artifacts import Manifest, write_atomic
from ruichat.truth.datasets.check import (
    BrokenRecordsError,
    EmptySplitError,
    Report,
    open_report,
    read_dialogues,
)
from ruichat.truth.datasets.finding import name_of
from ruichat.truth.datasets.formats.card import FormatCard
from ruichat.truth.datasets.parquet import holds_pictures, write_pictures
from ruichat.truth.datasets.patients import Patients
from ruichat.truth.datasets.source import OnBytes, find_container

KIND = "dialogues"
SCHEMA_VERSION = 1

MANIFEST_SUFFIX = ".manifest.json"


@dataclass(frozen=True)
class Converted:
    """What became of some files.

    Attributes:
        path: of the file that was written.
        reports: on the files that were read.
        num_written: dialogues in it.
        num_without_patient: those whose patient isn't known.
        num_overlapping: dialogues left out because evaluation holds them.
        lines: where each dialogue's record begins in the file that it is from, from 1.
    """

    path: Path
    reports: tuple[Report, ...]
    num_written: int
    num_without_patient: int
    num_overlapping: int
    lines: NDArray[np.int64]


def convert(
    sources: Sequence[Path],
    out: Path,
    *,
    card: FormatCard | None = None,
    sha256: str = "",
    patients: Patients | None = None,
    leave_out_broken: bool = False,
    without: Container[tuple[int, int]] = (),
    pictures: Path | None = None,
    on_bytes: OnBytes | None = None,
) -> Converted:
    """Write the dialogues of some files as one file of our format, whole or not at all.

    Args:
        sources: files to read, in order.
        out: the file to write; its manifest goes beside it.
        card: format of all of them; each file's is found if None.
        sha256: digest that a single source must have; "" for any.
        patients: how they are told; as the formats say if None.
        leave_out_broken: go on without records that can't be used; the manifest counts them.
        without: records to leave out, by the place of their file and their number; counted too.
        pictures: folder for the pictures that Parquet files hold.
        on_bytes: told how far each file was read.

    Raises:
        ConfigError: a format can't be told, the output is one of the sources, or there are
            pictures and no folder for them.
        InputError: a file can't be read or is another version than pinned.
        BrokenRecordsError: records can't be used, and none is to be left out.
        EmptySplitError: nothing is left to write.
        ArtifactError: the file can't be written.
    """
    check_names(sources)
    _check_out(sources, out)
    if sha256 and len(sources) != 1:
        raise ConfigError("--sha256 pins one file", hint="Convert the files one by one")
    tables = (path for path in sources if find_container(path) == "columns")
    full = [path for path in tables if holds_pictures(path)]
    if full and pictures is None:
        raise ConfigError(
            f"{full[0].name} holds pictures",
            hint="Convert it first, and say where they go: ruichat align data convert --pictures",
        )
    patients = patients or Patients()
    reports = [open_report(path, card, sha256=sha256) for path in sources]
    digest = hashlib.sha256()
    counts: Counter[str] = Counter()
    lines = array("q")

    def write(file: BinaryIO) -> None:
        for at, report in enumerate(reports):
            for placed in read_dialogues(report, patients=patients, on_bytes=on_bytes):
                dialogue = placed.dialogue
                if (at, placed.record) in without:
                    counts["overlapping"] += 1
                    continue
                if len(reports) > 1:
                    # Sets count from 1, each of them.
                    name = f"{name_of(report.file)}:{dialogue.id}"
                    dialogue = dialogue.model_copy(update={"id": name})
                line = dialogue.to_line()
                file.write(line)
                digest.update(line)
                lines.append(placed.line)
                counts["written"] += 1
                counts["without_patient"] += dialogue.patient is None
            if report.num_errors and not leave_out_broken:
                raise BrokenRecordsError(report)
        if not counts["written"]:
            raise EmptySplitError(
                f"no dialogue of {len(reports)} files can be used",
                hint="See what is wrong with: ruichat align data check FILE",
            )

    write_atomic(out, write)
    if pictures is not None:
        for path in full:
            write_pictures(path, pictures)
    done = Converted(
        out,
        tuple(reports),
        num_written=counts["written"],
        num_without_patient=counts["without_patient"],
        num_overlapping=counts["overlapping"],
        lines=np.array(lines, np.int64),
    )
    write_manifest(done, digest.hexdigest(), patients)
    return done


def write_manifest(done: Converted, digest: str, patients: Patients) -> None:
    """Say beside a file what it is and what it was made from.

    Raises:
        ArtifactError: it can't be written.
    """
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        made_from={name_of(report.file): report.sha256 for report in done.reports},
        details={
            "num_dialogues": done.num_written,
            "num_without_patient": done.num_without_patient,
            "num_overlapping": done.num_overlapping,
            "patients": patients.rule,
            "formats": {name_of(report.file): report.format for report in done.reports},
            "left_out": {name_of(report.file): report.num_broken for report in done.reports},
        },
        sha256=digest,
    )
    write_atomic(manifest_path(done.path), f"{manifest.to_json()}\n".encode())


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file of dialogues lies."""
    return path.with_name(path.name + MANIFEST_SUFFIX)


def check_names(sources: Sequence[Path]) -> None:
    """Refuse files that a manifest and ids couldn't tell apart.

    Raises:
        ConfigError: two have one name.
    """
    names = [name_of(path) for path in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two files are called {twice}", hint="Rename one of them")


def _check_out(sources: Sequence[Path], out: Path) -> None:
    for source in sources:
        if out.exists() and source.exists() and out.samefile(source):
            raise ConfigError(f"{out} is one of the files to read", hint="Give another name")
    if out.suffix != ".jsonl":
        raise ConfigError(f"{out.name} must end in .jsonl", hint=f"Try {out.stem}.jsonl")

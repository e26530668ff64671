"""Parts of a set, made by patient: a patient's part depends on nothing but the patient."""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ruichat.errors import ConfigError
from ruichat.storage.artifacts import Manifest, not_written, write_atomic
from ruichat.truth.datasets.check import EmptySplitError, open_report, read_dialogues
from ruichat.truth.datasets.convert import KIND, SCHEMA_VERSION, check_names, manifest_path
from ruichat.truth.datasets.finding import name_of
from ruichat.truth.datasets.formats.card import FormatCard
from ruichat.truth.datasets.patients import Patients
from ruichat.truth.datasets.source import OnBytes, file_digest

_PART = re.compile(r"([a-z][a-z0-9_-]{0,30})=([0-9]*\.?[0-9]+)")


@dataclass(frozen=True)
class Shares:
    """Names of parts and their shares, which sum to 1.

    Raises:
        ConfigError: on making one that can't be right.
    """

    of: Mapping[str, float]

    def __post_init__(self) -> None:
        if len(self.of) < 2 or min(self.of.values()) <= 0:
            raise ConfigError("a split needs two parts or more, each with a share", hint=_HINT)
        if not math.isclose(sum(self.of.values()), 1.0, abs_tol=1e-6):
            raise ConfigError(f"shares sum to {sum(self.of.values()):g}, not to 1", hint=_HINT)

    @classmethod
    def parse(cls, text: str) -> Shares:
        """From "train=0.8,val=0.1,test=0.1".

        Raises:
            ConfigError: it isn't of that form.
        """
        shares: dict[str, float] = {}
        for item in text.split(","):
            found = _PART.fullmatch(item.strip())
            if found is None or found[1] in shares:
                raise ConfigError(f"{item.strip()!r} is no part with its share", hint=_HINT)
            shares[found[1]] = float(found[2])
        return cls(shares)

    def part(self, patient: str, seed: int) -> str:
        """The part of a patient: the same whoever else is in the set, and in whatever order.

        Patients added later never move others, so that what once was held out stays so.
        """
        key = f"{seed}\0{patient.strip().casefold()}".encode("utf-8", "surrogatepass")
        at = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
        names = list(self.of)
        for name in names[:-1]:
            at -= self.of[name]
            if at < 0:
                return name
        return names[-1]


_HINT = "Write for example: train=0.8,val=0.1,test=0.1"


@dataclass(frozen=True)
class Split:
    """What became of a file.

    Attributes:
        paths: of the parts' files.
        dialogues: number in each.
        patients: number in each.
    """

    paths: Mapping[str, Path]
    dialogues: Mapping[str, int]
    patients: Mapping[str, int]


def split(
    sources: Sequence[Path],
    out: Path,
    shares: Shares,
    *,
    seed: int = 0,
    card: FormatCard | None = None,
    patients: Patients | None = None,
    on_bytes: OnBytes | None = None,
) -> Split:
    """Write the parts of some files into a folder, all or none, one file and manifest each.

    Args:
        sources: files to read, of any known format.
        out: folder, made where missing.
        shares: of the patients.
        seed: another one deals patients out anew.
        card: format of all sources; each file's is found if None.
        patients: how they are told.
        on_bytes: told how far each file was read.

    Raises:
        UnknownPatientError: a patient can't be told.
        BrokenRecordsError: a record can't be used.
        EmptySplitError: a part comes out empty.
        InputError, ConfigError, ArtifactError: see `convert`.
    """
    check_names(sources)
    patients = patients or Patients()
    if patients.rule == "unknown":
        raise ConfigError("patients can't be unknown in a split by patient", hint="Give a table")
    reports = [open_report(path, card) for path in sources]
    counts: Counter[str] = Counter()
    seen: dict[str, set[bytes]] = {name: set() for name in shares.of}
    paths = {name: out / f"{name}.jsonl" for name in shares.of}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".split.") as folder, ExitStack() as stack:
            fresh = {name: Path(folder) / f"{name}.jsonl" for name in shares.of}
            for path in fresh.values():
                path.touch(mode=0o600)  # as what `write_atomic` writes
            files = {name: stack.enter_context(path.open("wb")) for name, path in fresh.items()}
            for report in reports:
                for placed in read_dialogues(report, patients=patients, on_bytes=on_bytes):
                    patient = patients.require(placed.dialogue, placed)
                    assert patient is not None
                    part = shares.part(patient, seed)
                    seen[part].add(hashlib.sha256(patient.casefold().encode()).digest()[:12])
                    counts[part] += 1
                    moved = placed.dialogue.model_copy(update={"split": part})
                    files[part].write(moved.to_line())
                report.require_sound()
            stack.close()
            _require_full(seen)
            for name, path in paths.items():
                fresh[name].replace(path)
    except OSError as error:
        raise not_written(out, error) from error
    made_from = {name_of(report.file): report.sha256 for report in reports}
    done = Split(paths, counts, {name: len(found) for name, found in seen.items()})
    for name in shares.of:
        _write_manifest(done, name, made_from, shares, seed)
    return done


def _require_full(seen: Mapping[str, set[bytes]]) -> None:
    total = sum(map(len, seen.values()))
    for name, found in seen.items():
        if not found:
            raise EmptySplitError(
                f"part {name!r} is empty: none of {total} patients falls to it",
                hint="Give it a larger share, another --seed, or more patients",
            )


def _write_manifest(
    done: Split, name: str, made_from: dict[str, str], shares: Shares, seed: int
) -> None:
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        made_from=made_from,
        details={
            "part": name,
            "shares": dict(shares.of),
            "seed": seed,
            "num_dialogues": done.dialogues[name],
            "num_patients": done.patients[name],
        },
        sha256=file_digest(done.paths[name]),
    )
    write_atomic(manifest_path(done.paths[name]), f"{manifest.to_json()}\n".encode())

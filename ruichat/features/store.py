"""A folder of bags, one per slide, that several processes and machines may fill together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ruichat.errors import ArtifactError, ConfigError, InputError
from ruichat.features.bag import SUFFIX, BagFacts, check_bag
from ruichat.storage.artifacts import write_atomic
from ruichat.storage.hdf5 import has_manifest
from ruichat.storage.locks import locked

log = logging.getLogger(__name__)

STORE_FILE = "store.json"
STORE_SCHEMA = 1

UNFINISHED = ".unfinished"
"""Folder of locks and of shards."""


@dataclass(frozen=True)
class Place:
    """Where a slide's bag belongs.

    Attributes:
        path: of the bag.
        facts: of the bag that is there already, made by the same extraction; else None.
    """

    path: Path
    facts: BagFacts | None


class Store:
    """A folder of bags that one encoder made with one set of settings.

    Args:
        folder: made where missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unfinished = folder / UNFINISHED

    @property
    def precision(self) -> str:
        """In which the encoder ran that filled it; empty where nothing says so."""
        try:
            return str(json.loads((self.folder / STORE_FILE).read_text())["precision"])
        except (OSError, ValueError, KeyError, TypeError):  # `claim` says what is wrong
            return ""

    def claim(
        self,
        *,
        encoder: str,
        encoder_digest: str,
        precision: str,
        fingerprint: str,
        extraction: int,
    ) -> None:
        """Say what fills the store, or refuse to mix it with what filled it before.

        Raises:
            ConfigError: it is another encoder's or setting's, or no store at all.
            ArtifactError: the folder can't be written.
        """
        made_by = {
            "kind": "feature-store",
            "schema_version": STORE_SCHEMA,
            "encoder": encoder,
            "encoder_digest": encoder_digest,
            "precision": precision,
            "config_fingerprint": fingerprint,
            "extraction": extraction,
        }
        path = self.folder / STORE_FILE
        with locked(self._unfinished / "store.lock"):
            if path.exists():
                self._check(path, made_by)
                return
            if any(self.folder.glob(f"*{SUFFIX}")):
                raise ConfigError(
                    f"{self.folder} holds {SUFFIX} files but no {STORE_FILE}: it isn't a store "
                    "of this program",
                    hint="Give a new folder with --out",
                )
            text = json.dumps(made_by, indent=2, sort_keys=True, ensure_ascii=False)
            write_atomic(path, f"{text}\n".encode())

    def hold(self, name: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Keep others from slides of that name; gives whether it is held."""
        return locked(self._unfinished / f"{_safe(name)}.lock", wait=wait)

    def place(self, name: str, key: str, *, alone: bool) -> Place:
        """Where a slide's bag belongs; its name is held.

        The plain name is for a slide that has it to itself; others carry a part of their key. No
        sound bag is ever replaced, nor what others put there; a damaged bag is moved aside.

        Args:
            name: of the slide, without suffix.
            key: of the extraction.
            alone: whether no other slide of the run has that name.
        """
        plain = self.folder / f"{name}{SUFFIX}"
        told_apart = self.folder / f"{name}-{key[-12:]}{SUFFIX}"
        for path in (plain, told_apart):
            facts = _look(path)
            if facts is not None and facts.key == key:
                return Place(path, facts)
        return Place(plain if alone and not plain.exists() else told_apart, None)

    def parts(self, name: str, slide: Path) -> Path:
        """Folder for the unfinished work on a slide."""
        digest = hashlib.sha256(str(slide).encode("utf-8", "surrogateescape")).hexdigest()
        return self._unfinished / f"{_safe(name)}.{digest[:12]}"

    def _check(self, path: Path, made_by: dict[str, str | int]) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{path} can't be read ({error})", hint="Restore it, or give a new folder"
            ) from error
        differing = [name for name in made_by if found.get(name) != made_by[name]]
        if differing:
            told = "; ".join(
                f"{name} is {found.get(name)!r}, wanted is {made_by[name]!r}" for name in differing
            )
            raise ConfigError(
                f"the bags in {self.folder} were made otherwise: {told}",
                hint="Give another folder with --out; bags of several encoders don't mix",
            )


class Attempts:
    """How often work on a slide was begun without getting anywhere, kept where it outlives us.

    Args:
        folder: for the unfinished work on the slide.
        limit: so many processes may die over it before it is given up.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._file = folder / "attempts"

    def begin(self, name: str) -> None:
        """Count a start.

        Raises:
            InputError: too many ended in the death of their process.
            ArtifactError: the folder can't be written.
        """
        num, shards = self._read()
        now = sum(1 for _ in self._folder.glob("*.shard"))
        num = num if now <= shards else 0
        if num >= self._limit:
            self.end()
            raise InputError(
                f"{name} ended {num} processes that worked on it, none of which got further",
                hint="Give it more memory (--workers 1), or look at it with: ruichat slide check",
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file.write_text(f"{num + 1} {now}")
        except OSError as error:
            raise ArtifactError(
                f"{self._file} can't be written ({error.strerror})",
                hint="Free some space, or check the folder's permissions",
            ) from error

    def end(self) -> None:
        """The process lives: whatever happened, it wasn't its death."""
        self._file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # it stays where it holds shards

    def clear(self) -> None:
        """Remove the folder: its slide is done."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> tuple[int, int]:
        try:
            num, shards = self._file.read_text().split()
            return int(num), int(shards)
        except (OSError, ValueError):
            return 0, 0


def _look(path: Path) -> BagFacts | None:
    """Facts of a sound bag; None for none, after moving a damaged one aside."""
    if not path.exists():
        return None
    try:
        return check_bag(path) if has_manifest(path) else None
    except ArtifactError as error:
        aside = path.with_name(f"{path.name}.damaged")
        log.warning("%s; it is moved to %s", error.message, aside.name)
        path.replace(aside)
        return None


def _safe(name: str) -> str:
    """A name for locks and folders that is short enough and the same on every disk."""
    digest = hashlib.sha256(name.casefold().encode("utf-8", "surrogateescape")).hexdigest()
    return f"{name.casefold()[:40]}.{digest[:8]}"

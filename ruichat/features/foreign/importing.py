"""Files of other tools into a store of bags."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ruichat.errors import InputError, RuiChatError
from ruichat.features.foreign.convert import convert
from ruichat.features.foreign.given import Given
from ruichat.features.jobs import Outcome
from ruichat.features.store import Store

log = logging.getLogger(__name__)

FINGERPRINT = "imported"
"""In place of a config's: bags of other tools share a store with their like only."""

CONVERSION = 1
"""Version of the conversion; raised when what it makes changes."""


def import_files(files: Sequence[Path], store: Store, given: Given) -> Iterator[Outcome]:
    """Convert files one by one; what is wrong with one is its outcome.

    Args:
        files: of TRIDENT, CLAM, STAMP or HistoGPT.
        store: takes files of one encoder.
        given: what the files don't state; `patches` may be a folder with a file of the same name
            for each.
    """
    counts = Counter(path.stem.casefold() for path in files)
    for path in files:
        try:
            own = replace(given, patches=_patches(path, given.patches))
            yield _import_one(path, store, own, alone=counts[path.stem.casefold()] == 1)
        except RuiChatError as error:
            yield Outcome.of_error(path, error)
        except Exception as error:  # the loop over files: one that meets a bug doesn't end the run
            log.exception("%s failed", path)
            yield Outcome.of_error(path, error)


def _import_one(path: Path, store: Store, given: Given, *, alone: bool) -> Outcome:
    key = _key(path, given)
    bag = convert(path, given, key=key)
    store.claim(
        encoder=bag.encoder,
        encoder_digest="",
        precision="",
        fingerprint=FINGERPRINT,
        extraction=CONVERSION,
    )
    with store.hold(path.stem, wait=True):
        place = store.place(path.stem, key, alone=alone)
        if place.facts is None:
            bag.save(place.path)
    return Outcome(
        slide=str(path),
        status="skipped" if place.facts is not None else "done",
        bag=place.path.name,
        num_tiles=len(bag),
        warnings=bag.warnings,
    )


def _key(path: Path, given: Given) -> str:
    """The same only for the same files and the same words of the user."""
    try:
        digests = [
            hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else ""
            for file in (path, given.patches)
        ]
    except OSError as error:
        raise InputError(
            f"{error.filename} can't be read ({error.strerror})", hint="Check path and permissions"
        ) from error
    text = json.dumps([CONVERSION, *digests, given.encoder, given.mpp, given.tile_mpp])
    return f"{digests[0][:12]}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _patches(path: Path, given: Path | None) -> Path | None:
    if given is None or not given.is_dir():
        return given
    return given / f"{path.stem}.h5"

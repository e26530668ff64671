"""`ruichat doctor --encoder NAME`: what is missing on this machine to run one encoder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ruichat.cli.doctor import Check, Status, check_package, memory_bytes, num_cores
from ruichat.errors import PrerequisiteError
from ruichat.features.card import EncoderCard, hub_page
from ruichat.features.encoders.catalogue import AnyCard, Entry, count_in_words, entry_of

PACKAGES = {
    "torch": "torch",
    "transformers": "transformers",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface-hub",
}
"""Module to distribution: what an architecture of a card needs."""

BYTES_PER_PARAMETER = 4
"""In float32, in which weights are loaded and mostly published."""

WORKING_BYTES = 1_500_000_000
"""The libraries, a slide and one batch of a ViT-g, beside the weights."""

SLOW_ON_CPU = 200_000_000
"""Parameters from which a CPU encodes fewer than about two tiles a second."""

_GB = 1e9


def encoder_checks(name: str) -> Iterator[Check]:
    """Everything that running this encoder takes, in the order in which one would get it."""
    found = entry_of(name)
    card = found.card
    yield Check("encoder", "ok", _in_words(card))
    if card.architecture is not None:
        for module, distribution in PACKAGES.items():
            yield check_package(module, distribution)
    yield _licence(found)
    yield _weights(found)
    if isinstance(card, EncoderCard) and card.stain_target and found.path is not None:
        yield _stain_target(card, found.path)
    if found.weights == "missing" and card.hub and card.num_parameters:
        yield _disk(card)
    if card.num_parameters:
        yield _memory(card)
    yield _device(card)


def _in_words(card: AnyCard) -> str:
    title = card.title or card.name
    if isinstance(card, EncoderCard):
        return f"{title}: {card.dim} numbers for {card.tile_px} px at {card.tile_mpp:g} um/px"
    numbers = f"{card.dim} numbers" if card.dim else "one vector"
    return f"{title}: {numbers} per slide, for bags of {card.tile_encoder or 'any encoder'}"


def _licence(found: Entry) -> Check:
    card = found.card
    if not card.gated or found.weights == "here":
        return Check("licence", "ok", card.license)
    from huggingface_hub import get_token

    page = hub_page(card.hub)
    if get_token() is None:
        return Check(
            "licence",
            "missing",
            f"{card.license}, gated; this machine isn't logged in to the hub",
            f"Accept it at {page} and run `hf auth login`, or bring the file",
        )
    text = f"{card.license}, gated; whether this account is let in shows when downloading"
    return Check("licence", "ok", text)


def _weights(found: Entry) -> Check:
    from ruichat.features.encoders.weights import find_weights, how_to_get, places

    card = found.card
    if found.weights == "included":
        text = "come with ruichat; `ruichat doctor` reads them"
        return Check("weights", "ok", text if isinstance(card, EncoderCard) else "none needed")
    if found.path is not None:
        pinned = f", revision {card.revision[:8]}" if card.revision else ", revision not pinned"
        size = f"{found.path.stat().st_size / _GB:.2f} GB"
        return Check("weights", "ok", f"{found.path} ({size}{pinned})")
    if found.weights == "unclear":
        from ruichat.errors import ConfigError

        try:
            find_weights(card)
        except ConfigError as error:
            return Check("weights", "missing", error.message, error.hint)
    looked = f"in none of: {', '.join(places(card))}"
    return Check("weights", "missing", looked, how_to_get(card))


def _stain_target(card: EncoderCard, weights: Path) -> Check:
    from ruichat.features.encoders.weights import find_stain_target

    try:
        return Check("stain target", "ok", str(find_stain_target(card, weights)))
    except PrerequisiteError as error:
        return Check("stain target", "missing", error.message, error.hint)


def _disk(card: AnyCard) -> Check:
    """Room for a download, where the hub's cache lies or will lie."""
    from huggingface_hub.constants import HF_HUB_CACHE

    needed = card.num_parameters * BYTES_PER_PARAMETER
    folder = Path(HF_HUB_CACHE)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    status: Status = "ok" if free > needed else "missing"
    text = f"{free / _GB:.1f} GB free at {folder}; a download takes up to {needed / _GB:.1f} GB"
    return Check("disk", status, text, "Set HF_HUB_CACHE to a folder on a disk with room")


def _memory(card: AnyCard) -> Check:
    weights = card.num_parameters * BYTES_PER_PARAMETER
    needed, there = weights + WORKING_BYTES, memory_bytes()
    text = (
        f"{there / _GB:.1f} GB; {needed / _GB:.1f} GB needed for "
        f"{count_in_words(card.num_parameters)} parameters"
    )
    if there == 0:
        return Check("memory", "ok", "unknown")
    status: Status = "ok" if there >= needed else "missing" if there < weights else "small"
    return Check("memory", status, text, "Use a machine with more memory, or a smaller encoder")


def _device(card: AnyCard) -> Check:
    gpu = _gpu()
    if gpu:
        return Check("device", "ok", gpu)
    slow = card.num_parameters >= SLOW_ON_CPU
    status: Status = "small" if slow else "ok"
    hint = "Runs, but a tile takes about a second or more on few cores; a GPU is far faster"
    return Check("device", status, f"CPU, {num_cores()} cores", hint)


def _gpu() -> str:
    """Name and memory of the first GPU that the driver lists; empty if there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip().splitlines()[0] if result.stdout.strip() else ""

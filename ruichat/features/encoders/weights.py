"""Where the weights of an encoder are: a file given, a folder, the hub's cache, the hub.

Nothing here imports torch: `list-encoders` and `doctor` look for weights without it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.features.card import EncoderCard, Published, hub_page
from ruichat.storage.digests import digest_of

WEIGHTS_VARIABLE = "RUICHAT_WEIGHTS"
"""Environment variable: folder with one folder of weights per encoder, named as its card."""

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
"""Of weights files, the preferred first: safetensors can't hold anything but arrays."""


@dataclass(frozen=True)
class EncoderFiles:
    """All files that a tile encoder is read from.

    Attributes:
        weights: its arrays.
        stain_target: the image that its card names, if it does.
    """

    weights: Path
    stain_target: Path | None

    def digest(self) -> str:
        """SHA-256 (hex) over the weights; where there is a stain target, over both digests."""
        weights = digest_of(self.weights)
        if self.stain_target is None:
            return weights
        return hashlib.sha256(f"{weights} {digest_of(self.stain_target)}".encode()).hexdigest()


def find_files(
    card: EncoderCard, given: Path | None = None, *, download: bool = False
) -> EncoderFiles:
    """The weights of a tile encoder and what else it needs; arguments as of `find_weights`.

    Raises:
        PrerequisiteError, ConfigError: as `find_weights`; or its stain target is nowhere.
    """
    weights = find_weights(card, given, download=download)
    if not card.stain_target:
        return EncoderFiles(weights, None)
    return EncoderFiles(weights, find_stain_target(card, weights, download=download))


def find_stain_target(card: EncoderCard, weights: Path, *, download: bool = False) -> Path:
    """The image that the card names: beside the weights, or in the hub's cache.

    Raises:
        PrerequisiteError: it is in neither place.
    """
    name = Path(card.stain_target)
    for path in (weights.parent / name, weights.parent / name.name):
        if path.is_file():
            return path
    from ruichat.features.encoders.hub import download_first, find_cached

    found = find_cached(card, (card.stain_target,))
    if found is None and download:
        found = download_first(card, (card.stain_target,))
    if found is None:
        raise PrerequisiteError(
            f"encoder {card.name!r} takes tiles with the stains of {name.name!r}, which isn't "
            "beside its weights",
            hint=f"Add --download, or put {card.stain_target!r} of {card.hub or card.source} "
            f"beside {weights}",
        )
    return found


def find_weights(card: Published, given: Path | None = None, *, download: bool = False) -> Path:
    """The weights file of an encoder.

    Args:
        card: of the encoder.
        given: file or folder that the user named; nothing else is looked at then.
        download: fetch them from the hub if they are nowhere here.

    Raises:
        PrerequisiteError: they are in none of those places; the hint says how to get them.
        ConfigError: a folder holds several files of which none has the published name; or the
            encoder brings its own weights.
    """
    if card.architecture is None:
        raise own_weights(card)
    if given is not None:
        return _in_given(card, given)
    path = find_local(card)
    if path is not None:
        return path
    if download:
        from ruichat.features.encoders.hub import download_first

        return download_first(card, card.files)
    looked = ", ".join(places(card))
    raise PrerequisiteError(
        f"the weights of encoder {card.name!r} are in none of: {looked}", hint=how_to_get(card)
    )


def own_weights(card: Published) -> ConfigError:
    """What to say where weights are chosen for an encoder that brings its own."""
    return ConfigError(
        f"encoder {card.name!r} brings its own weights; none can be chosen",
        hint="Leave out --weights and --download",
    )


def find_local(card: Published) -> Path | None:
    """The weights file where it needs no naming: the weights folder, then the hub's cache."""
    folder = weights_folder(card)
    if folder is not None and folder.is_dir():
        found = _in_folder(card, folder)
        if found is not None:
            return found
    if not card.hub:
        return None
    from ruichat.features.encoders.hub import find_cached

    return find_cached(card, card.files)


def weights_root() -> Path | None:
    """`$RUICHAT_WEIGHTS`; None where that isn't set."""
    root = os.environ.get(WEIGHTS_VARIABLE)
    return Path(root).expanduser() if root else None


def weights_folder(card: Published) -> Path | None:
    """The encoder's own folder in `$RUICHAT_WEIGHTS`; None where that isn't set."""
    root = weights_root()
    return root / card.name if root else None


def places(card: Published) -> list[str]:
    """Where weights are looked for unless the user names a file, for messages."""
    folder = weights_folder(card)
    named = f"${WEIGHTS_VARIABLE}/{card.name}" + (" (not set)" if folder is None else "")
    return [named, f"the hub's cache of {card.hub}"] if card.hub else [named]


def how_to_get(card: Published) -> str:
    """What the user can do to have the weights here, as an instruction."""
    target = _target(card)
    if not card.hub:
        way = "from its authors" if card.architecture is not None else "by training it"
        return f"Get {' or '.join(card.files)} {way} ({card.source}); give {target}"
    page = hub_page(card.hub)
    if card.gated:
        return (
            f"Accept the licence ({card.license}) at {page}, run `hf auth login`, then add "
            f"--download; or give the file with {target}"
        )
    return f"Add --download ({page}, licence {card.license}); or give the file with {target}"


def how_to_bring(card: Published) -> str:
    """What the user can do where the hub doesn't help, as an instruction."""
    page = hub_page(card.hub)
    return f"Download {' or '.join(card.files)} from {page} elsewhere; give it with {_target(card)}"


def _target(card: Published) -> str:
    return f"--weights FILE, or put it into ${WEIGHTS_VARIABLE}/{card.name}/"


def _in_given(card: Published, given: Path) -> Path:
    if given.is_file():
        return given
    if not given.is_dir():
        raise PrerequisiteError(
            f"there are no weights at {given}", hint="Give a file or a folder with --weights"
        )
    path = _in_folder(card, given)
    if path is None:
        raise PrerequisiteError(
            f"{given} holds no weights: neither {' nor '.join(card.files)} nor any other "
            f"{', '.join(SUFFIXES)} file",
            hint=how_to_get(card),
        )
    return path


def _in_folder(card: Published, folder: Path) -> Path | None:
    """The published name if it's there, else the only file of the best suffix, else None."""
    for name in card.files:
        if (folder / name).is_file():
            return folder / name
    for suffix in SUFFIXES:
        found = sorted(folder.glob(f"*{suffix}"))
        if len(found) > 1:
            raise ConfigError(
                f"{folder} holds several files that could be the weights of {card.name!r}: "
                f"{', '.join(path.name for path in found[:4])}",
                hint="Name one file with --weights",
            )
        if found:
            return found[0]
    return None

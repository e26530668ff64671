"""Weights from the Hugging Face hub: its cache on this machine, and the hub on request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ruichat.errors import PrerequisiteError
from ruichat.features.card import Published, hub_page


def find_cached(card: Published, names: Sequence[str]) -> Path | None:
    """The first of some of an encoder's files that the hub's cache holds, at its revision."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(card.hub, name, revision=card.revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def download_first(card: Published, names: Sequence[str]) -> Path:
    """Fetch the first of some files that the encoder's repository has, into the hub's cache.

    Raises:
        PrerequisiteError: the repository is gated, unknown or out of reach, or lacks the files.
    """
    from ruichat.features.encoders.weights import how_to_bring, how_to_get

    if not card.hub:
        raise PrerequisiteError(
            f"the weights of encoder {card.name!r} aren't on the hub", hint=how_to_get(card)
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        try:
            return Path(hf_hub_download(card.hub, name, revision=card.revision or None))
        except LocalEntryNotFoundError as error:
            raise _failure(card, error) from error
        except EntryNotFoundError:
            continue  # the next of the file's names
        except (OSError, ValueError) as error:  # the hub's errors are of these two kinds
            raise _failure(card, error) from error
    raise PrerequisiteError(
        f"{card.hub} has none of {', '.join(names)}",
        hint=how_to_bring(card),
    )


def _failure(card: Published, error: Exception) -> PrerequisiteError:
    """What went wrong with the hub, in the user's terms."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    from ruichat.features.encoders.weights import how_to_bring

    page = hub_page(card.hub)
    if isinstance(error, GatedRepoError):
        return PrerequisiteError(
            f"{card.hub} is gated and this account isn't let in",
            hint=f"Accept the licence ({card.license}) at {page} and run `hf auth login`",
        )
    if isinstance(error, RevisionNotFoundError):
        return PrerequisiteError(
            f"{card.hub} has no revision {card.revision} any more", hint=how_to_bring(card)
        )
    if isinstance(error, RepositoryNotFoundError):
        return PrerequisiteError(
            f"the hub shows no {card.hub} to this account",
            hint="Run `hf auth login` with an account that may see it",
        )
    reason = "no connection"
    if not isinstance(error, LocalEntryNotFoundError):
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return PrerequisiteError(
        f"the hub can't be reached for {card.hub} ({reason})", hint=how_to_bring(card)
    )

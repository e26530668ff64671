"""Which resolution counts: the file's, else the user's, else an error that says how to give it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ruichat.errors import InputError, MissingMppError

MIN_MPP, MAX_MPP = 0.05, 10.0
"""Plausible micrometres per pixel of tissue scans; outside, the value counts as missing."""

SCREEN_MPP = 80.0
"""Coarser values are dots per inch of screens and printers: 300 dpi is 85 micrometres."""

CONFLICT = 0.05
"""Relative difference between file and user that is worth a warning."""

OBJECTIVE_UM = 10.0
"""mpp times magnification of common scanners (0.25 at 40x): used in hints, never as a value."""


@dataclass(frozen=True, slots=True)
class MppChoice:
    """The resolution of level 0 that is used, and why.

    Attributes:
        value: micrometres per level-0 pixel.
        source: whose value it is.
        file_value: what the file states, plausible or not; None where it states nothing.
        warning: what the user should know about the choice.
    """

    value: float
    source: Literal["file", "user"]
    file_value: float | None
    warning: str | None


def plausible(mpp: float | None) -> bool:
    """Whether a value can be the resolution of a scan of tissue."""
    return mpp is not None and math.isfinite(mpp) and MIN_MPP <= mpp <= MAX_MPP


def choose_mpp(
    file_mpp: float | None, user_mpp: float | None, *, objective: float | None = None
) -> MppChoice:
    """Settle the resolution of level 0.

    Args:
        file_mpp: what the file states, or None.
        user_mpp: what the user gives (`--mpp`), or None.
        objective: magnification stated by the file; only for the hint.

    Raises:
        InputError: the user's value isn't plausible.
        MissingMppError: neither source gives a plausible value.
    """
    if user_mpp is not None and not plausible(user_mpp):
        raise InputError(
            f"--mpp {user_mpp:g} is not a resolution; allowed are {MIN_MPP} to {MAX_MPP} "
            "micrometres per pixel",
            hint="Typical values are 0.25 (40x) and 0.5 (20x)",
        )
    if file_mpp is not None and plausible(file_mpp):
        return MppChoice(file_mpp, "file", file_mpp, _conflict(file_mpp, user_mpp))
    if user_mpp is not None:
        warning = None
        if file_mpp is not None:
            warning = f"the file states {file_mpp:g} um/px, which is implausible: --mpp is used"
        return MppChoice(user_mpp, "user", file_mpp, warning)
    raise MissingMppError(_what_is_missing(file_mpp), hint=_how_to_give_it(file_mpp, objective))


def _conflict(file_mpp: float, user_mpp: float | None) -> str | None:
    if user_mpp is None or abs(user_mpp / file_mpp - 1) <= CONFLICT:
        return None
    return f"--mpp {user_mpp:g} contradicts the file's {file_mpp:g} um/px: the file's is used"


def _what_is_missing(file_mpp: float | None) -> str:
    if file_mpp is None:
        return "the slide states no resolution (micrometres per pixel)"
    kind = ""
    if file_mpp > SCREEN_MPP:
        kind = " (the resolution of a screen or printer, not of a scan)"
    elif file_mpp > MAX_MPP:
        kind = " (an overview, too coarse to show cells)"
    return (
        f"the slide states {file_mpp:.4g} micrometres per pixel{kind}; "
        f"plausible are {MIN_MPP} to {MAX_MPP}"
    )


def _how_to_give_it(file_mpp: float | None, objective: float | None) -> str:
    if file_mpp is not None and MAX_MPP < file_mpp <= SCREEN_MPP:
        return (
            "Give the full-resolution file of the scan, or, if the stated value is wrong, "
            "the true one: --mpp 0.25"
        )
    if objective:
        return (
            f"Give it: --mpp {OBJECTIVE_UM / objective:g} is usual for the "
            f"{objective:g}x objective that the file names"
        )
    return "Give it, for example --mpp 0.25 (usual at 40x) or --mpp 0.5 (usual at 20x)"

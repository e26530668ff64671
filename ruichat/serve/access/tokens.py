"""Secrets that a browser or a program shows."""

from __future__ import annotations

import hmac


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that doesn't say where they differ.

    An empty secret equals none: whoever has no secret can't show one.
    """
    equal = hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
    return equal and bool(one)

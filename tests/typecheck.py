"""How the suite checks annotations at run time."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Beartype that takes an int where a float is wanted, as Python's own typing rules do."""

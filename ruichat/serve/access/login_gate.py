"""The door that passwords go through: not too often, and not too many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from ruichat.errors import InputError
from ruichat.serve.access.limits import RateLimit
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users
from ruichat.storage.database.connect import Database

T = TypeVar("T")

PERIOD_S = 15 * 60
"""In which wrong passwords are counted, seconds."""

PER_NAME = 10
"""How many times more tries a name has from all addresses together than from one: whoever wants
to keep a person out by guessing wrongly needs as many addresses."""

AT_ONCE = 2
"""Passwords checked at the same time: each takes 64 MiB and a core."""


class LoginGate:
    """Counts wrong passwords, and bounds how many are checked at once."""

    def __init__(self, settings: ServeSettings, database: Database) -> None:
        self._database = database
        self._one = RateLimit(settings.login_failures, PERIOD_S)
        self._name = RateLimit(settings.login_failures * PER_NAME, PERIOD_S)
        self._limiter = CapacityLimiter(AT_ONCE)

    async def check(self, *, name: str, password: str, address: str) -> str:
        """Id of the user of a name and password; empty for any other pair.

        Raises:
            AccessError: too many tries of this address, or for this name (429).
        """
        counters = [(self._one, f"from {address}"), (self._name, _one_spelling(name))]

        def look() -> str:
            # Not before its turn: many who log in at once with right passwords are no guessers.
            for limit, key in counters:
                limit.take(key)
            with self._database.session() as session:
                user = users.check_password(session, name=name, password=password)
                return "" if user is None else user.id

        user_id = await self.hashing(look)
        if user_id:
            for limit, key in counters:
                limit.give_back(key)
        return user_id

    async def hashing(self, work: Callable[[], T]) -> T:
        """Run something that hashes a password, when its turn has come."""
        return await to_thread.run_sync(work, limiter=self._limiter)


def _one_spelling(name: str) -> str:
    """A name as users are found by it: each other spelling of it would have tries of its own."""
    try:
        return users.clean_name(name)
    except InputError:
        return name.casefold()

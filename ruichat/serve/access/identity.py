"""Who sends a request: a browser's cookie, a program's token, or the one user of a machine."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from anyio import to_thread
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from ruichat.errors import DatabaseUnavailableError, StorageFullError
from ruichat.serve.access.roles import CurrentUser
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users
from ruichat.storage.database.connect import Database
from ruichat.storage.database.models import ApiToken, User

log = logging.getLogger(__name__)

COOKIE = "ruichat_session"

SINGLE_USER = "single user"
"""Name of the built-in user: it has no password, so nobody can log in as it."""

REMEMBERED_S = 5.0
"""How long a login is believed without asking the database again, seconds: a tile costs no
query, and a user disabled by another process is out this much later."""

MAX_REMEMBERED = 10_000

Find = Callable[[], CurrentUser | None]


@dataclass(frozen=True)
class _Remembered:
    user: CurrentUser | None
    until: float


class Identities:
    """Finds the sender of requests, and remembers them for some seconds.

    Args:
        settings: whether there is a single user, and where the server listens.
        database: users, logins and tokens.
    """

    def __init__(self, settings: ServeSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Remembered] = OrderedDict()

    def start(self) -> None:
        """Make the built-in user, where it is wanted and not there yet."""
        with self._database.session() as session:
            wanted = self._wants_single(session)
            if wanted and users.find_user(session, name=SINGLE_USER) is None:
                users.create_user(
                    session, name=SINGLE_USER, role="admin", language=self._settings.language
                )

    def is_single_user(self) -> bool:
        """Whether requests need no login now."""
        return self._single() is not None

    def forget_all(self) -> None:
        """Ask the database again from the next request on: users or logins have changed."""
        with self._lock:
            self._known.clear()

    async def find(self, connection: HTTPConnection) -> CurrentUser | None:
        """The sender of a request; none where nobody has logged in.

        Raises:
            DatabaseUnavailableError: it couldn't be asked.
        """
        if self._settings.on_loopback and self._settings.single_user is not False:
            single = await self._look_up("single", self._single)
            if single is not None:
                return single
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            key = f"token {users.digest_token(token)}"
            return await self._look_up(key, lambda: self._by_token(token))
        cookie = connection.cookies.get(COOKIE)
        if not cookie:
            return None
        key = f"cookie {users.digest_token(cookie)}"
        return await self._look_up(key, lambda: self._by_login(cookie))

    async def _look_up(self, key: str, find: Find) -> CurrentUser | None:
        with self._lock:
            found = self._known.get(key)
        if found is None or found.until < time.monotonic():
            found = await to_thread.run_sync(self._ask, key, find)
        return found.user

    def _ask(self, key: str, find: Find) -> _Remembered:
        found = _Remembered(find(), time.monotonic() + REMEMBERED_S)
        with self._lock:
            self._known[key] = found
            self._known.move_to_end(key)
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _wants_single(self, session: Session) -> bool:
        """Whether the mode holds: asked for, or nobody else could log in anyway."""
        if not self._settings.on_loopback or self._settings.single_user is not None:
            return bool(self._settings.single_user)
        return all(user.name == SINGLE_USER for user in users.list_users(session))

    def _single(self) -> CurrentUser | None:
        with self._database.session() as session:
            if not self._wants_single(session):
                return None
            user = users.find_user(session, name=SINGLE_USER)
        return None if user is None else as_current(user, means="single")

    def _by_login(self, token: str) -> CurrentUser | None:
        with self._database.session() as session:
            found = users.find_login(session, token)
        if found is None:
            return None
        return as_current(found[1], means="cookie", csrf_token=found[0].csrf_token)

    def _by_token(self, token: str) -> CurrentUser | None:
        with self._database.session() as session:
            found = users.find_token(session, token)
        if found is None:
            return None
        # Not before the connection is given back: many who hold one and wait for a second one
        # wait for each other.
        self._note_use(found[0])
        return as_current(found[1], means="token")

    def _note_use(self, token: ApiToken) -> None:
        try:
            with self._database.session() as session:
                users.note_token_use(session, token)
        except (StorageFullError, DatabaseUnavailableError) as error:
            log.warning("the use of a token was not noted: %s", error.message)


def as_current(
    user: User, *, means: Literal["cookie", "token", "single"], csrf_token: str = ""
) -> CurrentUser:
    """A user's row as the sender of a request."""
    return CurrentUser(user.id, user.name, user.role, user.language, means, csrf_token)

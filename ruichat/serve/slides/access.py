"""Whether a user may see a slide, asked so often that the answer is kept for some seconds."""

from __future__ import annotations

import threading
import time

from ruichat.storage.database import slides as rows
from ruichat.storage.database.connect import Database

KEPT_S = 5.0
"""So long tiles go on to show after a case is no longer shared; logins count at once."""

MAX_KEPT = 10_000


class SlideAccess:
    """Remembers who was found to see which slide; that somebody may not is asked anew each time."""

    def __init__(self, database: Database, *, kept_s: float = KEPT_S) -> None:
        self._database = database
        self._kept_s = kept_s
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def known(self, user_id: str, slide_id: str) -> bool:
        """Whether it was found a moment ago that the user may."""
        return self._until.get((user_id, slide_id), 0.0) > time.monotonic()

    def forget_all(self) -> None:
        """Ask the database again: a slide was removed, or a case is shared no longer."""
        with self._lock:
            self._until.clear()

    def check(self, user_id: str, slide_id: str) -> None:
        """Ask the database, unless it is known.

        Raises:
            NotFoundError: there is no such slide, or the user may not see it.
        """
        if self.known(user_id, slide_id):
            return
        with self._database.session() as session:
            rows.get_slide(session, slide_id, user_id=user_id)
        with self._lock:
            if len(self._until) >= MAX_KEPT:
                self._until.clear()
            self._until[user_id, slide_id] = time.monotonic() + self._kept_s

"""Rights, and which role holds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ruichat.storage.database.models import Language, Role


class Right(StrEnum):
    """What a route asks for; each right holds on the person's own cases only."""

    READ = "read"
    """See cases, slides, chats and findings, and keep one's own settings."""
    ASK = "ask"
    """Ask questions, draw regions for them, rate answers."""
    WRITE = "write"
    """Make and change cases, add slides, decide about findings."""
    ADMINISTER = "administer"
    """Manage users and the members of cases, and see the server's figures."""


RIGHTS: dict[Role, frozenset[Right]] = {
    "reader": frozenset({Right.READ, Right.ASK}),
    "pathologist": frozenset({Right.READ, Right.ASK, Right.WRITE}),
    "admin": frozenset(Right),
}
"""By role."""


@dataclass(frozen=True)
class CurrentUser:
    """The person, or the program for one, that sent a request.

    Attributes:
        id: in the database.
        name: under which they log in.
        role: what they are allowed.
        language: of pages and messages.
        means: how they were recognised.
        csrf_token: what pages send along with writes; empty unless they have a cookie.
    """

    id: str
    name: str
    role: Role
    language: Language
    means: Literal["cookie", "token", "single"] = "cookie"
    csrf_token: str = ""

    def holds(self, right: Right) -> bool:
        """Whether the role of this user holds a right."""
        return right in RIGHTS[self.role]

"""The tables. Ids are random, times are in UTC, lengths on slides are level-0 pixels."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ruichat.storage.database.columns import Id, UtcTime, Words, new_id, now

Role = Literal["reader", "pathologist", "admin"]
Language = Literal["zh", "en"]
SlideState = Literal["new", "reading", "ready", "failed"]
Shape = Literal["rectangle", "polygon"]
FindingStatus = Literal["proposed", "accepted", "rejected"]
Origin = Literal["model", "person", "import"]
Speaker = Literal["user", "assistant"]
MessageState = Literal["complete", "stopped", "failed"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

LINE = 200
"""Most characters of a name or title."""

LONG = 100_000
"""Most characters of a question, an answer or a clinical context."""


class Base(DeclarativeBase):
    """Base of all tables; constraints get names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _key() -> Mapped[str]:
    return mapped_column(Id(), primary_key=True, default=new_id)


def _of(table: str, *, index: bool = True) -> Mapped[str]:
    """A reference to a row that takes this one along when it goes."""
    return mapped_column(Id(), ForeignKey(f"{table}.id", ondelete="CASCADE"), index=index)


def _made() -> Mapped[datetime]:
    return mapped_column(UtcTime(), default=now)


class User(Base):
    """Somebody who may log in."""

    __tablename__ = "users"
    __table_args__ = (
        _one_of("role", "reader", "pathologist", "admin"),
        _one_of("language", "zh", "en"),
    )

    id: Mapped[str] = _key()
    name: Mapped[str] = mapped_column(Words(LINE), unique=True)
    """Lower case: no two users differ by case alone."""
    password_hash: Mapped[str | None] = mapped_column(Words(LINE))
    """Argon2id; none for those who come through OIDC."""
    oidc_subject: Mapped[str | None] = mapped_column(Words(1000), unique=True)
    role: Mapped[Role] = mapped_column(String(16))
    language: Mapped[Language] = mapped_column(String(2))
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = _made()


class Login(Base):
    """A browser that is logged in."""

    __tablename__ = "logins"

    token_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = _of("users")
    csrf_token: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = _made()
    expires_at: Mapped[datetime] = mapped_column(UtcTime(), index=True)


class ApiToken(Base):
    """A key by which a program acts for its user."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = _key()
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = _of("users")
    name: Mapped[str] = mapped_column(Words(LINE))
    created_at: Mapped[datetime] = _made()
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime())
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime())


class Case(Base):
    """All slides of one specimen, and what was said about them."""

    __tablename__ = "cases"

    id: Mapped[str] = _key()
    owner_id: Mapped[str] = mapped_column(Id(), ForeignKey("users.id"), index=True)
    title: Mapped[str] = mapped_column(Words(LINE))
    organ: Mapped[str | None] = mapped_column(Words(LINE))
    context: Mapped[str] = mapped_column(Words(LONG), default="")
    """Clinical context in the requester's words."""
    created_at: Mapped[datetime] = _made()
    updated_at: Mapped[datetime] = mapped_column(UtcTime(), default=now, onupdate=now)


class CaseMember(Base):
    """A user with whom the owner shares a case."""

    __tablename__ = "case_members"

    case_id: Mapped[str] = mapped_column(
        Id(), ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        Id(), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Slide(Base):
    """One scanned glass of a case."""

    __tablename__ = "slides"
    __table_args__ = (_one_of("state", "new", "reading", "ready", "failed"),)

    id: Mapped[str] = _key()
    case_id: Mapped[str] = _of("cases")
    position: Mapped[int]
    """Among the slides of its case, from 0."""
    name: Mapped[str] = mapped_column(Words(LINE))
    stain: Mapped[str] = mapped_column(Words(LINE), default="")
    block: Mapped[str] = mapped_column(Words(LINE), default="")
    root: Mapped[str] = mapped_column(Words(LINE))
    """Which allowed folder holds the file."""
    path: Mapped[str] = mapped_column(Words(4096))
    """Relative to the root; never leaves the server."""
    digest: Mapped[str | None] = mapped_column(String(64))
    width0: Mapped[int | None]
    height0: Mapped[int | None]
    mpp: Mapped[float | None]
    """Micrometres per pixel at level 0."""
    mpp_source: Mapped[str | None] = mapped_column(Words(LINE))
    given_mpp: Mapped[float | None]
    """By a person, where the file states none."""
    state: Mapped[SlideState] = mapped_column(String(16), default="new")
    error: Mapped[str | None] = mapped_column(Words(LONG))
    warnings: Mapped[list[str]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime] = _made()


class Region(Base):
    """A part of a slide that a person has drawn."""

    __tablename__ = "regions"
    __table_args__ = (_one_of("shape", "rectangle", "polygon"),)

    id: Mapped[str] = _key()
    slide_id: Mapped[str] = _of("slides")
    user_id: Mapped[str] = _of("users")
    name: Mapped[str] = mapped_column(Words(LINE), default="")
    shape: Mapped[Shape] = mapped_column(String(16))
    points: Mapped[list[list[float]]] = mapped_column(JSON)
    """Corners in order, [x0, y0] each, level-0 pixels; four of a rectangle."""
    created_at: Mapped[datetime] = _made()


class Finding(Base):
    """Something on a slide that a model or a person points out, and what people decided on it."""

    __tablename__ = "findings"
    __table_args__ = (
        _one_of("status", "proposed", "accepted", "rejected"),
        _one_of("origin", "model", "person", "import"),
    )

    id: Mapped[str] = _key()
    slide_id: Mapped[str] = _of("slides")
    case_id: Mapped[str] = _of("cases")
    name: Mapped[str] = mapped_column(Words(LINE), default="")
    classification: Mapped[str] = mapped_column(Words(LINE), default="")
    color: Mapped[str] = mapped_column(String(7))
    """#rrggbb."""
    points: Mapped[dict[str, Any]] = mapped_column(JSON)
    """GeoJSON geometry in level-0 pixels."""
    status: Mapped[FindingStatus] = mapped_column(String(16), default="proposed")
    origin: Mapped[Origin] = mapped_column(String(16))
    made_by: Mapped[str] = mapped_column(Words(LINE))
    """Name of the model or id of the user."""
    confidence: Mapped[float | None]
    decided_by: Mapped[str | None] = mapped_column(Id(), ForeignKey("users.id"))
    decided_at: Mapped[datetime | None] = mapped_column(UtcTime())
    note: Mapped[str] = mapped_column(Words(LONG), default="")
    revision: Mapped[int] = mapped_column()
    """Counts changes; who changes a finding names the one they saw."""
    created_at: Mapped[datetime] = _made()

    __mapper_args__ = {"version_id_col": revision}


class Chat(Base):
    """A conversation about a case."""

    __tablename__ = "chats"
    __table_args__ = (_one_of("language", "zh", "en"),)

    id: Mapped[str] = _key()
    case_id: Mapped[str] = _of("cases")
    user_id: Mapped[str] = _of("users")
    language: Mapped[Language] = mapped_column(String(2))
    title: Mapped[str] = mapped_column(Words(LINE), default="")
    num_messages: Mapped[int] = mapped_column(default=0)
    """Raised by whoever adds one: it gives each message its own position."""
    created_at: Mapped[datetime] = _made()


class Message(Base):
    """One turn of a chat."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("chat_id", "position"),
        _one_of("role", "user", "assistant"),
        _one_of("state", "complete", "stopped", "failed"),
        CheckConstraint("feedback IN (-1, 0, 1)", name="feedback"),
    )

    id: Mapped[str] = _key()
    chat_id: Mapped[str] = _of("chats", index=False)
    position: Mapped[int]
    role: Mapped[Speaker] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Words(LONG), default="")
    thought: Mapped[str] = mapped_column(Words(LONG), default="")
    state: Mapped[MessageState] = mapped_column(String(16), default="complete")
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    slide_ids: Mapped[list[str]] = mapped_column(JSON, default=list)
    region_id: Mapped[str | None] = mapped_column(
        Id(), ForeignKey("regions.id", ondelete="SET NULL"), index=True
    )
    feedback: Mapped[int] = mapped_column(default=0)
    """1 liked, -1 disliked, 0 neither."""
    feedback_reason: Mapped[str] = mapped_column(Words(LONG), default="")
    created_at: Mapped[datetime] = _made()


_UNFINISHED = text("state IN ('queued', 'running')")


class Job(Base):
    """Work on a slide that goes on in the background."""

    __tablename__ = "jobs"
    __table_args__ = (
        _one_of("state", "queued", "running", "done", "failed", "cancelled"),
        # One at a time of a kind and slide, whichever process asks for it.
        Index(
            "uq_jobs_unfinished",
            "slide_id",
            "kind",
            unique=True,
            sqlite_where=_UNFINISHED,
            postgresql_where=_UNFINISHED,
        ),
    )

    id: Mapped[str] = _key()
    slide_id: Mapped[str] = _of("slides")
    kind: Mapped[str] = mapped_column(Words(LINE))
    state: Mapped[JobState] = mapped_column(String(16), default="queued")
    stage: Mapped[str] = mapped_column(Words(LINE), default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Words(LONG))
    created_at: Mapped[datetime] = _made()
    updated_at: Mapped[datetime] = mapped_column(UtcTime(), default=now, onupdate=now)

"""Who may log in: names, passwords, roles, logins of browsers, tokens of programs."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.storage.database.columns import now
from ruichat.storage.database.models import LINE, ApiToken, Language, Login, Role, User

MIN_PASSWORD, MAX_PASSWORD = 12, 1024
"""Characters, in compatibility form. The least is ours: NIST SP 800-63B-4 asks for 8, or 15
without a second factor."""

TOKEN_PREFIX = "ruichat_"
"""By which scanners for leaked secrets know a token."""

USE_NOTED_EVERY = timedelta(minutes=1)
"""A token's last use is kept to this precision, so that reading doesn't mean writing."""


@dataclass(frozen=True)
class NewLogin:
    """What a browser gets when its user has logged in; kept by us only as a digest."""

    token: str
    csrf_token: str
    expires_at: datetime


@dataclass(frozen=True)
class NewToken:
    """What a program gets once; kept by us only as a digest."""

    id: str
    token: str


def create_user(
    session: Session,
    *,
    name: str,
    role: Role,
    password: str | None = None,
    oidc_subject: str | None = None,
    language: Language = "en",
) -> User:
    """Add somebody who may log in, by password or through OIDC.

    Raises:
        InputError: the name or the password can't be used.
        ConflictError: there is a user of that name or subject.
    """
    name = clean_name(name)
    taken = User.name == name
    if oidc_subject is not None:
        taken = or_(taken, User.oidc_subject == oidc_subject)
    if session.scalar(select(User.id).where(taken)) is not None:
        raise ConflictError("there is already such a user", hint="Choose another name")
    user = User(
        name=name,
        password_hash=None if password is None else _hash(password),
        oidc_subject=oidc_subject,
        role=role,
        language=language,
    )
    session.add(user)
    session.flush()
    return user


def clean_name(name: str) -> str:
    """A user's name as it is kept: in compatibility form, lower case, without outer spaces.

    Raises:
        InputError: empty, too long, or with characters that can't be seen.
    """
    clean = unicodedata.normalize("NFKC", name[: LINE + 1]).strip().casefold()
    if not clean or len(clean) > LINE or not clean.isprintable():
        raise InputError(
            f"a user's name has 1 to {LINE} visible characters", hint="Choose another name"
        )
    return clean


def get_user(session: Session, user_id: str) -> User:
    """A user, active or not.

    Raises:
        NotFoundError: there is none of that id.
    """
    user = session.get(User, user_id)
    if user is None:
        raise NotFoundError("there is no such user")
    return user


def find_user(
    session: Session, *, name: str | None = None, oidc_subject: str | None = None
) -> User | None:
    """The user of a name or of an identity provider's subject, active or not."""
    if name is not None:
        return session.scalar(select(User).where(User.name == clean_name(name)))
    return session.scalar(select(User).where(User.oidc_subject == oidc_subject))


def list_users(session: Session) -> Sequence[User]:
    """All users, by name."""
    return session.scalars(select(User).order_by(User.name)).all()


def count_users(session: Session) -> int:
    """How many there are, active or not."""
    return session.scalar(select(func.count()).select_from(User)) or 0


def check_password(session: Session, *, name: str, password: str) -> User | None:
    """The active user of that name and password; None for any other pair.

    An unknown name takes as long as a wrong password, so that names can't be found by the clock.
    """
    try:
        user = find_user(session, name=name)
    except InputError:
        user = None
    password_hash = user.password_hash if user is not None and user.is_active else None
    matches = _verify(password_hash or nobodys_hash(), password)
    if user is None or password_hash is None or not matches:
        return None
    if password_hasher().check_needs_rehash(password_hash):
        user.password_hash = password_hasher().hash(_to_bytes(_clean_password(password)))
    return user


def set_password(session: Session, user_id: str, *, password: str) -> None:
    """Give a user another password; whoever is logged in as them is out.

    Raises:
        InputError: too short or too long.
        NotFoundError: there is no such user.
    """
    get_user(session, user_id).password_hash = _hash(password)
    end_logins(session, user_id)


def set_language(session: Session, user_id: str, *, language: Language) -> None:
    """Keep the language that a user wants.

    Raises:
        NotFoundError: there is no such user.
    """
    get_user(session, user_id).language = language


def set_role(session: Session, user_id: str, *, role: Role) -> None:
    """Give a user another role.

    Raises:
        NotFoundError: there is no such user.
        ConflictError: no active admin would be left.
    """
    with _an_admin_left(session):
        get_user(session, user_id).role = role


def set_active(session: Session, user_id: str, *, is_active: bool) -> None:
    """Let a user in again, or keep them out: their logins end at once, their tokens rest.

    Raises:
        NotFoundError: there is no such user.
        ConflictError: no active admin would be left.
    """
    with _an_admin_left(session):
        get_user(session, user_id).is_active = is_active
    if not is_active:
        end_logins(session, user_id)


@contextmanager
def _an_admin_left(session: Session) -> Generator[None]:
    """A change that mustn't take the last active admin away; two at once wait for each other."""
    admins = select(User.id).where(User.role == "admin", User.is_active).order_by(User.id)
    had_one = bool(session.scalars(admins.with_for_update()).all())
    yield
    # The write comes first: on SQLite it takes the lock under which the others are counted.
    session.flush()
    if had_one and not session.scalars(admins).all():
        raise ConflictError(
            "this is the last active admin", hint="Make somebody else an admin first"
        )


def start_login(session: Session, user_id: str, *, lifetime: timedelta) -> NewLogin:
    """Log a browser in; logins that have ended are swept."""
    session.execute(delete(Login).where(Login.expires_at <= now()))
    new = NewLogin(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now() + lifetime)
    session.add(
        Login(
            token_digest=digest_token(new.token),
            user_id=user_id,
            csrf_token=new.csrf_token,
            expires_at=new.expires_at,
        )
    )
    session.flush()
    return new


def find_login(session: Session, token: str) -> tuple[Login, User] | None:
    """The login that a browser's token stands for and its user, if both are valid."""
    found = session.execute(
        select(Login, User)
        .join(User, User.id == Login.user_id)
        .where(
            Login.token_digest == digest_token(token),
            Login.expires_at > now(),
            User.is_active,
        )
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def end_login(session: Session, token: str) -> None:
    """Log one browser out."""
    session.execute(delete(Login).where(Login.token_digest == digest_token(token)))


def end_logins(session: Session, user_id: str) -> None:
    """Log a user out everywhere."""
    session.execute(delete(Login).where(Login.user_id == user_id))


def create_token(
    session: Session, user_id: str, *, name: str, expires_at: datetime | None = None
) -> NewToken:
    """A token by which a program acts for a user."""
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(digest=digest_token(text), user_id=user_id, name=name, expires_at=expires_at)
    session.add(token)
    session.flush()
    return NewToken(token.id, text)


def find_token(session: Session, token: str) -> tuple[ApiToken, User] | None:
    """The token's record and its user, if both are valid."""
    found = session.execute(
        select(ApiToken, User)
        .join(User, User.id == ApiToken.user_id)
        .where(
            ApiToken.digest == digest_token(token),
            or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now()),
            User.is_active,
        )
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def note_token_use(session: Session, token: ApiToken) -> None:
    """Keep that a token is used now, unless that was kept a moment ago.

    To be called in a unit of work of its own: a full disk mustn't keep programs from reading.
    """
    if token.last_used_at is None or token.last_used_at < now() - USE_NOTED_EVERY:
        session.execute(update(ApiToken).where(ApiToken.id == token.id).values(last_used_at=now()))


def list_tokens(session: Session, user_id: str) -> Sequence[ApiToken]:
    """A user's tokens, oldest first."""
    wanted = select(ApiToken).where(ApiToken.user_id == user_id)
    return session.scalars(wanted.order_by(ApiToken.created_at, ApiToken.id)).all()


def delete_token(session: Session, token_id: str, *, user_id: str) -> None:
    """Take a user's token back.

    Raises:
        NotFoundError: they have none of that id.
    """
    token = session.get(ApiToken, token_id)
    if token is None or token.user_id != user_id:
        raise NotFoundError("there is no such token")
    session.delete(token)


def digest_token(token: str) -> str:
    """What is kept of a token. It is random and long, so a plain SHA-256 hides it well."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def password_hasher() -> PasswordHasher:
    """Argon2id with the library's parameters: RFC 9106's second choice (64 MiB, 3 passes)."""
    return PasswordHasher()


@cache
def nobodys_hash() -> str:
    """Against which the passwords of unknown users are checked."""
    return password_hasher().hash(secrets.token_urlsafe(32))


def _hash(password: str) -> str:
    clean = _clean_password(password)
    if not MIN_PASSWORD <= len(clean) <= MAX_PASSWORD:
        raise InputError(
            f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters; this one has "
            f"{len(clean)}",
            hint="A sentence is easy to remember and hard to guess",
        )
    return password_hasher().hash(_to_bytes(clean))


def _clean_password(password: str) -> str:
    """One form for what keyboards write in several."""
    return unicodedata.normalize("NFKC", password)


def _to_bytes(clean: str) -> bytes:
    return clean.encode("utf-8", "surrogatepass")


def _verify(password_hash: str, password: str) -> bool:
    # What is longer than any password is cut: it fails all the same, and costs no more.
    clean = _clean_password(password)[: MAX_PASSWORD + 1]
    try:
        return password_hasher().verify(password_hash, _to_bytes(clean))
    except VerifyMismatchError:
        return False

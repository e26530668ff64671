"""Findings: proposed by a model or a person, decided on by people, one change at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.storage.database.cases import get_case, touch_case, visible_cases
from ruichat.storage.database.columns import now
from ruichat.storage.database.models import Finding, FindingStatus, Origin
from ruichat.storage.database.slides import get_slide
from ruichat.storage.geojson import check_geometry

MAX_AT_ONCE = 10_000
"""Findings that one import may bring."""

_COLOR = re.compile("#[0-9a-f]{6}")


@dataclass(frozen=True)
class NewFinding:
    """A finding before it is kept."""

    geometry: dict[str, Any]
    """GeoJSON, level-0 pixels."""
    name: str = ""
    classification: str = ""
    color: str = "#c80000"
    confidence: float | None = None
    note: str = ""


def add_findings(
    session: Session,
    findings: Iterable[NewFinding],
    *,
    user_id: str,
    slide_id: str,
    origin: Origin,
    made_by: str | None = None,
) -> list[Finding]:
    """Keep findings of one slide, all or none; each begins as proposed.

    Args:
        made_by: name of the model; for what a person drew or imported, their id is kept.

    Raises:
        NotFoundError: there is no such slide for the user.
        InputError: a geometry, colour or confidence can't be right; nothing was kept.
    """
    slide = get_slide(session, slide_id, user_id=user_id)
    if origin == "model" and not made_by:
        raise InputError("a model's finding names no model", hint="Give the model's name")
    maker = made_by if origin == "model" and made_by else user_id
    kept = [
        Finding(
            slide_id=slide.id,
            case_id=slide.case_id,
            name=new.name,
            classification=new.classification,
            color=_checked_color(new.color),
            points=check_geometry(new.geometry),
            origin=origin,
            made_by=maker,
            confidence=_checked_confidence(new.confidence),
            note=new.note,
        )
        for new in _bounded(findings)
    ]
    session.add_all(kept)
    touch_case(session, slide.case_id)
    session.flush()
    return kept


def list_findings(
    session: Session,
    *,
    user_id: str,
    slide_id: str | None = None,
    case_id: str | None = None,
    status: FindingStatus | None = None,
) -> Sequence[Finding]:
    """The findings of a slide or of a case, oldest first.

    Raises:
        NotFoundError: there is no such slide or case for the user.
    """
    wanted = select(Finding)
    if slide_id is not None:
        get_slide(session, slide_id, user_id=user_id)
        wanted = wanted.where(Finding.slide_id == slide_id)
    else:
        case_id = get_case(session, case_id or "", user_id=user_id).id
        wanted = wanted.where(Finding.case_id == case_id)
    if status is not None:
        wanted = wanted.where(Finding.status == status)
    return session.scalars(wanted.order_by(Finding.created_at, Finding.id)).all()


def get_finding(session: Session, finding_id: str, *, user_id: str) -> Finding:
    """One finding.

    Raises:
        NotFoundError: there is none, or the user may not see it.
    """
    seen = Finding.case_id.in_(visible_cases(user_id))
    finding = session.scalar(select(Finding).where(Finding.id == finding_id, seen))
    if finding is None:
        raise NotFoundError("there is no such finding")
    return finding


def decide_finding(
    session: Session,
    finding_id: str,
    *,
    user_id: str,
    revision: int,
    status: Literal["accepted", "rejected"],
    note: str | None = None,
) -> Finding:
    """Accept or reject a finding in the user's name.

    Args:
        revision: of the finding that the user saw.

    Raises:
        NotFoundError: there is no such finding for the user.
        ConflictError: it was changed since.
    """
    finding = _seen(session, finding_id, user_id=user_id, revision=revision)
    finding.status, finding.decided_by, finding.decided_at = status, user_id, now()
    if note is not None:
        finding.note = note
    return _changed(session, finding)


def undo_decision(session: Session, finding_id: str, *, user_id: str, revision: int) -> Finding:
    """Make a finding a proposal again.

    Raises:
        NotFoundError: there is no such finding for the user.
        ConflictError: it was changed since, or nobody has decided on it.
    """
    finding = _seen(session, finding_id, user_id=user_id, revision=revision)
    if finding.status == "proposed":
        raise ConflictError("nobody has decided on this finding")
    finding.status, finding.decided_by, finding.decided_at = "proposed", None, None
    return _changed(session, finding)


def edit_finding(
    session: Session,
    finding_id: str,
    *,
    user_id: str,
    revision: int,
    geometry: dict[str, Any] | None = None,
    name: str | None = None,
    classification: str | None = None,
    color: str | None = None,
    note: str | None = None,
) -> Finding:
    """Change what is given. What was decided on is taken back first: it was about another thing.

    Raises:
        NotFoundError: there is no such finding for the user.
        ConflictError: it was changed since.
        InputError: a geometry or colour can't be right.
    """
    finding = _seen(session, finding_id, user_id=user_id, revision=revision)
    if geometry is not None:
        finding.points = check_geometry(geometry)
    if name is not None:
        finding.name = name
    if classification is not None:
        finding.classification = classification
    if color is not None:
        finding.color = _checked_color(color)
    if note is not None:
        finding.note = note
    if any(value is not None for value in (geometry, name, classification)):
        finding.status, finding.decided_by, finding.decided_at = "proposed", None, None
    return _changed(session, finding)


def delete_finding(session: Session, finding_id: str, *, user_id: str, revision: int) -> None:
    """Remove a finding.

    Raises:
        NotFoundError: there is no such finding for the user.
        ConflictError: it was changed since.
    """
    finding = _seen(session, finding_id, user_id=user_id, revision=revision)
    session.delete(finding)
    touch_case(session, finding.case_id)
    session.flush()


def _seen(session: Session, finding_id: str, *, user_id: str, revision: int) -> Finding:
    """The finding, if it is as the user saw it; a later change of it fails on its revision."""
    finding = get_finding(session, finding_id, user_id=user_id)
    if finding.revision != revision:
        raise ConflictError(
            f"finding has revision {finding.revision}; revision {revision} was to be changed",
            hint="Load it again, then change it",
        )
    return finding


def _changed(session: Session, finding: Finding) -> Finding:
    touch_case(session, finding.case_id)
    session.flush()
    return finding


def _bounded(findings: Iterable[NewFinding]) -> list[NewFinding]:
    listed = list(findings)
    if len(listed) > MAX_AT_ONCE:
        raise InputError(
            f"{len(listed)} findings at once; at most {MAX_AT_ONCE} are taken",
            hint="Split the file",
        )
    return listed


def _checked_color(color: str) -> str:
    if not _COLOR.fullmatch(color.lower()):
        raise InputError("colour isn't #rrggbb", hint="Write it like #c80000")
    return color.lower()


def _checked_confidence(confidence: float | None) -> float | None:
    if confidence is not None and not 0 <= confidence <= 1:
        raise InputError(f"confidence {confidence} isn't between 0 and 1")
    return confidence

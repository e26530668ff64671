"""Where the servers of tests are, how people log in there, and a case of somebody's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ruichat.storage.database import (
    cases,
    chats,
    findings,
    jobs,
    regions,
    slides,
    users,
)
from ruichat.storage.database.connect import Database

ADDRESS = "http://127.0.0.1:7860"
PASSWORD = "correct horse battery"

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]]}


@dataclass(frozen=True)
class World:
    """A case with one of everything, of a user called owner.

    Attributes:
        ids: by the name of the path's parameter.
        title: of the case.
    """

    database: Database
    ids: dict[str, str]
    title: str

    def fill(self, path: str) -> str:
        """A route's path with the ids of this case."""
        return re.sub(r"{(\w+)(:path)?}", lambda found: self.ids.get(found[1], "0"), path)

    def share_with(self, name: str) -> None:
        """Make somebody a member of the case."""
        with self.database.session() as session:
            member = users.find_user(session, name=name)
            assert member is not None
            cases.add_member(
                session, self.ids["case_id"], user_id=self.ids["user_id"], member_id=member.id
            )

    def check_untouched(self) -> None:
        """Everything is still there, as it was."""
        owner = self.ids["user_id"]
        with self.database.session() as session:
            case = cases.get_case(session, self.ids["case_id"], user_id=owner)
            assert (case.title, case.organ) == (self.title, None)
            rows: list[Any] = [
                *slides.list_slides(session, case.id, user_id=owner),
                *regions.list_regions(session, self.ids["slide_id"], user_id=owner),
                *chats.list_chats(session, case.id, user_id=owner),
                *findings.list_findings(session, case_id=case.id, user_id=owner),
                *jobs.list_jobs(session, self.ids["slide_id"], user_id=owner),
            ]
            assert [row.id for row in rows] == [
                self.ids[key]
                for key in ("slide_id", "region_id", "chat_id", "finding_id", "job_id")
            ]
            messages = chats.list_messages(session, self.ids["chat_id"], user_id=owner)
            assert [message.feedback for message in messages] == [0, 0]
            assert rows[3].revision == 1 and rows[3].status == "proposed"
            assert rows[4].state == "queued" and rows[0].stain == "HE"


def draw_world(database: Database, *, owner_id: str | None = None) -> World:
    """A case with one of everything.

    Args:
        owner_id: whose; of a new user called owner if None.
    """
    with database.session() as session:
        if owner_id is None:
            owner_id = users.create_user(session, name="owner", role="pathologist").id
        case = cases.create_case(session, user_id=owner_id, title="S-4711")
        slide = slides.add_slide(
            session,
            user_id=owner_id,
            case_id=case.id,
            name="A1",
            root="@uploads",
            path="a.svs",
            stain="HE",
        )
        slides.record_slide(session, slide.id, width0=5000, height0=4000, mpp=0.5, state="ready")
        region = regions.add_region(
            session,
            user_id=owner_id,
            slide_id=slide.id,
            shape="rectangle",
            points=[[0, 0], [90, 90]],
        )
        chat = chats.create_chat(session, user_id=owner_id, case_id=case.id, language="en")
        chats.add_question(session, chat.id, user_id=owner_id, text="Tumour?")
        answer = chats.add_answer(session, chat.id, user_id=owner_id, text="Yes [R1].")
        finding = findings.add_findings(
            session,
            [findings.NewFinding(SQUARE, name="focus", classification="Tumor")],
            user_id=owner_id,
            slide_id=slide.id,
            origin="model",
            made_by="mini",
        )[0]
        job = jobs.queue_job(session, user_id=owner_id, slide_id=slide.id, kind="read")
        token = users.create_token(session, owner_id, name="scripts")
        ids = {
            "case_id": case.id,
            "slide_id": slide.id,
            "region_id": region.id,
            "chat_id": chat.id,
            "message_id": answer.id,
            "finding_id": finding.id,
            "job_id": job.id,
            "token_id": token.id,
            "user_id": owner_id,
            "member_id": owner_id,
            "level": "0",
            "column": "0",
            "row": "0",
            "name": "tissue",
        }
        return World(database, ids, case.title)

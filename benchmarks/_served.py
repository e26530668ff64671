"""A server of ours in its own process, as `ruichat serve` starts it, with slides in one case."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from _common import ROOT

START_S = 180.0


@contextmanager
def ruichat_server(folder: Path, data: Path, **settings: str) -> Generator[str]:
    """The address of a server for a single user, with one folder of slides.

    Args:
        folder: of slides.
        data: of the server.
        settings: more of `ServeSettings`, as text.
    """
    given = {"slide_folders": str(folder), "data_dir": str(data), "port": "0", **settings}
    environment = {f"RUICHAT_SERVE_{name.upper()}": value for name, value in given.items()}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    log = data.parent / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ruichat", "serve"],
            env=os.environ | environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What the server announces."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        words = log.read_text(errors="replace").split()
        found = [word for word in words if word.startswith("http://127.0.0.1:")]
        if found:
            return found[0].rstrip("/.,")
        time.sleep(0.1)
    raise RuntimeError(f"the server doesn't start: {log.read_text(errors='replace')[-2000:]}")


@dataclass(frozen=True)
class Ward:
    """People with a case in common.

    Attributes:
        tokens: of each.
        slide_ids: of the case's slides.
    """

    tokens: list[str]
    slide_ids: list[str]


def add_ward(data: Path, paths: Sequence[Path], num_people: int) -> Ward:
    """People, who from then on need their tokens, and slides of an allowed folder."""
    from ruichat.storage.database import cases, slides, users
    from ruichat.storage.database.connect import open_database

    database = open_database(f"sqlite:///{data / 'ruichat.db'}")
    with database.session() as session:
        people = [
            users.create_user(session, name=f"person {number}", role="pathologist").id
            for number in range(num_people)
        ]
        tokens = [users.create_token(session, person, name="load").token for person in people]
        case = cases.create_case(session, user_id=people[0], title="benchmark")
        for person in people[1:]:
            cases.add_member(session, case.id, user_id=people[0], member_id=person)
        slide_ids = [
            slides.add_slide(
                session,
                user_id=people[0],
                case_id=case.id,
                name=path.stem,
                root=path.parent.name,
                path=path.name,
            ).id
            for path in paths
        ]
    database.close()
    return Ward(tokens, slide_ids)


def add_slide(data: Path, folder: Path, path: Path) -> tuple[str, str]:
    """A slide of the folder in a new case of the single user; ids of the case and the slide."""
    from ruichat.serve.access.identity import SINGLE_USER
    from ruichat.storage.database import cases, slides, users
    from ruichat.storage.database.connect import open_database

    database = open_database(f"sqlite:///{data / 'ruichat.db'}")
    with database.session() as session:
        owner = users.find_user(session, name=SINGLE_USER)
        assert owner is not None, "the server makes it when it starts"
        case = cases.create_case(session, user_id=owner.id, title="benchmark")
        slide = slides.add_slide(
            session,
            user_id=owner.id,
            case_id=case.id,
            name=path.stem,
            root=folder.name,
            path=path.name,
        )
        found = case.id, slide.id
    database.close()
    return found

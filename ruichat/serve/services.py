"""What requests work with: opened once, handed to every route, closed in order."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from ruichat.serve.access.identity import Identities
from ruichat.serve.access.login_gate import LoginGate
from ruichat.serve.api.metrics import Metrics
from ruichat.serve.engine.engine import Engine
from ruichat.serve.settings import ServeSettings
from ruichat.serve.slides.access import SlideAccess
from ruichat.serve.slides.classes import ClassReader
from ruichat.serve.slides.entries import Entries
from ruichat.serve.slides.library import SlideLibrary
from ruichat.serve.slides.overlays import Overlays
from ruichat.serve.slides.tiles import Tiles
from ruichat.storage.database.connect import Database, open_database


@dataclass(frozen=True)
class Services:
    """The server's parts.

    Attributes:
        settings: what the operator chose.
        database: users, cases, chats, findings.
        identities: who sends a request.
        login_gate: checks passwords.
        library: opens slides.
        tiles: shows them.
        slide_access: who may see which.
        engine: answers questions about them, and reads them ahead.
        overlays: of what was found on them.
        entries: those in the allowed folders.
        metrics: counts what is done.
    """

    settings: ServeSettings
    database: Database
    identities: Identities
    login_gate: LoginGate
    library: SlideLibrary
    tiles: Tiles
    slide_access: SlideAccess
    engine: Engine
    overlays: Overlays
    entries: Entries
    metrics: Metrics

    def start(self) -> None:
        """Make everything ready for requests.

        Raises:
            RuiChatError: a part can't work.
        """
        self.database.migrate()
        self.identities.start()
        self.library.sweep()
        self.engine.jobs.resume()

    def close(self) -> None:
        """Release everything, the last opened first."""
        self.engine.close()
        self.overlays.close()
        self.tiles.close()
        self.library.close()
        self.database.close()

    def forget_slide(self, slide_id: str) -> None:
        """Have a slide opened and read anew, or nothing kept of one that was deleted."""
        self.library.forget(slide_id)
        self.tiles.forget(slide_id)
        self.engine.forget_slide(slide_id)


def open_services(settings: ServeSettings) -> Services:
    """The parts of a server, not started yet.

    Raises:
        ConfigError, PrerequisiteError: the database or a folder can't be opened.
    """
    database = open_database(settings.database_address)
    library = SlideLibrary(settings, database)
    engine = Engine(settings, library, database=database)
    return Services(
        settings,
        database,
        Identities(settings, database),
        LoginGate(settings, database),
        library,
        Tiles(library),
        SlideAccess(database),
        engine,
        Overlays(
            library,
            ClassReader(engine, library),
            model=settings.model,
        ),
        Entries(library.folders, settings.data_dir / "folders.key"),
        Metrics(engine),
    )


def services_of_app(app: FastAPI) -> Services:
    """The services of an app."""
    services = app.state.services
    assert isinstance(services, Services)
    return services


def services_of(connection: HTTPConnection) -> Services:
    """The services of the app that a request came to."""
    return services_of_app(connection.app)

"""`ruichat serve`: the web page and the API on one address."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ruichat.errors import ConfigError, PrerequisiteError, RuiChatError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ruichat.serve.settings import ServeSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)

STOP_S = 10
"""How long open answers may go on after the server was told to stop, seconds."""

SWITCH_S = 0.0005
"""How long a thread that computes may keep Python from one that answers a request, seconds: a tile
passes between threads several times. Threads of lower priority don't help: one that is put aside
while it holds Python's lock keeps everybody waiting (0.3 s were seen)."""

SHOWN_AS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a browser on this machine finds a server that listens on all addresses."""

QUIET = {
    # No look-up leaves the machine; read by Gradio when it is imported.
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Threads that spin while they wait take the cores from the tiles.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Variables that must stand before the server's packages are imported."""


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file of settings.", show_default=False)
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one.", show_default="7860")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of the database and of uploads.", show_default=False),
    ] = None,
    slides: Annotated[
        list[Path] | None,
        typer.Option(
            "--slides",
            help="Folder whose slides may be added to cases; give it again for another one.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model that answers: a name, a folder, hub:OWNER/NAME, openai:NAME or "
            "embeds:FOLDER.",
            show_default="mini",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Open the page and the API; settings also come from RUICHAT_SERVE_* and --config."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from ruichat.chat.backend import check_name
    from ruichat.serve.settings import ServeSettings

    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir, "model": model}
    if slides:
        given["slide_folders"] = [folder_of(path) for path in slides]
    settings = ServeSettings.read(config, **given)
    check_name(settings.model)
    listener = listen(settings.host, settings.port)
    try:
        is_still = run_server(settings, listener, open_page=open_page)
    finally:
        listener.close()
    if not is_still:
        leave_at_once()


def folder_of(path: Path) -> Path:
    """The folder itself, wherever the command was started.

    Raises:
        ConfigError: there is no such folder.
    """
    folder = path.expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(
            f"--slides {path} is no folder", hint="Make it first, or correct the path"
        )
    return folder


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for connections.

    Raises:
        PrerequisiteError: the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY); with 0, which
    # is what uvicorn's own sockets for several workers have, each keep-alive answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise PrerequisiteError(
            f"can't listen on {host} port {port} ({error.strerror})",
            hint="Choose another with --host or --port, or stop what uses it",
        ) from error
    return listener


def run_server(
    settings: ServeSettings, listener: socket.socket, *, open_page: bool = False
) -> bool:
    """Serve until told to stop by SIGINT or SIGTERM.

    Returns:
        Whether the process may end as usual. Not while a model is still being loaded: an
        interpreter that ends around a thread within a library's loading is aborted.
    """
    import uvicorn

    from ruichat.serve.access.guard import REQUESTS
    from ruichat.serve.app import create_app
    from ruichat.serve.services import services_of_app

    sys.setswitchinterval(SWITCH_S)
    application = create_app(settings)
    services = services_of_app(application)
    port = listener.getsockname()[1]
    address = settings.public_url or address_of(settings.host, port)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                services.engine.model.preload()
                is_single = services.identities.is_single_user()
                is_logged = settings.log_requests
                if is_logged or (is_logged is None and not is_single):
                    logging.getLogger(REQUESTS).setLevel(logging.INFO)
                announce(address, is_single_user=is_single)
                if open_page:
                    show(address_of(SHOWN_AS.get(settings.host, settings.host), port))

    server = Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=STOP_S,
        )
    )
    # Our own errors at the start are told by the command line, not as a traceback.
    logging.getLogger("uvicorn.error").addFilter(lambda record: failure_of(application) is None)
    for kind in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises again what stopped it, once it has stopped; that is no failure.
        signal.signal(kind, lambda number, frame: None)
    server.run(sockets=[listener])
    failure = failure_of(application)
    if failure is not None:
        raise failure
    if not server.started:
        raise PrerequisiteError("the server couldn't start", hint="The log above says why")
    return not services.engine.model.is_busy


def leave_at_once() -> None:
    """End the process without taking the interpreter down; everything is closed and on disk."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def failure_of(application: FastAPI) -> RuiChatError | None:
    """Why the server couldn't start, where it is one of our errors."""
    return getattr(application.state, "failure", None)


def announce(address: str, *, is_single_user: bool) -> None:
    """Say where the page is, and whether it asks who comes."""
    typer.echo(f"RuiChat is at {address}")
    if is_single_user:
        typer.echo(
            "Single-user mode: no login is asked for, and everybody who works on this machine "
            "can open it. `ruichat users add` ends this mode."
        )
    typer.echo("Ctrl-C stops it.")


def show(address: str) -> None:
    """Open the page in the person's browser, without waiting for it."""

    def run() -> None:
        if not webbrowser.open(address):
            typer.echo("No browser was found here; open the address yourself", err=True)

    threading.Thread(target=run, name="browser", daemon=True).start()


def address_of(host: str, port: int) -> str:
    """URL of the page."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

"""`ruichat serve`: the web page and the API on one address."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ruichat.errors import PrerequisiteError, RuiChatError

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
) -> None:
    """Open the page and the API; settings also come from RUICHAT_SERVE_* and --config."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from ruichat.serve.settings import ServeSettings

    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir}
    settings = ServeSettings.read(config, **given)
    listener = listen(settings.host, settings.port)
    try:
        run_server(settings, listener)
    finally:
        listener.close()


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


def run_server(settings: ServeSettings, listener: socket.socket) -> None:
    """Serve until told to stop by SIGINT or SIGTERM."""
    import uvicorn

    from ruichat.serve.app import create_app
    from ruichat.serve.services import services_of_app

    sys.setswitchinterval(SWITCH_S)
    application = create_app(settings)
    address = settings.public_url or address_of(settings.host, listener.getsockname()[1])

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                alone = services_of_app(application).identities.is_single_user()
                announce(address, is_single_user=alone)

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


def address_of(host: str, port: int) -> str:
    """URL of the page."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

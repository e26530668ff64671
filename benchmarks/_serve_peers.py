"""Servers to compare tiles with: one that has the bytes in memory, and OpenSlide's Deep Zoom.

Run by `serve.py` as: python benchmarks/_serve_peers.py memory|openslide SLIDE PORT_FILE
"""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

QUALITY = 75
"""Of the tiles that OpenSlide's example server makes."""

Answer = Callable[[Request], Response | Awaitable[Response]]


def main() -> None:
    kind, slide, port_file = sys.argv[1:]
    answer = from_memory() if kind == "memory" else from_openslide(Path(slide))
    app = Starlette(routes=[Route("/tiles/{level:int}/{column:int}_{row:int}.jpg", answer)])
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    Path(port_file).write_text(str(listener.getsockname()[1]))
    config = uvicorn.Config(app, log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def from_memory() -> Answer:
    """The same 16 kB each time: what HTTP alone costs."""
    body = bytes(16_000)

    async def answer(request: Request) -> Response:
        return Response(body, media_type="image/jpeg")

    return answer


def from_openslide(path: Path) -> Answer:
    """As OpenSlide's own example server, in Starlette's threads."""
    import openslide
    from openslide.deepzoom import DeepZoomGenerator

    slide = openslide.OpenSlide(path)
    zoom = DeepZoomGenerator(slide, tile_size=256, overlap=0)

    def answer(request: Request) -> Response:
        place = request.path_params
        tile = zoom.get_tile(place["level"], (place["column"], place["row"]))
        file = io.BytesIO()
        tile.save(file, "JPEG", quality=QUALITY)
        return Response(file.getvalue(), media_type="image/jpeg")

    return answer


if __name__ == "__main__":
    main()

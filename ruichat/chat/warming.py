"""A loaded model's first words, so that the first person who asks doesn't wait for them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from ruichat.chat.backend import Backend
from ruichat.chat.reading import read_slide

SIDE_PX = 896
"""Of the drawn slide: 16 tiles of mini's, one full batch."""

QUESTION = "What tissue is this?"

NUM_TOKENS = 4


def warm_up(backend: Backend) -> None:
    """Let a model read a small drawn slide and write a few words.

    Kernels are compiled, pages of weights read and helper processes' files in the system's cache
    afterwards. Nothing is kept, and nothing is sent to another machine.

    Raises:
        RuiChatError: it can't answer.
    """
    if backend.sends_to:
        return
    from ruichat.slide.opening import open_slide
    from ruichat.slide.phantom import PhantomConfig, draw_phantom, write_phantom

    with TemporaryDirectory(prefix="ruichat-") as folder:
        path = Path(folder) / "drawn.tif"
        drawn = PhantomConfig(seed=0, width0=SIDE_PX, height0=SIDE_PX, fill=True, randomise=False)
        write_phantom(draw_phantom(drawn), path)
        with open_slide(path) as slide:
            session = read_slide(slide, backend, cache=Path(folder)).session.fork()
            with closing(session.stream(QUESTION, max_tokens=NUM_TOKENS)) as pieces:
                for _ in pieces:
                    pass

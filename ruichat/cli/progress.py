"""Progress bars on stderr, so that stdout stays clean for results."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[str, int, int], None]
"""Called with a stage, items done and items in all; 0 in all where nobody counts."""


@contextmanager
def stage_bar(
    wording: Callable[[str], str] = str, *, console: Console | None = None
) -> Generator[Show]:
    """A callback that draws the stage under way; it draws nothing where nobody would see it.

    Args:
        wording: of a stage, for people.
        console: where to draw; stderr if None.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = console or Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        current: str | None = None

        def show(stage: str, done: int, total: int) -> None:
            nonlocal current
            if stage != current:
                # A task can't lose its total again, so every stage has a task of its own.
                for old in bar.task_ids:
                    bar.remove_task(old)
                bar.add_task(wording(stage), total=None)
                current = stage
            bar.update(bar.task_ids[-1], completed=done, total=total or None)

        yield show


class WorkBar:
    """Slides and their tiles, as far as they are known; draws nothing where nobody would see it.

    Args:
        num_slides: of the run.
        console: where to draw; stderr if None.
    """

    def __init__(self, num_slides: int, *, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        console = console or Console(stderr=True)
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = not console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=hidden)
        self._slides = self._bar.add_task("slides", total=num_slides)
        self._tiles = self._bar.add_task("tiles", total=None)
        self._known: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> WorkBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tiles(self, slide: str, done: int, total: int) -> None:
        """Tiles of one slide done, and in all."""
        self._known[slide] = done, total
        all_done, all_total = (sum(numbers) for numbers in zip(*self._known.values(), strict=True))
        self._bar.update(self._tiles, completed=all_done, total=all_total)

    def slide(self, slide: str, num_tiles: int) -> None:
        """One slide more is finished."""
        if num_tiles:
            self.tiles(slide, num_tiles, num_tiles)
        self._bar.advance(self._slides)

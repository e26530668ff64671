"""The one progress bar: a stage at a time, on stderr, so that stdout stays clean for results."""

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

"""The progress bar: one stage at a time, and silent where nobody watches."""

from __future__ import annotations

import io

from rich.console import Console

from ruichat.cli.progress import stage_bar


def drawn(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_stage_does_not_inherit_the_count_of_the_one_before() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with stage_bar(str.upper, console=console) as show:
        show("tiles", 0, 0)
        show("tiles", 192, 192)
        show("facts", 0, 0)
    last = drawn(console).rpartition("FACTS")[2]
    assert "0/?" in last and "192" not in last


def test_nothing_is_drawn_into_a_file() -> None:
    console = Console(file=io.StringIO())
    with stage_bar(console=console) as show:
        show("tiles", 1, 2)
    assert drawn(console).strip() == ""

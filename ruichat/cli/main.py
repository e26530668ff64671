"""`ruichat`: the root command, its lazily loaded subcommands, and the exit codes."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ruichat import __version__
from ruichat.errors import RuiChatError

EXIT_BUG = 1
EXIT_CANCELLED = 130
"""What shells give for Ctrl-C."""

_CLICK_ERROR: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""Base of typer's usage errors; typer carries its own click, whose name isn't public."""


@dataclass(frozen=True)
class _Entry:
    """One subcommand: where it lives, what it does, and whether it has verbs of its own."""

    module: str
    summary: str
    is_group: bool = True


COMMANDS: dict[str, _Entry] = {
    "ask": _Entry("ruichat.cli.ask", "Ask a slide a question, or chat about it.", False),
    "serve": _Entry("ruichat.cli.serve", "Open the web page and the API.", False),
    "database": _Entry("ruichat.cli.database", "Check, back up and restore the server's records."),
    "users": _Entry("ruichat.cli.users", "Say who may log in."),
    "doctor": _Entry("ruichat.cli.doctor", "Check what is installed, readable, too small.", False),
    "slide": _Entry("ruichat.cli.slide", "Look at a slide file."),
    "features": _Entry("ruichat.cli.features", "Turn slides into embeddings."),
    "phantom": _Entry("ruichat.cli.phantom", "Draw H&E slides with exact truth."),
    "align": _Entry("ruichat.cli.align", "Train, align and adapt models; check their data."),
    "evaluate": _Entry("ruichat.cli.evaluate", "Score a model, with blind controls."),
}
"""Subcommands in the order of the help text."""


class LazyGroup(TyperGroup):
    """Imports a subcommand only when it is run, so that help and completion stay quick."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all subcommands, without importing any."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one subcommand; None if there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        app: typer.Typer = importlib.import_module(entry.module).app
        command = typer.main.get_group(app) if entry.is_group else typer.main.get_command(app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in the help text, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


app = typer.Typer(
    cls=LazyGroup,
    name="ruichat",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def ruichat(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Ask whole-slide images questions; answers cite the regions they rest on."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the process's own if none is given.

    Returns:
        0 done; 2 usage or config; 3 prerequisite; 4 an input failed; 1 a bug; 130 cancelled.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug, arguments = _take_debug(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    _tolerate_narrow_encodings()
    if arguments[:1] == ["--version"]:
        typer.echo(f"ruichat {__version__}")
        return 0
    try:
        result = typer.main.get_command(app)(arguments, prog_name="ruichat", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        # The reader of a pipe has seen enough; keep the interpreter from flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _complain("Cancelled")
        return EXIT_CANCELLED
    except _CLICK_ERROR as error:
        usage: Any = error
        usage.show()
        return int(usage.exit_code)
    except RuiChatError as error:
        if debug:
            logging.getLogger(__name__).exception("failed")
        _complain(f"Error: {error.message}", error.hint)
        return error.exit_code
    except Exception as error:  # the process boundary: a bug gets a short message and code 1
        if debug:
            logging.getLogger(__name__).exception("failed")
        kind = type(error).__name__
        _complain(
            f"Error: RuiChat failed unexpectedly ({kind}: {error})",
            "This is a bug. Run again with --debug to see where, and report it",
        )
        return EXIT_BUG


def _take_debug(arguments: list[str]) -> tuple[bool, list[str]]:
    """Take --debug from anywhere before a "--", so that it may follow the subcommand."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    before = [item for item in arguments[:end] if item != "--debug"]
    return len(before) < end, before + arguments[end:]


def _complain(message: str, hint: str = "") -> None:
    """One line, and one more for the remedy, on stderr, without control characters."""
    from ruichat.chat.plain import strip_controls

    typer.secho(strip_controls(message), fg="red", err=True)
    if hint:
        typer.echo(f"Hint: {strip_controls(hint)}", err=True)


def _tolerate_narrow_encodings() -> None:
    """A terminal that can't show or send Chinese gets question marks, not a crash."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

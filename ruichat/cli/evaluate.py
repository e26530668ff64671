"""`ruichat evaluate`: score a model on held-out data or on yours, beside blind controls."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ruichat.cli import model_choice as choice
from ruichat.cli.progress import stage_bar

if TYPE_CHECKING:
    from rich.console import Console

    from ruichat.chat.model_options import ModelOptions
    from ruichat.evaluate.report import Report
    from ruichat.evaluate.run import Progress

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Score a model, with blind controls."
)

_JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write every figure as JSON.")
]
_Model = Annotated[str | None, typer.Option("--model", help=choice.HELP)]


@app.callback()
def evaluate() -> None:
    """Score a model, with blind controls."""


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML, see configs/evaluate.")],
    json_file: _JsonFile = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder with the tile sources.")
    ] = None,
    model: _Model = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer slides and wider intervals, in a minute or two.")
    ] = False,
    base_url: choice.BaseUrl = None,
    allow_remote: choice.AllowRemote = False,
    trust_remote_code: choice.TrustRemoteCode = False,
) -> None:
    """Run all parts of a config and print one table; what can't be run is named with the reason."""
    from ruichat.evaluate.config import load_config
    from ruichat.evaluate.run import evaluate

    settings = load_config(config)
    settings = settings.model_copy(update=_chosen(model, base_url, allow_remote, trust_remote_code))
    if quick:
        settings = settings.quick()
    choice.warn_of_sending(settings.model, settings.options)
    with _progress() as progress:
        report = evaluate(settings, data_root=data, progress=progress)
    _show(report, json_file)


@app.command("tiles")
def tiles_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Tiles with labels.csv: file,label.")
    ],
    json_file: _JsonFile = None,
    mpp: Annotated[
        float | None, typer.Option("--mpp", help="Micrometres per pixel of the tiles, if known.")
    ] = None,
    group_column: Annotated[
        str, typer.Option("--group", help="Column of labels.csv that names the source group.")
    ] = "",
    model: _Model = None,
) -> None:
    """Linear probe of the encoder on your tiles, beside colour alone and an untrained network.

    Without --group every file counts as a group of its own: tiles of one specimen then lie on
    both sides of a fold, and the score flatters.
    """
    from ruichat.evaluate.config import EvaluateConfig, ProbeConfig, TileSuite
    from ruichat.evaluate.run import evaluate
    from ruichat.truth.tile_folders import FolderConfig

    name = folder.resolve().name
    own = FolderConfig.checked(
        {"name": name, "folder": str(folder.resolve()), "mpp": mpp, "group_column": group_column},
        source="the command",
    )
    suite = TileSuite(probes=(ProbeConfig(name=name, split="folds"),))
    settings = EvaluateConfig(model=model or "mini", folders=(own,), tiles=suite)
    with _progress() as progress:
        report = evaluate(settings, progress=progress)
    _show(report, json_file)


@app.command("slides")
def slides_command(
    questions: Annotated[
        Path,
        typer.Argument(
            metavar="JSONL",
            help='Lines {"slide", "question", "answer"}; options, mpp, regions if any.',
        ),
    ],
    json_file: _JsonFile = None,
    model: _Model = None,
    base_url: choice.BaseUrl = None,
    allow_remote: choice.AllowRemote = False,
    trust_remote_code: choice.TrustRemoteCode = False,
) -> None:
    """Ask your slides your questions, beside another slide's answers and options reordered."""
    from ruichat.evaluate.config import EvaluateConfig
    from ruichat.evaluate.run import evaluate

    settings = EvaluateConfig(
        model=model or "mini",
        options=_options(base_url, allow_remote, trust_remote_code),
        questions=(str(questions),),
    )
    choice.warn_of_sending(settings.model, settings.options)
    with _progress() as progress:
        report = evaluate(settings, progress=progress)
    _show(report, json_file)


@app.command("benchmark")
def benchmark_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML, see configs/evaluate.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The run's folder: answers and reports.")
    ],
    model: _Model = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Dialogues to ask, in a seeded order; raise it later."),
    ] = None,
    json_file: _JsonFile = None,
    base_url: choice.BaseUrl = None,
    allow_remote: choice.AllowRemote = False,
    trust_remote_code: choice.TrustRemoteCode = False,
) -> None:
    """Ask a model the dialogues of benchmarks, beside controls that never look.

    A run that was stopped goes on by the same command and asks nothing twice. DIR gets
    answers.jsonl, manifest.json, and the report as JSON and as Markdown in both languages.
    """
    from ruichat.errors import InputError
    from ruichat.evaluate.benchmark.config import BenchmarkConfig
    from ruichat.evaluate.benchmark.run import run_benchmark

    settings = BenchmarkConfig.from_yaml(config)
    settings = settings.model_copy(update=_chosen(model, base_url, allow_remote, trust_remote_code))
    with _progress() as progress:
        report = run_benchmark(settings, config.parent, out, limit=limit, progress=progress)
    _show(report, json_file)
    if any(row.name == "not answered" and row.score.value > 0 for row in report.rows):
        raise typer.Exit(InputError.exit_code)


@app.command("compare")
def compare_command(
    one: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of a benchmark run.")],
    two: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of another.")],
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Where the configs lie, if they were moved."),
    ] = None,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help="Go on though data, prompts or scoring differ."),
    ] = False,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Also write FILE.md and FILE.zh.md."),
    ] = None,
    json_file: _JsonFile = None,
) -> None:
    """Difference of two runs on the questions both answered, with interval and p, per kind."""
    from ruichat.evaluate.benchmark.compare import (
        compare_runs,
        comparison_markdown,
        print_comparison,
    )
    from ruichat.storage.artifacts import write_atomic

    with _progress() as progress:
        found = compare_runs(
            one, two, root=root, allow_different=allow_different, progress=progress
        )
    plain = json.dumps(found.to_json(), ensure_ascii=False, indent=1)
    if markdown is not None:
        stem = markdown.name.removesuffix(".md")
        for name, text in (
            (f"{stem}.md", comparison_markdown(found, "en")),
            (f"{stem}.zh.md", comparison_markdown(found, "zh")),
        ):
            write_atomic(markdown.with_name(name), text.encode())
    if json_file is not None and str(json_file) == "-":
        typer.echo(plain)
        return
    print_comparison(found, _console())
    if json_file is not None:
        write_atomic(json_file, f"{plain}\n".encode())


def _chosen(
    model: str | None, base_url: str | None, allow_remote: bool, trust_remote_code: bool
) -> dict[str, object]:
    """What the command changes of a config."""
    if model is not None:
        return {"model": model, "options": _options(base_url, allow_remote, trust_remote_code)}
    if base_url or allow_remote or trust_remote_code:
        raise typer.BadParameter("the model is the config's own: state its options there")
    return {}


def _options(base_url: str | None, allow_remote: bool, trust_remote_code: bool) -> ModelOptions:
    return choice.model_options(
        base_url=base_url, allow_remote=allow_remote, trust_remote_code=trust_remote_code
    )


def _console() -> Console:
    """Where tables go; a pipe has no width, and a narrow one would break their numbers."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=132)


def _show(report: Report, json_file: Path | None) -> None:
    """The table on stdout; the JSON into its file, or on stdout for "-"."""
    from ruichat.evaluate.report import print_report

    if json_file is not None and str(json_file) == "-":
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=1))
        return
    print_report(report, _console())
    if json_file is not None:
        report.save(json_file)
        typer.echo(f"written: {json_file}", err=True)


@contextmanager
def _progress() -> Generator[Progress]:
    """A bar on stderr, or one line per stage where nobody watches."""
    if sys.stderr.isatty():
        with stage_bar() as show:
            yield show
        return
    said: set[str] = set()

    def tell(stage: str, done: int, total: int) -> None:
        del done, total
        if stage not in said:
            said.add(stage)
            typer.echo(f"{stage} ...", err=True)

    yield tell

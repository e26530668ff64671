"""`ruichat align data`: what is wrong with files of dialogues, and files of ours made of them."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ruichat.cli.progress import stage_bar
from ruichat.errors import InputError

if TYPE_CHECKING:
    from ruichat.truth.datasets.check import Extra, Report
    from ruichat.truth.datasets.formats.card import FormatCard
    from ruichat.truth.datasets.patients import Patients
    from ruichat.truth.datasets.source import OnBytes

app = typer.Typer(no_args_is_help=True, help="Check, convert and split files of dialogues.")

_Format = Annotated[
    str | None,
    typer.Option("--format", help="Name of the format, where the records don't tell."),
]
_Sha = Annotated[
    str, typer.Option("--sha256", metavar="HEX", help="Digest that the file must have.")
]
_PatientsOption = Annotated[
    str,
    typer.Option(
        "--patients",
        metavar="RULE",
        help="How patients are told: record, tcga, slide, unknown, or a .csv with slide,patient.",
    ),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def data() -> None:
    """Check, convert and split files of dialogues."""


@app.command("formats")
def formats_command(as_json: _AsJson = False) -> None:
    """List the formats that can be read."""
    from ruichat.truth.datasets.formats import FORMATS

    cards = [FORMATS.get(name) for name in FORMATS]
    if as_json:
        rows = [
            {"name": c.name, "title": c.title, "fields": c.fields, "patient": c.patient}
            for c in cards
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for card in cards:
        typer.echo(f"{card.name:18} {card.title}: {card.fields}; patient: {card.patient}")


@app.command("check")
def check_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="JSON, JSONL, CSV or Parquet.")
    ],
    format_name: _Format = None,
    sha256: _Sha = "",
    patients: _PatientsOption = "record",
    bags: Annotated[
        list[Path] | None,
        typer.Option("--bags", metavar="DIR", help="Folder of bags; may be given several times."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Findings to print of each file.")
    ] = 20,
    as_json: _AsJson = False,
) -> None:
    """List what is wrong in files of dialogues: line, record, field, remedy."""
    from ruichat.truth.datasets.check import check_file

    card, rule = _chosen(format_name, patients)
    extra = _looking_in(bags)
    failed = False
    for file in files:
        with _bar(file) as on_bytes:
            report = check_file(
                file, card=card, sha256=sha256, patients=rule, extra=extra, on_bytes=on_bytes
            )
        failed = failed or bool(report.num_errors) or not report.num_records
        if as_json:
            typer.echo(json.dumps(report.to_json(), ensure_ascii=False))
        else:
            _print_report(report, limit)
    if failed:
        raise typer.Exit(InputError.exit_code)


@app.command("convert")
def convert_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="JSON, JSONL, CSV or Parquet.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write, NAME.jsonl.")],
    format_name: _Format = None,
    sha256: _Sha = "",
    patients: _PatientsOption = "record",
    leave_out_broken: Annotated[
        bool, typer.Option("--leave-out-broken", help="Go on without records that are broken.")
    ] = False,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="DIR", help="Folder for pictures in Parquet files."),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Turn files of any known format into one of RuiChat's, with a manifest beside it."""
    from ruichat.truth.datasets.convert import convert

    card, rule = _chosen(format_name, patients)
    with _bar(out) as on_bytes:
        done = convert(
            files,
            out,
            card=card,
            sha256=sha256,
            patients=rule,
            leave_out_broken=leave_out_broken,
            pictures=pictures,
            on_bytes=on_bytes,
        )
    left_out = sum(report.num_broken for report in done.reports)
    if as_json:
        summary = {
            "out": str(out),
            "written": done.num_written,
            "left_out": left_out,
            "without_patient": done.num_without_patient,
        }
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    line = f"{done.num_written} dialogues in {out}; {left_out} records left out"
    if done.num_without_patient:
        line += f"; the patient of {done.num_without_patient} isn't known (--patients)"
    _say(line)


@app.command("split")
def split_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="JSON, JSONL, CSV or Parquet.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the parts.")],
    parts: Annotated[
        str, typer.Option("--parts", help="Names and shares of the parts.")
    ] = "train=0.8,val=0.1,test=0.1",
    seed: Annotated[int, typer.Option("--seed", help="Another one deals anew.")] = 0,
    format_name: _Format = None,
    patients: _PatientsOption = "record",
    as_json: _AsJson = False,
) -> None:
    """Split dialogues by patient; patients added later never move those that were there."""
    from ruichat.truth.datasets.splits import Shares, split

    card, rule = _chosen(format_name, patients)
    shares = Shares.parse(parts)
    with _bar(out) as on_bytes:
        done = split(files, out, shares, seed=seed, card=card, patients=rule, on_bytes=on_bytes)
    rows = {
        name: {
            "file": str(done.paths[name]),
            "dialogues": done.dialogues[name],
            "patients": done.patients[name],
        }
        for name in done.paths
    }
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for name, row in rows.items():
        _say(f"{name}: {row['dialogues']} dialogues of {row['patients']} patients, {row['file']}")


@app.command("overlap")
def overlap_command(
    files: Annotated[list[Path], typer.Argument(metavar="TRAIN...", help="Training files.")],
    held: Annotated[
        list[Path],
        typer.Option("--with", metavar="FILE", help="Of the evaluation; may be given repeatedly."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the training without what overlaps.")
    ] = None,
    patients: _PatientsOption = "record",
    evaluation_patients: Annotated[
        str | None,
        typer.Option("--evaluation-patients", metavar="RULE", help="Like --patients, for --with."),
    ] = None,
    questions: Annotated[
        bool, typer.Option(help="Whether nearly identical questions count.")
    ] = True,
    as_json: _AsJson = False,
) -> None:
    """Refuse training data that holds patients, slides, tiles or questions of the evaluation."""
    from ruichat.truth.datasets.check import open_report
    from ruichat.truth.datasets.convert import convert
    from ruichat.truth.datasets.overlap import find_overlap
    from ruichat.truth.datasets.patients import Patients

    rule, held_rule = Patients.parse(patients), Patients.parse(evaluation_patients or patients)
    with _bar(files[0]) as on_bytes:
        overlap = find_overlap(
            [(open_report(file), rule) for file in files],
            [(open_report(file), held_rule) for file in held],
            questions=questions,
            on_bytes=on_bytes,
        )
        if out is not None:
            convert(files, out, patients=rule, without=overlap.records, on_bytes=on_bytes)
    if as_json:
        typer.echo(json.dumps(overlap.to_json(), ensure_ascii=False))
    if out is None:
        overlap.require_none()
    if not as_json:
        shared = ", ".join(f"{kind} {n}" for kind, n in overlap.counts.items()) or "nothing"
        line = f"{overlap.num_dialogues} of {overlap.num_train} training dialogues overlap with "
        _say(f"{line}{overlap.num_evaluation} of the evaluation (sharing {shared})")
        if out is not None:
            _say(f"{overlap.num_train - overlap.num_dialogues} dialogues in {out}")


@app.command("prepare")
def prepare_command(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML with train, evaluation and bags.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the converted files.")],
    as_json: _AsJson = False,
) -> None:
    """Check all data of a training before its first step: sound, kept apart, with bags."""
    from ruichat.truth.datasets.prepare import DataConfig, prepare

    settings = DataConfig.from_yaml(config)
    with _bar(config) as on_bytes:
        files = prepare(settings, config.parent, out, on_bytes=on_bytes)
    rows = [{"file": str(one.path), "dialogues": len(one), "sha256": one.sha256} for one in files]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        _say(f"{row['file']}: {row['dialogues']} dialogues")


def _looking_in(bags: list[Path] | None) -> Extra | None:
    """What looks for bags in those folders; None without any.

    Raises:
        InputError: a folder can't be read.
    """
    from ruichat.truth.datasets.bags import Bags, looking_for

    return looking_for(Bags(bags)) if bags else None


def _chosen(format_name: str | None, patients: str) -> tuple[FormatCard | None, Patients]:
    """The format and the rule for patients that a user named.

    Raises:
        ConfigError: there is none of that name.
        InputError: the table of patients can't be used.
    """
    from ruichat.truth.datasets.formats import FORMATS
    from ruichat.truth.datasets.patients import Patients

    return (FORMATS.get(format_name) if format_name else None), Patients.parse(patients)


@contextmanager
def _bar(file: Path) -> Generator[OnBytes]:
    """A bar over the kilobytes of a file."""
    with stage_bar() as show:
        yield lambda done, total: show(f"{file.name}, kB", done >> 10, total >> 10)


def _print_report(report: Report, limit: int) -> None:
    """Findings and their remedies, then the sums."""
    for finding in report.findings[:limit]:
        colour = "red" if finding.severity == "error" else "yellow"
        _say(f"{finding.severity}: {finding}. {finding.remedy}", colour)
    hidden = report.counts.total() - min(limit, len(report.findings))
    if hidden:
        by_code = ", ".join(f"{code} {n}" for code, n in report.counts.most_common())
        _say(f"{hidden} more findings (--limit, --json); in all: {by_code}")
    _say(
        f"{report.file.name}: {report.num_records} records of {report.format}, "
        f"{report.num_broken} broken; sha256 {report.sha256}"
    )
    if not report.num_records:
        _say(f"error: {report.file.name} holds no dialogues", "red")


def _say(line: str, colour: str | None = None) -> None:
    """One line on stdout that can't steer a terminal."""
    from ruichat.chat.plain import strip_controls

    typer.secho(strip_controls(line), fg=colour)

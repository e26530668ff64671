"""Two runs on the questions that both were asked: differences, and whether they could be chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruichat.chat.ask import Clock, Progress
from ruichat.errors import ConfigError, InputError
from ruichat.evaluate.benchmark.answers import AnswerFile
from ruichat.evaluate.benchmark.cases import KINDS, Cases, read_cases
from ruichat.evaluate.benchmark.citing import CITED, MOVES
from ruichat.evaluate.benchmark.config import BenchmarkConfig
from ruichat.evaluate.benchmark.folder import ROOT, RunFolder, differences
from ruichat.evaluate.benchmark.markdown import interval, number, plain, table_lines
from ruichat.evaluate.benchmark.scores import MOVED, MOVED_LIKELIHOOD, Scored, Scorer, score_answers
from ruichat.evaluate.benchmark.scoring import METRICS, Metric
from ruichat.evaluate.benchmark.words import HEADS, word
from ruichat.evaluate.metrics import Contrast, Estimate
from ruichat.evaluate.tile_scores import Draws
from ruichat.histology import Language

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "ruichat.comparison/1"

MUST_AGREE = ("data", "blind", "prompts", "scoring", "seed", "config.style", "config.facts")
"""Parts of a manifest without which scores say nothing about the models."""


@dataclass(frozen=True)
class Difference:
    """One score of two runs.

    Attributes:
        section: kind of question.
        name: of the score.
        where: "by likelihood", else "".
        one: of the first run, on the questions of both.
        two: of the second.
        contrast: first minus second.
    """

    section: str
    name: str
    where: str
    one: Estimate
    two: Estimate
    contrast: Contrast

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "section": self.section,
            "name": self.name,
            "where": self.where,
            "one": self.one.to_json(),
            "two": self.two.to_json(),
            "difference": self.contrast.to_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        names: of both models.
        rows: their differences, kind by kind.
        num_common: questions that both answered.
        differing: what differs between the manifests beside the model.
    """

    names: tuple[str, str]
    rows: tuple[Difference, ...]
    num_common: int
    differing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": SCHEMA,
            "one": self.names[0],
            "two": self.names[1],
            "common": self.num_common,
            "differing": list(self.differing),
            "intervals": "95 %, paired percentile bootstrap over patients; p two-sided",
            "rows": [row.to_json() for row in self.rows],
        }


def compare_runs(
    one: Path,
    two: Path,
    *,
    root: Path | None = None,
    allow_different: bool = False,
    num_draws: int = 1000,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two runs on the questions that both answered.

    Args:
        one: folder of the first run.
        two: folder of the second.
        root: folder that the paths in their configs are relative to; where each was if None.
        allow_different: go on though data, prompts or scoring differ; only what both have counts.
        num_draws: bootstrap samples.
        progress: told of stages and counts.

    Raises:
        ConfigError: what they were asked differs, and nobody said that it may.
        InputError: the data isn't there any more or has changed; no question is common.
        ArtifactError: a folder holds no run.
    """
    folders = RunFolder.read(one), RunFolder.read(two)
    manifests = [folder.manifest for folder in folders]
    differing = tuple(
        name
        for name in differences(manifests[0], manifests[1])
        if name.split(".")[0] not in ("model", "fingerprint", ROOT) and name != "config.model"
    )
    _refuse(differing, allow_different)
    clock = Clock(progress)
    scored = [_score(folder, root or Path(folder.manifest[ROOT]), clock) for folder in folders]
    rows, num_common = _compare(scored[0], scored[1], Draws(num_draws, manifests[0]["seed"]))
    if not num_common:
        raise InputError(
            f"{one} and {two} have no answered question in common",
            hint="Compare runs on the same files, or let both go on",
        )
    names = [str(manifest["model"]["name"]) for manifest in manifests]
    return Comparison((names[0], names[1]), tuple(rows), num_common, differing)


def _refuse(differing: Sequence[str], allowed: bool) -> None:
    matters = [
        name
        for name in differing
        if any(name == part or name.startswith(f"{part}.") for part in MUST_AGREE)
    ]
    if matters and not allowed:
        raise ConfigError(
            f"the runs differ in {', '.join(matters)}: their scores don't compare",
            hint="Run both alike, or say --allow-different to compare what they share",
        )


def _score(folder: RunFolder, root: Path, clock: Clock) -> Scored:
    """The marks of a run, from its answers and the data it names."""
    config = BenchmarkConfig.checked(folder.manifest["config"], source=str(folder.path))
    # Bags aren't needed to score; which dialogues had one shows in what was answered.
    cases = read_cases(config.model_copy(update={"bags": ()}), root, tick=clock.counts)
    _check_data(folder, cases)
    answers = AnswerFile(folder.path)
    return score_answers(
        cases.all,
        len(cases.all),
        answers,
        blind=bool(folder.manifest["blind"]),
        seed=config.seed,
        tick=clock.counts(f"scoring {folder.path.name}"),
    )


def _check_data(folder: RunFolder, cases: Cases) -> None:
    stated: Mapping[str, str] = folder.manifest["data"]
    changed = [name for name, digest in cases.digests.items() if stated.get(name) != digest]
    if changed:
        raise InputError(
            f"{', '.join(changed)} has changed since {folder.path} was run",
            hint="Restore the file; scores are made of the answers and their references",
        )


def _compare(one: Scored, two: Scored, draws: Draws) -> tuple[list[Difference], int]:
    """Scores of the questions that both runs answered."""
    places = {(q.case, q.turn): i for i, q in enumerate(two.questions) if _is_answered(two, i)}
    pairs = [
        (i, places[q.case, q.turn])
        for i, q in enumerate(one.questions)
        if (q.case, q.turn) in places and _is_answered(one, i)
    ]
    questions = tuple(one.questions[i] for i, _ in pairs)
    marks = {
        **{f"1 {name}": [given[i] for i, _ in pairs] for name, given in _named(one)},
        **{f"2 {name}": [given[j] for _, j in pairs] for name, given in _named(two)},
    }
    scorer = Scorer(Scored(questions, "1 base", marks), draws)
    rows: list[Difference] = []
    for kind in KINDS:
        here = [i for i, question in enumerate(questions) if question.kind == kind]
        for metric, condition, where in _metrics(kind):
            row = _difference(scorer, metric, condition, here, kind, where)
            rows += [] if row is None else [row]
    return rows, len(pairs)


def _named(scored: Scored) -> Iterator[tuple[str, Sequence[Any]]]:
    yield "base", scored.marks[scored.base]
    for name in (MOVED, MOVED_LIKELIHOOD):
        if name in scored.marks:
            yield name, scored.marks[name]


def _is_answered(scored: Scored, at: int) -> bool:
    marks = scored.marks[scored.base][at]
    return marks is not None and float(marks["not answered"][0]) == 0


def _metrics(kind: str) -> Iterator[tuple[Metric, str, str]]:
    for metric in (*METRICS, *CITED):
        if kind in metric.kinds:
            yield metric, "base", ""
    for condition, where in ((MOVED, ""), (MOVED_LIKELIHOOD, "by likelihood")):
        for metric in MOVES:
            if kind in metric.kinds:
                yield metric, condition, where


def _difference(
    scorer: Scorer, metric: Metric, condition: str, here: Sequence[int], kind: str, where: str
) -> Difference | None:
    both = scorer.common(metric, f"1 {condition}", f"2 {condition}", here)
    contrast = scorer.contrast(metric, f"1 {condition}", f"2 {condition}", both)
    one, two = (scorer.estimate(metric, f"{n} {condition}", both) for n in (1, 2))
    if contrast is None or one is None or two is None:
        return None
    return Difference(kind, metric.name, where, one, two, contrast)


def comparison_markdown(comparison: Comparison, language: Language) -> str:
    """The table as Markdown."""
    heads, (one, two) = HEADS[language], comparison.names
    lines = [f"# {heads['compare'].format(one=plain(one), two=plain(two))}", ""]
    columns = ["", "n", plain(one), plain(two), heads["difference"], heads["interval"], heads["p"]]
    for section in dict.fromkeys(row.section for row in comparison.rows):
        rows = [_cells(row, language) for row in comparison.rows if row.section == section]
        lines += [f"## {word(section, language)}", "", *table_lines(columns, rows), ""]
    lines += [heads["paired"].format(num=comparison.num_common), ""]
    if comparison.differing:
        named = ", ".join(plain(name) for name in comparison.differing)
        lines += [heads["differing"].format(names=named), ""]
    return "\n".join(lines)


def _cells(row: Difference, language: Language) -> list[str]:
    where = f" ({word(row.where, language)})" if row.where else ""
    difference = row.contrast.difference
    return [
        plain(word(row.name, language)) + where,
        str(row.one.n),
        number(row.one.value),
        number(row.two.value),
        number(difference.value),
        interval(difference),
        number(row.contrast.p),
    ]


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The table for a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold", min_width=24)
    for head in ("n", *comparison.names, "difference", "95 %", "p"):
        table.add_column(head, justify="right", no_wrap=True)
    section = ""
    for row in comparison.rows:
        if row.section != section:
            table.add_row(f"[bold]{row.section}[/bold]")
            section = row.section
        table.add_row(*_cells(row, "en"))
    console.print(table)
    for name in comparison.differing:
        console.print(f"the runs differ in {name}", style="yellow", highlight=False, markup=False)

"""One benchmark from config to report; it goes on where it was stopped."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruichat import __version__
from ruichat.chat.ask import Clock, Progress
from ruichat.chat.backend import Backend, load_backend
from ruichat.chat.facts import facts_prompt
from ruichat.evaluate.benchmark import texts
from ruichat.evaluate.benchmark.answers import AnswerFile
from ruichat.evaluate.benchmark.asking import (
    Asker,
    Outcome,
    benchmark_prompt,
    require_viewer,
)
from ruichat.evaluate.benchmark.cases import Cases, read_cases
from ruichat.evaluate.benchmark.config import BenchmarkConfig
from ruichat.evaluate.benchmark.folder import ROOT, open_folder
from ruichat.evaluate.benchmark.markdown import to_markdown
from ruichat.evaluate.benchmark.plan import OTHER, TRUE, plan_asks
from ruichat.evaluate.benchmark.scores import Scored, build_rows, score_answers
from ruichat.evaluate.benchmark.words import CONTROLS, Note
from ruichat.evaluate.report import Report
from ruichat.evaluate.run import describe_model
from ruichat.evaluate.tile_scores import Draws
from ruichat.storage.artifacts import write_atomic

REPORT, REPORT_EN, REPORT_ZH = "report.json", "report.md", "report.zh.md"


def run_benchmark(
    config: BenchmarkConfig,
    root: Path,
    out: Path,
    *,
    limit: int | None = None,
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> Report:
    """Ask what isn't answered yet, score all, and write the reports into the run's folder.

    Args:
        config: the benchmark.
        root: folder that its paths are relative to.
        out: the run's folder; a run that was stopped goes on, one of other settings is refused.
        limit: dialogues to ask, in a seeded order; a later run may raise it and asks the rest.
        backend: the model; loaded by the config's name if None.
        progress: told of stages and counts.

    Raises:
        ConfigError: the folder holds another run, or the config can't be right.
        InputError: a file or a bag can't be used.
        ArtifactError: a file of ours is damaged or can't be written.
        ModelError: the model fails on everything.
        PrerequisiteError: weights or packages are missing.
    """
    clock = Clock(progress)
    scoring = texts.versions()
    with clock.stage("dialogues"):
        cases = read_cases(config, root, tick=clock.counts)
    with clock.stage("model"):
        backend = backend or load_backend(config.model, config.options)
        require_viewer(backend, config)
    num = len(cases.all) if limit is None else min(limit, len(cases.all))
    manifest = {**describe_run(config, cases, backend, scoring), ROOT: str(root.resolve())}
    with open_folder(out, manifest):
        answers = AnswerFile(out)
        asks = plan_asks(
            cases.all, num, rotations=config.rotations, blind=cases.blind, seed=config.seed
        )
        with clock.stage("asking"), answers:
            asker = Asker(backend, config)
            asker.check(asks)
            outcome = asker.ask_all(asks, answers, clock.counts("asking"))
        with clock.stage("scoring"):
            scored = score_answers(
                cases.all,
                num,
                answers,
                blind=cases.blind,
                seed=config.seed,
                tick=clock.counts("scoring"),
            )
            rows = build_rows(scored, Draws(config.num_draws, config.seed))
        notes = (*cases.notes, *_notes(outcome, scored, num, len(cases.all), scoring))
        report = Report(
            tuple(rows),
            {**manifest, "asked": num, "of": len(cases.all)},
            skipped=(),
            seconds=clock.seconds,
            controls=CONTROLS,
            units="patients",
            notes=tuple(note.say("en") for note in notes),
        )
        _save(report, notes, out)
    return report


def _save(report: Report, notes: Sequence[Note], out: Path) -> None:
    """Write the JSON and both Markdown files."""
    report.save(out / REPORT)
    write_atomic(out / REPORT_EN, to_markdown(report, notes, "en").encode())
    write_atomic(out / REPORT_ZH, to_markdown(report, notes, "zh").encode())


def describe_run(
    config: BenchmarkConfig, cases: Cases, backend: Backend, scoring: dict[str, str]
) -> dict[str, Any]:
    """All that the answers of a run and their scores hang on."""
    settings = config.asking()
    return {
        "ruichat": __version__,
        "model": {**describe_model(backend), "prompts": list(backend.prompts)},
        "data": dict(cases.digests),
        "blind": cases.blind,
        "config": settings.model_dump(mode="json"),
        "fingerprint": settings.fingerprint(),
        "prompts": [benchmark_prompt().label, facts_prompt().label],
        "decoding": {
            "way": "greedy, through the chat session",
            "max_tokens": config.max_tokens,
            "think": config.think,
        },
        "seed": config.seed,
        "scoring": scoring,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "transformers")},
        },
    }


def _notes(
    outcome: Outcome, scored: Scored, num: int, of: int, scoring: Mapping[str, str]
) -> Iterator[Note]:
    """What a reader must know beside what the data told."""
    if num < of:
        yield Note("limit", {"num": num, "of": of})
    if outcome.num_failed:
        yield Note("failed", {"num": outcome.num_failed, "error": outcome.last_error})
    if outcome.without_facts:
        yield Note("no_facts", {"num": outcome.without_facts})
    if scored.base == TRUE and OTHER not in scored.marks:
        yield Note("one_patient")
    choices = [i for i, one in enumerate(scored.questions) if one.kind == "choice"]
    given = (scored.marks[scored.base][i] or {} for i in choices)
    if choices and not any("accuracy, by likelihood" in marks for marks in given):
        yield Note("no_likelihood")
    if "synonym" not in scoring["meteor_matching"]:
        yield Note("no_synonyms")

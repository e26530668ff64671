"""Drawn slides and dialogues from their truth: what `mini` sees shows, and kills change nothing."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("nltk")

from ruichat.chat.backend import Backend, load_backend
from ruichat.evaluate.questions import question_label
from ruichat.evaluate.slides import draw_slide
from ruichat.features.bag import FeatureBag
from ruichat.histology import BY_KEY, Language
from ruichat.model.regions import split_regions
from ruichat.truth.dialogues import QA, Balance, Kind, write_dialogue
from ruichat.truth.symbolic import SymbolicSlide

NUM_SLIDES = 10
FIRST_SEED = 100_200
"""No stage trains, calibrates or evaluates on seeds from here on."""

SIZE_PX = (1792, 1568)
ASKED: tuple[Kind, ...] = ("presence", "where", "type", "content", "region_presence", "describe")

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bags of drawn slides, dialogues from their truth, and a config."""
    folder = tmp_path_factory.mktemp("phantoms")
    backend, balance = load_backend("mini"), Balance()
    lines = [
        line
        for number in range(NUM_SLIDES)
        for line in write_slide(folder, number, backend, balance)
    ]
    (folder / "dialogues.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (folder / "benchmark.yaml").write_text("data: [{file: dialogues.jsonl}]\nbags: [bags]\n")
    return folder / "benchmark.yaml"


def write_slide(
    folder: Path, number: int, backend: Backend, balance: Balance
) -> Iterator[dict[str, object]]:
    """The bag of a drawn slide, and records about it in both languages."""
    drawn = draw_slide(FIRST_SEED + number, SIZE_PX)
    n, plain = len(drawn.rgb), np.full(len(drawn.rgb), 0.6, np.float32)
    regions = split_regions(drawn.xy0, 224, 0.5, SIZE_PX, max_regions=backend.max_regions)
    FeatureBag(
        embeddings=backend.encoder.encode(drawn.rgb),
        xy0=drawn.xy0,
        span0=224,
        base_mpp=0.5,
        size0=SIZE_PX,
        focus=plain,
        hematoxylin=plain,
        eosin=plain,
        tissue_area_mm2=n * 0.112**2,
        encoder=backend.encoder.card.name,
        encoder_digest=backend.encoder.digest,
        slide_digest=hashlib.sha256(drawn.rgb.tobytes()).hexdigest(),
        fingerprint="phantom",
    ).save(folder / "bags" / f"P{number}.h5")
    truth = SymbolicSlide.from_truth(drawn.tile_class, regions)
    rng = np.random.default_rng((0, number))
    languages: tuple[Language, ...] = ("en", "zh")
    for kind in ASKED:
        for language in languages:
            for qa in write_dialogue(truth, rng, language, (kind,), balance=balance, num_turns=1):
                base = {
                    "format": "ruichat-dialogue-1",
                    "id": f"{number}-{kind}-{language}",
                    "patient": f"drawn {number}",
                    "slides": [f"P{number}"],
                    "num_regions": backend.max_regions,
                    "language": language,
                }
                yield base | record(qa)


def record(qa: QA) -> dict[str, object]:
    """Turns of one question, its listed options apart where it lists some."""
    question, answer = {"role": "user", "text": qa.question}, {"role": "assistant"}
    if question_label(qa) == "choice":
        names = [BY_KEY[key].name(qa.language) for key in qa.options]
        found = re.search("(.{1,10}?)".join(map(re.escape, names)), qa.question, re.DOTALL)
        if found is not None:
            asked = re.sub(r"[\s\W]*A?[\s\W]*$", "", qa.question[: found.start()]) or "?"
            right = qa.options.index(qa.key)
            turns = [
                question | {"text": asked, "options": names},
                answer | {"text": names[right], "choice": right + 1},
            ]
            return {"turns": turns}
    turns = [question, answer | {"text": qa.answer}]
    if qa.kind == "describe":
        return {"turns": turns, "kind": "report"}
    return {"turns": turns, "tags": {"answer_type": "closed" if qa.key in ("yes", "no") else ""}}


def run(world: Path, out: Path, *more: str, kill_after: float | None = None) -> int:
    command = [sys.executable, "-m", "ruichat", "evaluate", "benchmark", str(world)]
    process = subprocess.Popen(
        [*command, "--out", str(out), *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    return process.wait()


def answers(out: Path) -> dict[str, object]:
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in lines}) == len(lines)
    return {line["key"]: [given["text"] for given in line["given"]] for line in lines}


def test_mini_sees_drawn_slides_and_kills_change_nothing(world: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    killed = 0
    while (code := run(world, tmp_path / "killed", kill_after=rng.uniform(8, 30))) != 0:
        assert code == -signal.SIGKILL
        killed += 1
        if killed == 10:
            assert run(world, tmp_path / "killed") == 0
            break
    assert run(world, tmp_path / "whole") == 0
    assert answers(tmp_path / "killed") == answers(tmp_path / "whole")
    reports = [
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("killed", "whole")
    ]
    assert reports[0]["rows"] == reports[1]["rows"]
    rows = {(row["section"], row["name"], row.get("where", "")): row for row in reports[1]["rows"]}
    for row in rows.values():
        beside = {name: score["value"] for name, score in row["controls"].items()}
        print(row["section"], row["name"], row.get("where", ""), row["n"], row["value"], beside)
    closed = rows["closed", "balanced accuracy", ""]
    assert closed["value"] > closed["controls"]["blind"]["value"] + 0.2
    assert closed["value"] > closed["controls"]["other"]["value"] + 0.2
    report = rows["report", "claims, precision", ""]
    assert report["value"] > report["controls"]["borrowed"]["value"]
    cited = rows["open", "cited area that is true", ""]
    assert cited["value"] > cited["controls"]["chance"]["value"]
    gap = rows["closed", "accuracy, as answered", "slide minus none"]
    assert gap["low"] > 0 and gap["p"] < 0.05

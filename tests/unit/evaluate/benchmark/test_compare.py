from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fakes_benchmark import AskedModel, backend_of, looks, says_a, write_world
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("nltk")

from ruichat.errors import ArtifactError, ConfigError, InputError
from ruichat.evaluate.benchmark.compare import Comparison, compare_runs, comparison_markdown
from ruichat.evaluate.benchmark.config import BenchmarkConfig
from ruichat.evaluate.benchmark.run import run_benchmark
from ruichat.evaluate.benchmark.scoring import ratio
from ruichat.evaluate.metrics import Bootstrap
from ruichat.model.chat_model import SlideContext


def run(
    world: Path, name: str, model: AskedModel, limit: int | None = None, **more: object
) -> Path:
    config = BenchmarkConfig.from_yaml(world).model_copy(update=more)
    out = world.parent / name
    run_benchmark(config, world.parent, out, limit=limit, backend=backend_of(model))
    return out


def value(found: Comparison, name: str) -> tuple[float, float, float, float]:
    row = next(one for one in found.rows if one.name == name and not one.where)
    difference = row.contrast.difference
    return row.one.value, row.two.value, difference.value, row.contrast.p


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), num_slides=4)


@pytest.fixture(scope="module")
def runs(world: Path) -> tuple[Path, Path]:
    seen = run(world, "sees", AskedModel(name="sees"))
    return seen, run(world, "letter", AskedModel(says_a, name="letter"), limit=12)


def test_a_better_model_is_better_on_what_both_answered(runs: tuple[Path, Path]) -> None:
    found = compare_runs(*runs, num_draws=60)
    assert found.num_common == 12 and found.names == ("sees", "letter")
    one, two, gap, p = value(found, "right in every order")
    assert (one, two, gap) == (1, 0, 1) and p < 0.05
    back = compare_runs(*reversed(runs), num_draws=60)
    assert value(back, "right in every order")[2] == -1
    text = comparison_markdown(found, "zh")
    assert "sees 与 letter 的比较" in text and "选择题" in text


def test_a_run_is_no_better_than_itself(runs: tuple[Path, Path]) -> None:
    found = compare_runs(runs[0], runs[0], num_draws=50)
    assert all(row.contrast.difference.value == 0 for row in found.rows)
    assert all(row.contrast.p == 1 for row in found.rows)


def test_runs_that_were_asked_otherwise_are_refused(world: Path, runs: tuple[Path, Path]) -> None:
    short = run(world, "short", AskedModel(name="short"), limit=4, style="short")
    with pytest.raises(ConfigError, match=r"config\.style"):
        compare_runs(runs[0], short)
    assert compare_runs(runs[0], short, allow_different=True, num_draws=20).num_common == 4


def test_the_prompt_s_version_must_agree(world: Path, runs: tuple[Path, Path]) -> None:
    old = run(world, "old", AskedModel(), limit=2)
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["prompts"] = ["benchmark/0"]
    (old / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="prompts"):
        compare_runs(old, runs[0])


def test_data_that_has_changed_is_refused(tmp_path: Path) -> None:
    world = write_world(tmp_path, num_slides=1)
    one = run(world, "one", AskedModel(), limit=2)
    path = tmp_path / "dialogues.jsonl"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match="has changed"):
        compare_runs(one, one)
    with pytest.raises(InputError, match="can't be read"):
        compare_runs(one, one, root=tmp_path / "elsewhere")


def test_what_failed_is_no_common_question(world: Path, runs: tuple[Path, Path]) -> None:
    def moody(slide: SlideContext | None, question: str) -> str:
        if question.startswith("Where"):
            raise RuntimeError
        return looks(slide, question)

    failing = run(world, "failing", AskedModel(moody, name="moody"))
    found = compare_runs(runs[0], failing, num_draws=20)
    assert found.num_common == 12 and "open" not in {row.section for row in found.rows}


def test_a_folder_without_a_run_is_refused(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    with pytest.raises(ArtifactError, match="is not a benchmark run"):
        compare_runs(tmp_path, runs[0])


marks = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30)


@settings(max_examples=30)
@given(marks, st.integers(0, 5))
def test_a_contrast_is_the_difference_of_its_scores(
    pairs: list[tuple[bool, bool]], seed: int
) -> None:
    one, two = (np.array([[p[i], 1] for p in pairs], float) for i in (0, 1))
    boot = Bootstrap(np.arange(len(pairs)) // 2, num_draws=100, seed=seed)
    found = boot.contrast(one, two, ratio, len(pairs))
    back = boot.contrast(two, one, ratio, len(pairs))
    scores = [boot.of_sums(columns, ratio, len(pairs)) for columns in (one, two)]
    assert found.difference.value == pytest.approx(scores[0].value - scores[1].value)
    assert found.p == back.p and 0 < found.p <= 1
    assert found.difference.low == pytest.approx(-back.difference.high)
    whole = boot.ratio(one[:, 0])
    assert (scores[0].value, scores[0].low) == pytest.approx((whole.value, whole.low))


def test_p_of_a_known_difference() -> None:
    # Of two patients one differs: it is left out by one draw in four.
    boot = Bootstrap(np.array([0, 1]), num_draws=4000, seed=0)
    columns, none = np.array([[1, 1], [0, 1]], float), np.array([[0, 1], [0, 1]], float)
    found = boot.contrast(columns, none, ratio, 2)
    assert found.p == pytest.approx(0.5, abs=0.05)
    assert boot.contrast(none, none, ratio, 2).p == 1

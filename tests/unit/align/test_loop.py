"""The training loop: an interruption leaves no trace, and every weight has one optimiser."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pytest
import torch
from filelock import FileLock
from pydantic import ValidationError
from torch import Tensor, nn

from ruichat.align.loop import (
    DivergedError,
    Group,
    LoopConfig,
    MicroBatch,
    StepReport,
    build_optimisers,
    run_loop,
)
from ruichat.align.training.optimisers import divide
from ruichat.errors import ArtifactError, ConfigError, PrerequisiteError

OPTIMISERS = ("adamw", "muon")


class Decoder(nn.Module):
    """An embedding and two layers, with a norm and dropout each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.1))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer(x)
        return x


class Toy(nn.Module):
    """Parameters named as a language model's are; and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = Decoder()
        self.head = nn.Linear(8, 1)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.model(x)
        return self.head(x + self.frozen(x))


def points(step: int) -> Tensor:
    """Where the regression is asked for; the step alone decides."""
    return torch.randn(32, 4, generator=torch.Generator().manual_seed(step))


def loss_of(toy: Toy) -> Callable[[Tensor], Tensor]:
    def loss(x: Tensor) -> Tensor:
        return (toy(x)[:, 0] - x[:, 0] * 2 + x[:, 1]).square().mean()

    return loss


def settings(optimiser: Literal["adamw", "muon"], steps: int = 12) -> LoopConfig:
    return LoopConfig(
        steps=steps, learning_rate=1e-2, optimiser=optimiser, log_every=1, checkpoint_every=5
    )


def train(toy: Toy, path: Path, config: LoopConfig, *, stop_at: int | None = None) -> list[str]:
    """Train, interrupted before step `stop_at`; returns what was logged."""
    lines: list[str] = []

    def draw(step: int) -> MicroBatch[Tensor]:
        if step == stop_at:
            raise KeyboardInterrupt
        return MicroBatch(points(step))

    run_loop(
        toy,
        lambda step: [lambda: draw(step)],
        loss_of(toy),
        config,
        path,
        name="toy",
        log=lines.append,
    )
    return lines


def losses(lines: list[str]) -> list[float]:
    return [float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_interrupted_run_ends_as_an_unbroken_one(
    tmp_path: Path, optimiser: Literal["adamw", "muon"]
) -> None:
    config = settings(optimiser)
    unbroken = Toy()
    train(unbroken, tmp_path / "unbroken", config)
    with pytest.raises(KeyboardInterrupt):
        train(Toy(), tmp_path / "broken", config, stop_at=8)
    resumed = Toy()
    lines = train(resumed, tmp_path / "broken", config)
    assert lines[0] == "toy: going on from step 5"
    assert len(losses(lines)) == 7
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_first_loss_after_an_interruption_is_a_mean_too(tmp_path: Path) -> None:
    config = settings("adamw")
    single = losses(train(Toy(), tmp_path / "unbroken", config))
    with pytest.raises(KeyboardInterrupt):
        train(Toy(), tmp_path / "broken", config, stop_at=8)
    seldom = config.model_copy(update={"log_every": 4})
    seen = losses(train(Toy(), tmp_path / "broken", seldom))
    assert seen[0] == pytest.approx(sum(single[5:8]) / 3, abs=2e-4)
    assert seen[1] == pytest.approx(sum(single[8:]) / 4, abs=2e-4)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_loss_falls(tmp_path: Path, optimiser: Literal["adamw", "muon"]) -> None:
    seen = losses(train(Toy(), tmp_path / "toy", settings(optimiser, steps=60)))
    assert sum(seen[-5:]) < 0.3 * sum(seen[:5])


def test_what_a_stage_carries_is_kept(tmp_path: Path) -> None:
    """Weights of examples that grow with the number seen: the step alone doesn't tell them."""

    class Seen:
        count = 0

        def state_dict(self) -> dict[str, int]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.count = state["count"]

    def run(path: Path, *, stop_at: int | None = None, asked_after: int | None = None) -> Toy:
        toy, seen = Toy(), Seen()
        loss = loss_of(toy)

        def ask(report: StepReport) -> None:
            if report.step == asked_after:
                signal.raise_signal(signal.SIGTERM)

        def draw(step: int) -> MicroBatch[Tensor]:
            if step == stop_at:
                raise KeyboardInterrupt
            seen.count += 1
            return MicroBatch(points(step))

        run_loop(
            toy,
            lambda step: [lambda: draw(step)],
            lambda x: loss(x) / seen.count,
            settings("adamw").model_copy(update={"clip": 1e9}),
            path,
            name="toy",
            log=lambda line: None,
            carried=seen,
            after_step=ask,
        )
        return toy

    unbroken = run(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", stop_at=8)
    assert torch.equal(run(tmp_path / "broken").head.weight, unbroken.head.weight)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", asked_after=7)
    assert torch.equal(run(tmp_path / "stopped").head.weight, unbroken.head.weight)


def test_micro_batches_get_what_hangs_on_all_of_them(tmp_path: Path) -> None:
    """Parts that are centred over their whole step teach what one centred batch teaches."""
    config = settings("adamw")

    def run(path: Path, num: int) -> Toy:
        toy = Toy()
        rows = 32 // num

        def draw(step: int, i: int) -> MicroBatch[Tensor]:
            return MicroBatch(points(step)[rows * i : rows * (i + 1)] + 3, num_targets=rows)

        def centre(step: int, parts: Sequence[MicroBatch[Tensor]]) -> list[MicroBatch[Tensor]]:
            mean = torch.cat([part.content for part in parts]).mean(0)
            assert torch.allclose(mean, points(step).mean(0) + 3, atol=1e-5)
            return [replace(part, content=part.content - mean) for part in parts]

        toy.eval()
        run_loop(
            toy,
            lambda step: [lambda i=i: draw(step, i) for i in range(num)],
            lambda x: loss_of(toy.eval())(x) * len(x),
            config,
            path,
            name="toy",
            log=lambda line: None,
            before_step=centre,
        )
        return toy

    one, four = run(tmp_path / "one", 1), run(tmp_path / "four", 4)
    torch.testing.assert_close(one.head.weight, four.head.weight, atol=1e-5, rtol=1e-4)


def test_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    config = settings("adamw")
    done = Toy()
    train(done, tmp_path / "toy", config)
    again = Toy()
    train(again, tmp_path / "toy", config, stop_at=config.steps)
    assert torch.equal(again.head.weight, done.head.weight)
    assert not again.training


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_asks_for_no_gradient_stays(
    tmp_path: Path, optimiser: Literal["adamw", "muon"]
) -> None:
    toy = Toy()
    before = toy.frozen.weight.clone()
    train(toy, tmp_path / "toy", settings(optimiser))
    assert torch.equal(toy.frozen.weight, before)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_weight_is_in_one_optimiser(optimiser: Literal["adamw", "muon"]) -> None:
    toy = Toy()
    found = build_optimisers(toy, settings(optimiser))
    held = [id(p) for part in found for group in part.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in toy.parameters() if p.requires_grad}


def test_muon_takes_the_matrices_of_layers_and_nothing_else() -> None:
    toy = Toy()
    names = {id(p): name for name, p in toy.named_parameters()}
    by_kind = {
        type(part): {names[id(p)] for group in part.param_groups for p in group["params"]}
        for part in build_optimisers(toy, settings("muon"))
    }
    assert by_kind[torch.optim.Muon] == {"model.layers.0.0.weight", "model.layers.1.0.weight"}
    assert [type(part) for part in build_optimisers(toy, settings("adamw"))] == [torch.optim.AdamW]


def test_without_layers_all_is_left_to_adamw() -> None:
    found = build_optimisers(nn.Linear(4, 4), settings("muon"))
    assert [type(part) for part in found] == [torch.optim.AdamW]


@pytest.mark.parametrize("steps", [1, 2])
def test_too_few_steps_to_rise_and_fall_are_refused(steps: int) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        settings("adamw", steps=steps)


def test_the_fewest_steps_run(tmp_path: Path) -> None:
    assert len(losses(train(Toy(), tmp_path / "toy", settings("adamw", steps=3)))) == 3


# States


def stop_after(path: Path, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Toy(), path, settings("adamw"), stop_at=step)


def test_a_damaged_state_is_passed_over(tmp_path: Path) -> None:
    unbroken = Toy()
    train(unbroken, tmp_path / "unbroken", settings("adamw"))
    path = tmp_path / "toy"
    stop_after(path, 11)
    newest = path / "step-00000010" / "state.pt"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    resumed = Toy()
    lines = train(resumed, path, settings("adamw"))
    assert "digest" in lines[0] and lines[1] == "toy: going on from step 5"
    assert torch.equal(resumed.head.weight, unbroken.head.weight)


def test_nothing_but_damaged_states_is_an_error(tmp_path: Path) -> None:
    stop_after(tmp_path, 6)
    state = tmp_path / "step-00000005" / "state.pt"
    state.write_bytes(b"")
    with pytest.raises(ArtifactError, match="digest"):
        train(Toy(), tmp_path, settings("adamw"))


def test_a_state_of_another_schema_is_refused(tmp_path: Path) -> None:
    stop_after(tmp_path, 6)
    manifest = tmp_path / "step-00000005" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 0'))
    with pytest.raises(ArtifactError, match="schema 0"):
        train(Toy(), tmp_path, settings("adamw"))


def test_the_last_states_are_kept(tmp_path: Path) -> None:
    config = settings("adamw").model_copy(update={"checkpoint_every": 2, "keep": 3})
    train(Toy(), tmp_path, config)
    kept = sorted(path.name for path in tmp_path.glob("step-*"))
    assert kept == ["step-00000008", "step-00000010", "step-00000012"]


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    stop_after(tmp_path, 6)
    other = settings("adamw").model_copy(update={"learning_rate": 2e-2})
    with pytest.raises(ConfigError, match="other settings"):
        train(Toy(), tmp_path, other)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    stop_after(tmp_path, 6)
    toy = Toy()
    toy.head = nn.Linear(8, 2)
    with pytest.raises(ArtifactError, match=r"head\.bias, head\.weight"):
        train(toy, tmp_path, settings("adamw"))


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(ConfigError, match="another run"):
        train(Toy(), tmp_path, settings("adamw"))


# What a run tells


def test_what_trains_and_what_is_frozen_is_said_first(tmp_path: Path) -> None:
    lines = train(Toy(), tmp_path, settings("muon"))
    assert lines[:3] == [
        "toy trains rest: 97 parameters in embed, layers, head; AdamW, rate 0.01",
        "toy trains rest: 128 parameters in layers; Muon, rate 0.01",
        "toy leaves frozen: 72 parameters in frozen",
    ]


def test_curves_are_written_for_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    seen = losses(train(Toy(), tmp_path, settings("adamw")))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = events.Scalars("loss")
    assert [point.step for point in curve] == list(range(1, 13))
    assert [point.value for point in curve] == pytest.approx(seen, abs=1e-4)
    assert {"gradient_norm", "rate/rest"} <= set(events.Tags()["scalars"])


def test_wandb_that_is_missing_is_said(tmp_path: Path) -> None:
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    with pytest.raises(PrerequisiteError, match="wandb"):
        train(Toy(), tmp_path, settings("adamw").model_copy(update={"wandb": "trial"}))


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopConfig]:
    """Settings that tell it; in its place a module that keeps which runs were asked for."""
    (tmp_path / "wandb.py").write_text(
        "import types\n"
        "asked = []\n"
        "def init(*, id, **_):\n"
        "    asked.append(id)\n"
        "    made = id or f'made{len(asked)}'\n"
        "    nothing = lambda *_, **__: None\n"
        "    return types.SimpleNamespace(id=made, log=nothing, finish=nothing)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    yield settings("adamw").model_copy(update={"wandb": "trial"})
    monkeypatch.delitem(sys.modules, "wandb")


def test_wandb_goes_on_in_its_own_curves(tmp_path: Path, wandb: LoopConfig) -> None:
    for folder in ("one", "one", "other"):
        train(Toy(), tmp_path / folder, wandb)
        shutil.rmtree(tmp_path / folder / "step-00000012", ignore_errors=True)
    assert importlib.import_module("wandb").asked == [None, "made1", None]


def test_wandb_tells_apart_what_kept_no_state(tmp_path: Path, wandb: LoopConfig) -> None:
    """A run that ended before its first state leaves its folder to any other."""
    with pytest.raises(KeyboardInterrupt):
        train(Toy(), tmp_path / "one", wandb, stop_at=2)
    train(Toy(), tmp_path / "one", wandb.model_copy(update={"learning_rate": 1e-3}))
    assert importlib.import_module("wandb").asked == [None, None]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_no_number_names_step_and_records(tmp_path: Path, where: str) -> None:
    toy = Toy()

    def loss_of(content: tuple[int, Tensor]) -> Tensor:
        step, x = content
        loss = toy(x).square().mean()
        if step != 7:
            return loss
        # The root of nothing has a value, and no slope.
        return loss * float("nan") if where == "loss" else loss + (loss * 0).sqrt()

    with pytest.raises(
        DivergedError, match=rf"the {where} isn't finite in step 8.*slide 7"
    ) as error:
        run_loop(
            toy,
            lambda step: [lambda: MicroBatch((step, points(step)), records=(f"slide {step}",))],
            loss_of,
            settings("adamw"),
            tmp_path,
            name="toy",
            log=lambda line: None,
        )
    assert (error.value.step, error.value.records) == (7, ("slide 7",))
    assert all(bool(p.isfinite().all()) for p in toy.parameters())


# Groups and batches


def test_groups_have_rates_of_their_own(tmp_path: Path) -> None:
    toy, seen = Toy(), []
    run_loop(
        toy,
        lambda step: [lambda: MicroBatch(points(step))],
        loss_of(toy),
        settings("adamw"),
        tmp_path,
        name="toy",
        log=lambda line: None,
        groups=[Group("slow", ("head.",), 1e-3)],
        after_step=lambda report: seen.append(report.rates),
    )
    for rates in seen:
        assert rates["rest"] == pytest.approx(10 * rates["slow"])


def test_a_group_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing of lost trains"):
        divide(Toy(), settings("adamw"), [Group("lost", ("nowhere",), 1e-3)])


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing asks"):
        divide(Toy().requires_grad_(False), settings("adamw"))


def test_the_loss_is_a_mean_over_all_targets() -> None:
    """However the words are cut into micro-batches."""

    def curve(folder: Path, sizes: list[int]) -> list[float]:
        toy, found = Toy().eval(), []
        for layer in toy.model.layers:
            layer[3] = nn.Identity()
        cuts = np.cumsum([0, *sizes])

        def part(step: int, number: int) -> MicroBatch[Tensor]:
            x = points(step)[cuts[number] : cuts[number + 1]]
            return MicroBatch(x, num_targets=len(x))

        run_loop(
            toy,
            lambda step: [lambda n=n: part(step, n) for n in range(len(sizes))],
            lambda x: loss_of(toy)(x) * len(x),
            settings("adamw"),
            folder,
            name="toy",
            log=lambda line: None,
            after_step=lambda report: found.append(report.loss),
        )
        return found

    with TemporaryDirectory() as folder:
        whole, cut = curve(Path(folder, "a"), [32]), curve(Path(folder, "b"), [5, 20, 7])
    assert cut == pytest.approx(whole, rel=1e-5)


def test_batches_made_ahead_are_the_same(tmp_path: Path) -> None:
    config = settings("adamw")
    here = losses(train(Toy(), tmp_path / "here", config))
    ahead = train(Toy(), tmp_path / "ahead", config.model_copy(update={"workers": 2}))
    assert losses(ahead) == here


def test_bf16_trains_float32_weights(tmp_path: Path) -> None:
    toy = Toy()
    config = settings("adamw", steps=30).model_copy(update={"precision": "bf16"})
    seen = losses(train(toy, tmp_path, config))
    assert sum(seen[-5:]) < 0.5 * sum(seen[:5])
    assert {p.dtype for p in toy.parameters()} == {torch.float32}


def test_gradient_checkpointing_needs_a_model_that_can(tmp_path: Path) -> None:
    config = settings("adamw").model_copy(update={"gradient_checkpointing": True})
    with pytest.raises(ConfigError, match="gradient_checkpointing"):
        train(Toy(), tmp_path, config)

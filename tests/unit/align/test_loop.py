"""The training loop: an interruption leaves no trace, and every weight has one optimiser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ruichat.align.loop import LoopConfig, MicroBatch, build_optimisers, run_loop

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

    def run(path: Path, *, stop_at: int | None = None) -> Toy:
        toy, seen = Toy(), Seen()
        loss = loss_of(toy)

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
        )
        return toy

    unbroken = run(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", stop_at=8)
    assert torch.equal(run(tmp_path / "broken").head.weight, unbroken.head.weight)


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

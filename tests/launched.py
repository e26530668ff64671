"""A tiny model's training, in processes of its own.

Run as `python launched.py FOLDER [MODE ...]`: each mode trains once, into FOLDER/MODE.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from ruichat.align.loop import Group, LoopConfig, MicroBatch, StepReport, run_loop

STEPS = 8
MICRO_BATCHES = 4


class Block(nn.Module):
    """A layer with dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.dropout(torch.tanh(self.inner(self.norm(x))), 0.2)


class Net(nn.Module):
    """Layers in a list as decoders have them, a single number, a frozen part, one unused."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(Block(16) for _ in range(2))
        self.scale = nn.Parameter(torch.ones(()))
        self.frozen = nn.Linear(16, 16).requires_grad_(False)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(16, 50)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x + self.frozen(x)) * self.scale


def draw(step: int, number: int, pause: float) -> MicroBatch[Tensor]:
    """Ids of a length that differs between micro-batches."""
    generator = torch.Generator().manual_seed(1000 * step + number)
    length = int(torch.randint(4, 12, (), generator=generator))
    ids = torch.randint(50, (2, length), generator=generator)
    time.sleep(pause)
    return MicroBatch(ids, 2 * (length - 1), ids.numel(), (f"record {step}.{number}",))


def train(
    folder: Path, *, steps: int = STEPS, workers: int = 0, pause: float = 0.0
) -> list[StepReport]:
    """Train, going on from what lies in the folder; what each step came to."""
    net = Net()
    reports: list[StepReport] = []

    def loss_of(ids: Tensor) -> Tensor:
        logits = net(ids[:, :-1])
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"
        )

    def after(report: StepReport) -> None:
        reports.append(report)
        if pause:
            with (folder / "losses").open("a") as file:
                file.write(f"{report.step} {report.loss.hex()}\n")

    config = LoopConfig(
        steps=steps, learning_rate=1e-2, log_every=1, checkpoint_every=3, workers=workers
    )
    run_loop(
        net,
        lambda step: [
            lambda number=number: draw(step, number, pause) for number in range(MICRO_BATCHES)
        ],
        loss_of,
        config,
        folder,
        name="net",
        log=print,
        groups=[Group("head", ("head.",), 3e-3)],
        after_step=after,
    )
    return reports


def train_slowly(folder: Path, steps: int) -> None:
    """To be killed: losses go to a file as they come."""
    torch.set_num_threads(1)
    train(folder, steps=steps, workers=1, pause=0.002)


def main() -> None:
    """Every mode that is named, one after the other."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for mode in sys.argv[2:]:
        if mode == "shards":
            os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
        reports = train(folder / mode)
        if os.environ.get("RANK", "0") == "0":
            curve = [[r.loss, r.gradient_norm, r.num_targets] for r in reports]
            (folder / f"{mode}.json").write_text(json.dumps(curve))


if __name__ == "__main__":
    main()

"""Stages launched in two processes: their loss goes as in one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import launched_stages
import numpy as np
import pytest
import torch
from fakes_align import write_site

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages by one process, then by a real launch of two: copied (DDP), divided (FSDP2)."""
    root = write_site(tmp_path_factory.mktemp("site"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    launched_stages.train(root, root / "alone", root / "alone" / "align" / "checkpoint")
    torch.set_num_threads(threads)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    done = subprocess.run(
        [sys.executable, *launch, "tests/launched_stages.py", str(root), "copies", "shards"],
        cwd=REPOSITORY,
        env=os.environ
        | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def curve(folder: Path) -> list[float]:
    """The loss of every step, as TensorBoard has it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars("loss")]


@pytest.mark.parametrize("stage", launched_stages.STAGES)
@pytest.mark.parametrize("layout", ["copies", "shards"])
def test_two_processes_have_the_loss_curve_of_one(site: Path, stage: str, layout: str) -> None:
    wanted = curve(site / "alone" / stage / stage)
    found = curve(site / layout / stage / stage)
    assert len(wanted) >= 4
    np.testing.assert_allclose(found, wanted, rtol=1e-5)

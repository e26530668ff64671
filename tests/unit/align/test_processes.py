"""Two processes reach the numbers of one; kills and stops leave no trace; lone ones are refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import launched
import numpy as np
import pytest
import torch

from ruichat.align.training.processes import check_launch, wanted_layout
from ruichat.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real launch of two processes that trains by DDP, then by FSDP2; and one alone."""
    folder = tmp_path_factory.mktemp("launch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
        *("--master_port", str(port), "tests/launched.py", str(folder), "copies", "shards"),
    ]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {mode: json.loads((folder / f"{mode}.json").read_text()) for mode in MODES}
    alone = [[r.loss, r.gradient_norm, r.num_targets] for r in launched.train(folder / "alone")]
    return {"alone": alone, "folder": folder, "output": done.stdout, **found}


MODES = ("copies", "shards")


@pytest.mark.parametrize("mode", MODES)
def test_two_processes_reach_the_numbers_of_one(curves: dict[str, Any], mode: str) -> None:
    assert len(curves[mode]) == launched.STEPS
    np.testing.assert_allclose(curves[mode], curves["alone"], rtol=1e-5)
    # One process printed, once.
    assert curves["output"].count(f"net step {launched.STEPS}/{launched.STEPS}") == len(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_a_state_of_two_processes_is_one_of_one(curves: dict[str, Any], mode: str) -> None:
    states = [
        torch.load(curves["folder"] / name / "step-00000008" / "state.pt", weights_only=True)
        for name in (mode, "alone")
    ]
    assert states[0]["model"].keys() == states[1]["model"].keys()
    for name, value in states[1]["model"].items():
        torch.testing.assert_close(states[0]["model"][name], value, rtol=1e-4, atol=1e-5)
    moments = [state["optimisers"][0]["state"] for state in states]
    assert moments[0].keys() >= moments[1].keys()
    for number, of_parameter in moments[1].items():
        torch.testing.assert_close(
            moments[0][number]["exp_avg_sq"], of_parameter["exp_avg_sq"], rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("mode", MODES)
def test_one_process_goes_on_from_a_state_of_two(curves: dict[str, Any], mode: str) -> None:
    folder = curves["folder"] / mode
    (folder / "step-00000008" / "manifest.json").unlink()
    reports = launched.train(folder)
    assert [report.step for report in reports] == [7, 8]
    losses = [loss for loss, *_ in curves["alone"][6:]]
    np.testing.assert_allclose([report.loss for report in reports], losses, rtol=1e-5)


def kill_and_resume(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, steps: int, kills: int
) -> list[tuple[int, str]]:
    """Train in processes that are killed at random moments; every loss that was reached."""
    context = multiprocessing.get_context("forkserver")
    # Its server imports torch once, before it forks; it looks for modules in PYTHONPATH alone.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context.set_forkserver_preload(["launched", "accelerate", "torch.utils.tensorboard"])
    log, rng = folder / "losses", random.Random(0)
    folder.mkdir()

    def reached() -> int:
        lines = log.read_text().splitlines() if log.exists() else []
        return len(lines)

    for number in range(kills + 1):
        process = context.Process(target=launched.train_slowly, args=(folder, steps))
        process.start()
        last = number == kills
        wanted = 10**9 if last else reached() + rng.randint(1, max(1, steps // kills))
        while process.is_alive() and reached() < wanted:
            time.sleep(0.002)
        if not last:
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
        process.join()
    assert process.exitcode == 0
    return [(int(step), loss) for step, loss in map(str.split, log.read_text().splitlines())]


def differing(folder: Path, monkeypatch: pytest.MonkeyPatch, *, steps: int, kills: int) -> int:
    """Steps whose loss was another than in an unbroken run, of all that were taken."""
    # In as many threads as the killed ones: others add up in another order.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        unbroken = {r.step: r.loss.hex() for r in launched.train(folder / "unbroken", steps=steps)}
    finally:
        torch.set_num_threads(threads)
    taken = kill_and_resume(folder / "killed", monkeypatch, steps=steps, kills=kills)
    assert {step for step, _ in taken} == set(unbroken)
    assert len(taken) > steps, "no kill cost a step"
    return sum(unbroken[step] != loss for step, loss in taken)


def test_kills_change_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert differing(tmp_path, monkeypatch, steps=20, kills=3) == 0


@pytest.mark.proof
def test_twenty_kills_change_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert differing(tmp_path, monkeypatch, steps=200, kills=20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_the_state(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = launched.draw

    def signalled(step: int, part: int, pause: float) -> Any:
        if (step, part) == (4, 0):
            os.kill(os.getpid(), number)
        return draw(step, part, pause)

    before = signal.getsignal(number)
    monkeypatch.setattr(launched, "draw", signalled)
    with pytest.raises(KeyboardInterrupt):
        launched.train(tmp_path)
    assert signal.getsignal(number) == before
    # The batch that was being drawn is learnt before the stop.
    assert (tmp_path / "step-00000005" / "manifest.json").is_file()
    monkeypatch.setattr(launched, "draw", draw)
    assert [report.step for report in launched.train(tmp_path)] == [6, 7, 8]


# Launches


def test_the_environment_of_a_lone_launch_is_refused() -> None:
    """As accelerate itself makes it: on a CPU it starts one process where two are asked for."""
    launch = pytest.importorskip("accelerate.commands.launch")
    arguments = ["--cpu", "--num_processes", "2", "--num_machines", "1", "script.py"]
    parsed = launch.launch_command_parser().parse_args(arguments)
    parsed.mixed_precision, parsed.dynamo_backend = "no", "no"
    parsed.num_cpu_threads_per_process = 1
    _, environment = launch.prepare_simple_launcher_cmd_env(parsed)
    with pytest.raises(ConfigError, match="started one") as error:
        check_launch(environment, 1)
    assert "ACCELERATE_USE_CPU=1" in error.value.hint


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_one_of_several_lone_processes_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} says that 4 processes"):
        check_launch({name: "4"}, 1)
    check_launch({name: "4"}, 4)
    check_launch({name: "1"}, 1)


def test_the_first_fsdp_is_refused() -> None:
    with pytest.raises(ConfigError, match="version 1; allowed: 2"):
        wanted_layout({"ACCELERATE_USE_FSDP": "true"})
    assert wanted_layout({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}) == "shards"
    assert wanted_layout({}) == "copies"

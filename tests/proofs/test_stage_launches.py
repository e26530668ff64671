"""Stages on dialogues: two processes as one, and twenty kills without a trace."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fakes_align import align_settings, settings_of, write_site

from ruichat.align.stages.align import AlignConfig, train_align
from ruichat.align.stages.instruct import InstructConfig, train_instruct
from ruichat.model.checkpoint_files import read_manifest

pytestmark = pytest.mark.proof

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose language model has been aligned by one process."""
    root = write_site(tmp_path_factory.mktemp("site"))
    values = align_settings(root, contrastive=0.1)
    (root / "align.yaml").write_text(yaml.safe_dump(values))
    train_align(AlignConfig.model_validate(values), root, root / "align")
    values = instruct_settings(root)
    (root / "instruct.yaml").write_text(yaml.safe_dump(values))
    train_instruct(InstructConfig.model_validate(values), root, root / "instruct")
    return root


def instruct_settings(root: Path) -> dict[str, Any]:
    """Two epochs of short steps, with dropout, so that every kind of state counts."""
    values = settings_of(
        base=str(root / "align" / "checkpoint"),
        lora={"rank": 2, "alpha": 4, "dropout": 0.1},
        projector_rate=0.001,
    )
    values["batches"] = {"budget": {"tokens": 260, "tiles": 60}, "micro_batches": 2, "epochs": 2}
    values["training"]["checkpoint_every"] = 1
    return values


def newest(folder: Path, stage: str) -> dict[str, Any]:
    state = max((folder / stage).glob("step-*")) / "state.pt"
    return torch.load(state, weights_only=True)


@pytest.mark.parametrize("stage", ["align", "instruct"])
@pytest.mark.parametrize("layout", ["copies", "shards"])
def test_two_processes_train_what_one_does(site: Path, stage: str, layout: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    out = site / f"{stage}-{layout}"
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    if layout == "shards":
        environment |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    arguments = ["--config", str(site / f"{stage}.yaml"), "--data", str(site), "--out", str(out)]
    command = [sys.executable, *launch, "-m", "ruichat", "align", stage, *arguments]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=300)
    found, wanted = newest(out, stage)["model"], newest(site / stage, stage)["model"]
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)
    made = read_manifest(out / "checkpoint").details["files"].keys()
    assert made == read_manifest(site / stage / "checkpoint").details["files"].keys()


def states(out: Path) -> set[str]:
    """Names of the states that were begun."""
    return {path.name for path in (out / "instruct").glob("step-*")}


def train(root: Path, out: Path) -> None:
    """In a process of its own, to be killed."""
    torch.set_num_threads(1)
    values = instruct_settings(root)
    train_instruct(InstructConfig.model_validate(values), root, out)


def test_twenty_kills_leave_the_same_checkpoint(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, adapter and optimiser, to the byte, over two epochs."""
    context = multiprocessing.get_context("forkserver")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*sys.path, str(Path(__file__).parent)]))
    context.set_forkserver_preload(["test_stage_launches", "accelerate", "torch.utils.tensorboard"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(site, tmp_path / "unbroken")
    torch.set_num_threads(threads)
    rng, kills, seen = random.Random(0), 0, set[str]()
    out = tmp_path / "killed"
    while True:
        process = context.Process(target=train, args=(site, out))
        process.start()
        before, wait = states(out), rng.uniform(0, 0.1)
        while process.is_alive() and (kills >= 20 or states(out) == before):
            time.sleep(0.002)
        time.sleep(wait)
        seen |= states(out)
        if not process.is_alive():
            process.join()
            assert process.exitcode == 0
            if kills >= 20:
                break
            # Finished before its kill: it begins anew.
            shutil.rmtree(out)
            continue
        process.kill()
        process.join()
        kills += 1
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        wanted = (tmp_path / "unbroken" / "checkpoint" / name).read_bytes()
        assert (out / "checkpoint" / name).read_bytes() == wanted, name
    a, b = (newest(folder, "instruct") for folder in (tmp_path / "unbroken", out))
    for one, other in zip(a["optimisers"], b["optimisers"], strict=True):
        torch.testing.assert_close(one["state"], other["state"], rtol=0, atol=0)
    assert len(seen) > 3

"""DeepSpeed by accelerate's config: handed over, stepped, kept and gone on from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fakes_deepspeed
import launched
import pytest

from ruichat.align.training.processes import Processes, wanted_layout
from ruichat.align.training.zero import check_config, parts_of_each
from ruichat.errors import ConfigError, PrerequisiteError


def test_without_the_package_the_way_out_is_told() -> None:
    with pytest.raises(PrerequisiteError, match="DeepSpeed, which isn't installed") as error:
        wanted_layout({"ACCELERATE_USE_DEEPSPEED": "true"})
    assert "ruichat[deepspeed]" in error.value.hint and "FSDP" in error.value.hint


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": {"type": "AdamW"}}, "has 'optimizer'"),
        ({"scheduler": {"type": "WarmupLR"}}, "has 'scheduler'"),
        ({"bf16": {"enabled": True}}, "has 'bf16'"),
        ({"zero_optimization": {"stage": 3}}, "ZeRO stage 3; allowed: 0, 1, 2"),
    ],
)
def test_what_the_stage_says_itself_is_refused_there(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        check_config(config)
    assert error.value.hint


def test_a_plain_config_is_taken() -> None:
    check_config({"zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}})


def test_micro_batches_are_dealt_evenly() -> None:
    processes: Any = Processes.__new__(Processes)
    object.__setattr__(processes, "num", 3)
    assert parts_of_each(6, processes) == 2
    with pytest.raises(ConfigError, match="4 micro-batches for 3 processes"):
        parts_of_each(4, processes)


def launch(folder: Path, stand_in: Path) -> list[list[float]]:
    """A process under the stand-in, as accelerate launches it; what each step came to."""
    settings = folder / "deepspeed.json"
    zero = {"zero_optimization": {"stage": 2}, "train_batch_size": "auto"}
    settings.write_text(
        json.dumps(
            {
                **zero,
                "train_micro_batch_size_per_gpu": "auto",
                "gradient_accumulation_steps": "auto",
                "gradient_clipping": "auto",
            }
        )
    )
    environment = os.environ | {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(settings),
        "PYTHONPATH": f"{stand_in}:{os.getcwd()}",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20000 + os.getpid() % 20000),
        **dict.fromkeys(("RANK", "LOCAL_RANK"), "0"),
        "WORLD_SIZE": "1",
    }
    done = subprocess.run(
        [sys.executable, "tests/launched.py", str(folder), "zero"],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "zero.json").read_text())


def test_steps_are_those_of_the_loop_alone_and_go_on(tmp_path: Path) -> None:
    stand_in = fakes_deepspeed.install(tmp_path / "site")
    alone = [[r.loss, r.gradient_norm, r.num_targets] for r in launched.train(tmp_path / "alone")]
    zero = launch(tmp_path, stand_in)
    assert len(zero) == launched.STEPS
    for one, two in zip(alone, zero, strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    states = sorted((tmp_path / "zero").glob("step-*"))
    assert (states[0] / "zero").is_dir()
    shutil.rmtree(states[1])
    again = launch(tmp_path, stand_in)
    assert again == zero[int(states[0].name[5:]) :]
    with pytest.raises(Exception, match="states of 0 optimisers, not 1"):
        shutil.rmtree(states[1])
        launched.train(tmp_path / "zero")

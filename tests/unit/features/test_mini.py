"""The embedded encoder: one set of arrays, two runtimes, the same embeddings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ruichat.errors import ArtifactError, ConfigError, PrerequisiteError
from ruichat.features.encoder import ENCODERS, load_encoder
from ruichat.features.mini.encoder import MiniEncoder
from ruichat.features.mini.graph import array_shapes
from ruichat.features.mini.network import MiniModule
from ruichat.features.runtime.ways import RunConfig, Way


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the true architecture, batch norms that have seen something."""
    torch.manual_seed(0)
    module = MiniModule(ENCODERS.get("mini"))
    for name, value in module.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name in ("center", "reduction"):
            value.normal_()
    path = tmp_path_factory.mktemp("mini") / "encoder.safetensors"
    save_file(module.state_dict(), path)
    return path


@pytest.mark.parametrize("side", [224, 96])
def test_runtimes_agree(weights: Path, side: int) -> None:
    tiles = np.random.default_rng(side).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    graph = MiniEncoder.load(weights, RunConfig(runtime="openvino")).encode(tiles)
    network = MiniEncoder.load(weights, RunConfig(runtime="torch")).encode(tiles)
    assert graph.shape == (3, ENCODERS.get("mini").dim)
    np.testing.assert_allclose(graph, network, atol=1e-3 * np.abs(network).max())
    assert np.abs(graph[0] - graph[1]).max() > 1e-2


def test_shapes_are_those_of_the_network() -> None:
    card = ENCODERS.get("mini")
    state = MiniModule(card).state_dict()
    arrays = {name: tuple(value.shape) for name, value in state.items() if value.ndim > 0}
    assert arrays == array_shapes(card)


def test_no_tiles_give_no_embeddings(weights: Path) -> None:
    mini = MiniEncoder.load(weights, RunConfig(runtime="openvino"))
    none = mini.encode(np.zeros((0, 224, 224, 3), np.uint8))
    assert none.shape == (0, ENCODERS.get("mini").dim)


def test_on_a_cpu_torch_is_not_loaded(weights: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from ruichat.features.mini.encoder import MiniEncoder;"
        "from ruichat.features.runtime.ways import RunConfig;"
        "encoder = MiniEncoder.load(Path(sys.argv[1]), RunConfig(runtime='openvino'));"
        "encoder.encode(np.zeros((1, 64, 64, 3), np.uint8)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(weights)], check=False).returncode == 0


def test_other_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="missing"):
        MiniEncoder.load(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="encoder"):
        MiniEncoder.load(broken)
    other = tmp_path / "other.safetensors"
    save_file({"center": torch.zeros(3)}, other)
    with pytest.raises(ArtifactError, match="arrays differ"):
        MiniEncoder.load(other)


def test_it_runs_in_float32_only() -> None:
    with pytest.raises(ConfigError, match="fp32 only, not in bf16"):
        load_encoder("mini", run=RunConfig(precision="bf16"))
    assert load_encoder("mini", run=RunConfig(device="cpu")).way == Way("openvino", "fp32")
    assert load_encoder("mini", run=RunConfig(runtime="torch")).way == Way("torch", "fp32")

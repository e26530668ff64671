"""Running the `mini` encoder: statistics of the network, reduced to the card's width."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.errors import ArtifactError, PrerequisiteError
from ruichat.features.encoder import ENCODERS, EncoderCard
from ruichat.features.mini.graph import Arrays, array_shapes, build_graph
from ruichat.features.runtime.ways import RunConfig, Way
from ruichat.openvino import compile_graph

WEIGHTS = Path(__file__).parents[2] / "assets" / "mini" / "encoder.safetensors"

_BATCH = 32
"""Tiles per call; larger batches leave the cache and gain nothing on a CPU."""

Runner = Callable[[Float32[np.ndarray, "n 3 h w"]], Float32[np.ndarray, "n d"]]
"""From intensities in 0..255 to embeddings."""


class MiniEncoder:
    """The `mini` encoder on this machine's fastest runtime.

    Args:
        arrays: weights by name, float32; see `network.MiniModule`.
        digest: of the weights' file.
        config: how it may be run; "auto" takes a GPU where there is one, else OpenVINO.
    """

    def __init__(self, arrays: Arrays, digest: str, config: RunConfig) -> None:
        self.card: EncoderCard = ENCODERS.get("mini")
        self.digest = digest
        self._arrays = arrays
        self._config = config
        self._way: Way | None = None
        self._run: Runner | None = None

    @classmethod
    def load(cls, path: Path = WEIGHTS, config: RunConfig | None = None) -> MiniEncoder:
        """Load weights from a safetensors file; nothing is compiled before the first tile.

        Raises:
            PrerequisiteError: the file is missing.
            ArtifactError: it holds other weights.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if not path.is_file():
            raise PrerequisiteError(
                f"the weights of encoder 'mini' are missing at {path.name}",
                hint="Install ruichat again, or run: ruichat align mini",
            )
        content = path.read_bytes()
        try:
            arrays = {k: v.astype(np.float32) for k, v in load(content).items() if v.ndim > 0}
        except (SafetensorError, ValueError) as error:
            raise _foreign(path, str(error)) from error
        shapes = {name: array.shape for name, array in arrays.items()}
        wanted = array_shapes(ENCODERS.get("mini"))
        wrong = [name for name in wanted.keys() | shapes if wanted.get(name) != shapes.get(name)]
        if wrong:
            raise _foreign(path, f"{len(wrong)} arrays differ, such as {min(wrong)}")
        return cls(arrays, hashlib.sha256(content).hexdigest(), config or RunConfig())

    @property
    def way(self) -> Way:
        """How it is run.

        Raises:
            ConfigError, PrerequisiteError: it can't be run as its config wants.
        """
        if self._way is None:
            self._way = self._config.ways(has_gpu=self._finds_gpu())[0]
        return self._way

    def encode(self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]) -> Float32[np.ndarray, "n d"]:
        """One embedding per RGB tile.

        Args:
            tiles: of any one size from 64 px; the card states what training saw.
        """
        if self._run is None:
            self._run = self._start()
        parts = [
            self._run(np.ascontiguousarray(part.transpose(0, 3, 1, 2), dtype=np.float32))
            for part in (tiles[i : i + _BATCH] for i in range(0, len(tiles), _BATCH))
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.card.dim), np.float32)

    def _finds_gpu(self) -> bool:
        config = self._config
        if config.device == "cpu" or config.runtime not in ("auto", "cuda"):
            return False
        # Importing torch takes seconds; without a driver it can't find a GPU.
        if shutil.which("nvidia-smi") is None:
            return False
        import torch

        return torch.cuda.is_available()

    def _start(self) -> Runner:
        threads, device = self._config.num_threads, self._config.device
        if self.way.runtime == "openvino":
            return _openvino_runner(self._arrays, self.card, threads)
        if self.way.runtime == "cuda":
            return _torch_runner(self._arrays, self.card, "cuda" if device == "auto" else device)
        return _torch_runner(self._arrays, self.card, "cpu", threads)


def _foreign(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path.name} doesn't hold this version's encoder: {why[:200]}",
        hint="Install ruichat again",
    )


def _openvino_runner(arrays: Arrays, card: EncoderCard, num_threads: int | None) -> Runner:
    # In full precision: bf16 moves embeddings by 3e-2, more than a stain shift does.
    compiled = compile_graph(build_graph(arrays, card), num_threads=num_threads)

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(compiled(pixels)[0], dtype=np.float32)

    return run


def _torch_runner(
    arrays: Arrays, card: EncoderCard, device: str, num_threads: int | None = None
) -> Runner:
    import torch

    from ruichat.features.mini.network import MiniModule

    module = MiniModule(card)
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    # Counters of training steps, which no answer depends on, aren't kept.
    module.load_state_dict(state, strict=False)
    module.eval().to(device)
    if num_threads is not None:
        torch.set_num_threads(num_threads)

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(torch.from_numpy(pixels).to(device)).float().cpu().numpy()

    return run

"""Running the `mini` encoder: statistics of the network, reduced to the card's width."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from ruichat.errors import ArtifactError, PrerequisiteError
from ruichat.features.encoder import ENCODERS, EncoderCard
from ruichat.features.mini.network import NUM_STATISTICS, MiniNetwork
from ruichat.openvino import import_openvino

WEIGHTS = Path(__file__).parents[2] / "assets" / "mini" / "encoder.safetensors"

Runtime = Literal["auto", "torch", "openvino"]

_BATCH = 32
"""Tiles per call; larger batches leave the cache and gain nothing on a CPU."""


class MiniModule(nn.Module):
    """Network and reduction in one graph, from bytes to embeddings.

    The statistics are whitened onto their leading principal components over the training tiles:
    without it a few bright channels would outweigh all others in every distance.
    """

    center: Tensor
    reduction: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, card: EncoderCard) -> None:
        super().__init__()
        self.network = MiniNetwork()
        self.register_buffer("center", torch.zeros(NUM_STATISTICS))
        self.register_buffer("reduction", torch.zeros(card.dim, NUM_STATISTICS))
        self.register_buffer("mean", torch.tensor(card.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Embeddings of intensities in 0..255."""
        statistics = self.network((rgb / 255 - self.mean) / self.std)
        return (statistics - self.center) @ self.reduction.T


class MiniEncoder:
    """The `mini` encoder on this machine's fastest runtime.

    Args:
        module: network with weights, in evaluation mode.
        digest: of the weights' file.
        runtime: "auto" takes a GPU through torch where there is one, else OpenVINO.
    """

    def __init__(self, module: MiniModule, digest: str, runtime: Runtime = "auto") -> None:
        self.card: EncoderCard = ENCODERS.get("mini")
        self.digest = digest
        self._device = "cuda" if torch.cuda.is_available() and runtime != "openvino" else "cpu"
        self._module = module.eval().to(self._device)
        self._openvino = runtime == "openvino" or (runtime == "auto" and self._device == "cpu")
        self._compiled: Any = None

    @classmethod
    def load(cls, path: Path = WEIGHTS, runtime: Runtime = "auto") -> MiniEncoder:
        """Load weights from a safetensors file.

        Raises:
            PrerequisiteError: the file is missing.
            ArtifactError: it holds other weights.
        """
        from safetensors.torch import load_file

        if not path.is_file():
            raise PrerequisiteError(
                f"the weights of encoder 'mini' are missing at {path.name}",
                hint="Install ruichat again, or run: ruichat align mini",
            )
        module = MiniModule(ENCODERS.get("mini"))
        try:
            module.load_state_dict(load_file(path))
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{path.name} doesn't hold this version's encoder: {str(error)[:200]}",
                hint="Install ruichat again",
            ) from error
        return cls(module, hashlib.sha256(path.read_bytes()).hexdigest(), runtime)

    def encode(self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]) -> Float32[np.ndarray, "n d"]:
        """One embedding per RGB tile.

        Args:
            tiles: of any one size from 64 px; the card states what training saw.
        """
        parts = [self._encode(tiles[i : i + _BATCH]) for i in range(0, len(tiles), _BATCH)]
        if not parts:
            return np.zeros((0, self.card.dim), np.float32)
        return np.concatenate(parts)

    def _encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2), dtype=np.float32)
        if self._openvino:
            # Compiled when the first tile comes: a slide read before needs no tile.
            self._compiled = self._compiled or _compile(self._module)
            return np.array(self._compiled(pixels)[0], dtype=np.float32)
        with torch.inference_mode():
            return self._module(torch.from_numpy(pixels).to(self._device)).float().cpu().numpy()


def _compile(module: MiniModule) -> Any:
    ov = import_openvino()
    model = ov.convert_model(module, example_input=torch.zeros(2, 3, 224, 224))
    model.reshape([-1, 3, -1, -1])
    # Full precision: bf16 moves embeddings by 3e-2, more than a stain shift does.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    return ov.Core().compile_model(model, "CPU", settings)

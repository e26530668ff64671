"""One function per runtime: from a module to a call that turns tiles into embeddings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from ruichat.errors import ModelError
from ruichat.features.runtime.ways import Precision, Way
from ruichat.openvino import compile_graph, import_openvino

Tiles = NDArray[np.uint8] | NDArray[np.float32]

Runner = Callable[[Tiles], NDArray[np.float32]]
"""From tiles [b,h,w,3], of the size and type that it was made for, to embeddings [b,d]."""

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TileModule(nn.Module):
    """A module with the scaling of pixels before it, so that bytes cross to the device.

    Args:
        module: from normalised pixels [b,3,h,w] to embeddings [b,d].
        mean: of red, green, blue in 0 to 1.
        std: of red, green, blue in 0 to 1.
        dtype: of the tiles, in 0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        dtype: torch.dtype = torch.uint8,
    ) -> None:
        super().__init__()
        self.module = module
        self.dtype = dtype
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(
        self, tiles: UInt8[Tensor, "b h w 3"] | Float32[Tensor, "b h w 3"]
    ) -> Float[Tensor, "b d"]:
        """Embeddings of RGB tiles."""
        pixels = tiles.permute(0, 3, 1, 2).float() / 255
        return self.module((pixels - self.mean) / self.std)


def start(
    module: TileModule,
    way: Way,
    size: tuple[int, int],
    *,
    device: str = "auto",
    num_threads: int | None = None,
) -> Runner:
    """Make a module ready to run.

    Args:
        module: in float32, in eval mode; on the CPU but where `way` is on a GPU. It may be moved
            to the device, and needn't be kept.
        way: how it is run.
        size: height and width of the tiles.
        device: which GPU; the first if "auto".
        num_threads: on the CPU; what the runtime takes by itself if None.

    Raises:
        PrerequisiteError: OpenVINO isn't installed.
        ModelError: it can't be traced for OpenVINO.
    """
    if way.runtime == "cuda":
        return _on_gpu(module, way.precision, "cuda" if device == "auto" else device)
    if way.runtime == "openvino":
        return _in_openvino(module, way.precision, size, num_threads)
    return _in_torch(module, way.precision, num_threads)


def _in_torch(module: TileModule, precision: Precision, num_threads: int | None) -> Runner:
    if num_threads is not None:
        torch.set_num_threads(num_threads)

    def run(tiles: Tiles) -> NDArray[np.float32]:
        with torch.inference_mode(), _cast("cpu", precision):
            return module(torch.from_numpy(tiles)).float().numpy()

    return run


def _on_gpu(module: TileModule, precision: Precision, device: str) -> Runner:
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(tiles: Tiles) -> NDArray[np.float32]:
        pinned = torch.from_numpy(tiles).pin_memory()
        # By default torch lets convolutions round float32 to 10 bits.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), _cast("cuda", precision), exact:
            return module(pinned.to(device, non_blocking=True)).float().cpu().numpy()

    return run


def _cast(device: str, precision: Precision) -> AbstractContextManager[Any]:
    """Products in that precision; sums, norms and the stream between blocks stay float32."""
    dtype = _DTYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device, dtype=dtype)


def _in_openvino(
    module: TileModule, precision: Precision, size: tuple[int, int], num_threads: int | None
) -> Runner:
    words = {"fp32": "f32", "bf16": "bf16"}
    compiled = compile_graph(
        _traced(module, size), precision=words[precision], num_threads=num_threads
    )

    def run(tiles: Tiles) -> NDArray[np.float32]:
        return np.array(compiled(tiles)[0], dtype=np.float32)

    return run


@contextmanager
def _without_remarks() -> Generator[None]:
    """Tracing fixes sizes, on purpose, and touches what models hold for training."""
    logger, root = logging.getLogger("transformers"), logging.getLogger()
    # OpenVINO sets the root logger to errors alone, and leaves it so where a conversion fails.
    level, kept = logger.level, (root.level, list(root.filters), list(root.handlers))
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        root.setLevel(kept[0])
        root.filters[:], root.handlers[:] = kept[1:]


def _traced(module: TileModule, size: tuple[int, int]) -> Any:
    """The module as an `openvino.Model` for any number of tiles of that size."""
    ov = import_openvino()
    example = torch.zeros((2, *size, 3), dtype=module.dtype)
    # Tensors made in inference mode can't be traced; without gradients is as good.
    with torch.inference_mode(False), torch.no_grad(), _without_remarks():
        try:
            return ov.convert_model(
                module, example_input=example, input=[("tiles", [-1, *size, 3])]
            )
        except Exception as error:  # its frontend raises types of its own, and torch's tracer any
            raise ModelError(
                f"the encoder can't be converted for OpenVINO ({str(error).strip()[:200]})",
                hint="Run it with --runtime torch",
            ) from error

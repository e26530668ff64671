"""The `mini` encoder as an OpenVINO graph, written operation by operation from its arrays.

Nothing is traced and torch isn't loaded, which would take seconds before the first tile.
`network.MiniNetwork` is the reference; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ruichat.features.encoder import EncoderCard
from ruichat.openvino import import_openvino

WIDTHS = (16, 40, 80, 160, 256)
"""Channels of the five stages, each at half the resolution of the one before."""

BLOCKS = (0, 1, 1, 1, 1)
"""Residual blocks behind each stage's first convolution."""

FIRST_BLOCK = 3
"""Index of a stage's first block: behind convolution, norm and ReLU."""

NUM_STATISTICS = 2 * sum(WIDTHS)

NORM_EPSILON = 1e-5
"""As in torch's BatchNorm2d."""

Arrays = Mapping[str, NDArray[np.float32]]


def build_graph(arrays: Arrays, card: EncoderCard) -> Any:
    """An `openvino.Model` from intensities in 0..255, [n,3,h,w], to embeddings, [n,d].

    Args:
        arrays: `network.*`, `center` and `reduction`, as `MiniModule` names them.
        card: states mean and spread of the intensities.
    """
    ov = import_openvino()
    builder = _Builder(arrays)
    pixels = builder.op.parameter([-1, 3, -1, -1], np.float32, name="pixels")
    result = builder.op.result(builder.embed(pixels, card))
    return ov.Model([result], [pixels], "ruichat_mini")


def array_shapes(card: EncoderCard) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays that make up the encoder."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(convolution: str, norm: str, width_out: int, width_in: int) -> None:
        shapes[f"{convolution}.weight"] = (width_out, width_in, 3, 3)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = (width_out,)

    width_in = 3
    for stage, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
        name = f"network.stages.{stage}."
        add(f"{name}0", f"{name}1", width, width_in)
        for block in range(blocks):
            for i in (1, 2):
                at = f"{name}{FIRST_BLOCK + block}."
                add(f"{at}conv{i}", f"{at}norm{i}", width, width)
        width_in = width
    shapes["center"] = (NUM_STATISTICS,)
    shapes["reduction"] = (card.dim, NUM_STATISTICS)
    return shapes


class _Builder:
    def __init__(self, arrays: Arrays) -> None:
        from openvino import opset15

        self.op: Any = opset15
        self.arrays = arrays

    def embed(self, pixels: Any, card: EncoderCard) -> Any:
        op = self.op
        mean, std = (
            op.constant(np.array(values, np.float32).reshape(1, 3, 1, 1) * 255)
            for values in (card.mean, card.std)
        )
        x = op.divide(op.subtract(pixels, mean), std)
        parts: list[Any] = []
        for stage, blocks in enumerate(BLOCKS):
            x = self._stage(x, f"network.stages.{stage}.", blocks)
            average = self._mean(x)
            variance = op.subtract(self._mean(op.multiply(x, x)), op.multiply(average, average))
            spread = op.sqrt(op.add(op.relu(variance), _scalar(1e-6)))
            parts += [average, spread]
        statistics = op.log(op.add(op.concat(parts, 1), _scalar(1e-2)))
        centred = op.subtract(statistics, op.constant(self.arrays["center"][None]))
        return op.matmul(centred, op.constant(self.arrays["reduction"]), False, True)

    def _stage(self, x: Any, name: str, blocks: int) -> Any:
        op = self.op
        x = op.relu(self._convolve(x, f"{name}0", f"{name}1", stride=2))
        for block in range(blocks):
            at = f"{name}{FIRST_BLOCK + block}."
            y = op.relu(self._convolve(x, f"{at}conv1", f"{at}norm1"))
            x = op.relu(op.add(x, self._convolve(y, f"{at}conv2", f"{at}norm2")))
        return x

    def _convolve(self, x: Any, convolution: str, norm: str, stride: int = 1) -> Any:
        """A 3x3 convolution with the batch norm behind it folded in."""
        op, a = self.op, self.arrays
        scale = a[f"{norm}.weight"] / np.sqrt(a[f"{norm}.running_var"] + NORM_EPSILON)
        shift = a[f"{norm}.bias"] - a[f"{norm}.running_mean"] * scale
        kernel = a[f"{convolution}.weight"] * scale[:, None, None, None]
        y = op.convolution(x, op.constant(kernel), [stride] * 2, [1, 1], [1, 1], [1, 1])
        return op.add(y, op.constant(shift[None, :, None, None]))

    def _mean(self, x: Any) -> Any:
        return self.op.reduce_mean(x, np.array([2, 3], np.int64), False)


def _scalar(value: float) -> Any:
    return np.array(value, np.float32)

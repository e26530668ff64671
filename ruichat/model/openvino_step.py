"""The decoder on OpenVINO: keys and values in buffers of ours, written in place."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.model.openvino_batch import MAX_TOGETHER, StepBatch
from ruichat.model.openvino_graph import PREFIX, build_graph, build_step_graph
from ruichat.model.region_state import Array, RegionState, Weights
from ruichat.model.shape import ModelShape
from ruichat.model.weights import join_pieces
from ruichat.openvino import compile_graph, import_openvino

BUCKET = 64
"""Buffers grow by so many text tokens. Ours: shapes that change at every step cost OpenVINO about
as much as the step itself; padding costs one masked column each."""

GATHER_S = 0.002
"""Longest wait for dialogues that were taken together before: below the time of a step."""


class OpenVinoState:
    """Keys and values read so far, padded to a multiple of `BUCKET`.

    Args:
        shape: the model's.
    """

    def __init__(self, shape: ModelShape) -> None:
        self.length = 0
        self.shared = 0  # of these, how many the row of a batch holds too
        sizes = (shape.num_layers, 2, shape.num_kv_heads, BUCKET, shape.head_dim)
        self.buffer: Array = np.zeros(sizes, np.float32)

    @property
    def num_bytes(self) -> int:
        """Memory that the keys and values take."""
        return self.buffer.nbytes

    def fork(self) -> OpenVinoState:
        """An independent copy."""
        twin = object.__new__(OpenVinoState)
        twin.length, twin.buffer, twin.shared = self.length, self.buffer.copy(), 0
        return twin

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` text tokens."""
        assert 0 <= length <= self.length
        self.length, self.shared = length, min(length, self.shared)

    def append(self, new: Float32[Array, "l 2 h t d"]) -> None:
        """Add keys and values of newly read text tokens."""
        end = self.length + new.shape[3]
        room = self.buffer.shape[3]
        if end > room:
            wide = -(-end // BUCKET) * BUCKET
            grown = np.zeros((*self.buffer.shape[:3], wide, self.buffer.shape[4]), np.float32)
            grown[:, :, :, : self.length] = self.buffer[:, :, :, : self.length]
            self.buffer = grown
        self.buffer[:, :, :, self.length : end] = new
        self.length = end


@dataclass(eq=False)
class _Step:
    """One text token of one dialogue, and what came of it."""

    state: OpenVinoState
    token_id: int
    regions: RegionState
    logits: Float32[Array, "1 v"] | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.logits is not None or self.error is not None


class OpenVinoDecoder:
    """Runs the layers of a checkpoint.

    One request serves all states in turn, under a lock: a step already uses every core. Steps of
    one text token that wait for the lock at the same time are taken together (`StepBatch`).

    Args:
        weights: the checkpoint's, float32; kept, not copied.
        shape: its sizes.
        num_threads: of OpenVINO; its own choice if 0.
    """

    runtime = "openvino"

    def __init__(self, weights: Weights, shape: ModelShape, num_threads: int = 0) -> None:
        ov: Any = import_openvino()
        self._tensor: Any = ov.Tensor
        weights = join_pieces(weights)
        self._weights, self._shape = weights, shape
        self._table = weights[f"{PREFIX}embed_tokens.weight"]
        self._rotary = _rotary_table(shape)
        threads = num_threads or None
        compiled = compile_graph(build_graph(weights, shape), num_threads=threads)
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()
        self._steps: deque[_Step] = deque()
        self._together = 1
        self._compile = lambda: compile_graph(build_step_graph(weights, shape), num_threads=threads)
        self._batch: StepBatch | None = None
        self._bound: tuple[Any, int, int] | None = None
        self._inputs: dict[str, NDArray[Any]] = {}

    def start(self) -> OpenVinoState:
        """A state that has read nothing."""
        return OpenVinoState(self._shape)

    def read(
        self, state: OpenVinoState, ids: Sequence[int], regions: RegionState, keep: int = 1
    ) -> Float32[Array, "r v"]:
        """See `decoder.Decoder`."""
        assert 0 < keep <= len(ids)
        if len(ids) == 1:
            return self._step(state, ids[0], regions)
        with self._lock:
            return self._read(state, ids, regions, keep)

    def _step(
        self, state: OpenVinoState, token_id: int, regions: RegionState
    ) -> Float32[Array, "1 v"]:
        """One text token, with those of other dialogues that wait for theirs."""
        mine = _Step(state, token_id, regions)
        self._steps.append(mine)
        with self._lock:
            while not mine.is_done:
                self._gather()
                num = min(len(self._steps), MAX_TOGETHER)
                self._together = num
                self._take([self._steps.popleft() for _ in range(num)])
        if mine.logits is None:
            raise mine.error or AssertionError("a step ends with logits or an error")
        return mine.logits

    def _gather(self) -> None:
        """Wait for those who were taken together: they come back within a moment of each other."""
        patience = time.perf_counter() + GATHER_S
        while len(self._steps) < self._together and time.perf_counter() < patience:
            time.sleep(GATHER_S / 8)

    def _take(self, steps: Sequence[_Step]) -> None:
        """Give each step its logits, or the error that its own thread raises."""
        try:
            if len(steps) == 1:
                (step,) = steps
                step.logits = self._read(step.state, [step.token_id], step.regions, 1)
            else:
                self._step_together(steps)
        except Exception as error:
            for step in steps:
                step.error = error

    def _step_together(self, steps: Sequence[_Step]) -> None:
        batch = self._batch = self._batch or StepBatch(self._compile(), self._shape, self._tensor)
        states = [step.state for step in steps]
        embeds = np.concatenate([self._embed([step.token_id], step.regions) for step in steps])
        rotary = self._rotary[:, [state.length for state in states]]
        logits, hidden, new = batch.run(states, embeds, rotary)
        for i, step in enumerate(steps):
            row = logits[i : i + 1]
            self._point(row, hidden[i : i + 1], step.regions)
            step.state.append(new[:, :, i, :, None])
            step.state.shared = step.state.length
            step.logits = row

    def _read(
        self, state: OpenVinoState, ids: Sequence[int], regions: RegionState, keep: int
    ) -> Float32[Array, "r v"]:
        inputs = self._bind(state.buffer, len(ids), keep)
        end = state.length + len(ids)
        inputs["embeds"][:] = self._embed(ids, regions)
        inputs["rotary"][:] = self._rotary[:, state.length : end]
        self._mask(inputs["mask"], state)
        self._request.infer()
        output = self._request.get_tensor
        logits = output("logits").data.copy()
        hidden = output("hidden").data
        self._point(logits, hidden, regions)
        state.append(output("new").data)
        return logits

    def _bind(self, buffer: Array, num: int, keep: int) -> dict[str, NDArray[Any]]:
        """Arrays that the request reads from; made anew only where shapes change."""
        if self._bound is not None and self._bound[1:] == (num, keep):
            if self._bound[0] is buffer:
                return self._inputs
            same = self._inputs["mask"].shape[1] == buffer.shape[3] + num
        else:
            same = False
        s = self._shape
        if not same:
            group = s.num_heads // s.num_kv_heads
            self._inputs = {
                "embeds": np.empty((num, s.width), np.float32),
                "rotary": np.empty((2, num, s.head_dim), np.float32),
                "mask": np.empty((group * num, buffer.shape[3] + num), np.float32),
                "rows": np.arange(num - keep, num, dtype=np.int64),
            }
            for name, array in self._inputs.items():
                self._set(name, array)
        for layer in range(s.num_layers):
            self._set(f"key.{layer}", buffer[layer, 0])
            self._set(f"value.{layer}", buffer[layer, 1])
        self._bound = (buffer, num, keep)
        return self._inputs

    def _set(self, name: str, array: NDArray[Any]) -> None:
        self._request.set_tensor(name, self._tensor(array, shared_memory=True))

    def _embed(self, ids: Sequence[int], regions: RegionState) -> Array:
        index = np.asarray(ids)
        embeds = self._table[index]
        name = index - self._shape.first_region_id
        named = (name >= 0) & (name < len(regions.embeds))
        if named.any():
            embeds[named] += regions.embeds[name[named]]
        return embeds

    def _mask(self, mask: Array, state: OpenVinoState) -> None:
        room = state.buffer.shape[3]
        num = mask.shape[1] - room
        mask[:, : state.length] = 0
        mask[:, state.length : room] = -np.inf
        if num == 1:
            mask[:, room:] = 0
            return
        causal = np.triu(np.full((num, num), -np.inf, np.float32), 1)
        mask[:, room:] = np.tile(causal, (len(mask) // num, 1))

    def _point(self, logits: Array, hidden: Array, regions: RegionState) -> None:
        first, num = self._shape.first_region_id, regions.pointer.shape[1]
        logits[:, first : first + num] += hidden @ regions.pointer
        logits[:, first + num : first + self._shape.num_region_ids] = -np.inf


def _rotary_table(shape: ModelShape) -> Float32[Array, "2 p d"]:
    """Cosines and sines for every position, as transformers computes them in float32."""
    powers = np.arange(0, shape.head_dim, 2, dtype=np.float32) / np.float32(shape.head_dim)
    frequency = (1.0 / np.float32(shape.rope_theta) ** powers).astype(np.float32)
    angle = np.arange(shape.max_positions, dtype=np.float32)[:, None] * frequency
    angle = np.concatenate([angle, angle], axis=1)
    return np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)

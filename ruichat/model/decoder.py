"""What a decoder step is: ids in, logits out, a state that remembers, forks and rewinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Float32

from ruichat.model.region_state import Array, RegionState

S = TypeVar("S", bound="DecoderState")


@runtime_checkable
class DecoderState(Protocol):
    """What was read so far; cheap to copy."""

    @property
    def length(self) -> int:
        """Text tokens read."""
        ...

    @property
    def num_bytes(self) -> int:
        """Memory that the keys and values take."""
        ...

    def fork(self: S) -> S:
        """An independent copy."""
        ...

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` text tokens."""
        ...


@runtime_checkable
class Decoder(Protocol[S]):
    """Runs a model's layers."""

    @property
    def runtime(self) -> str:
        """Name of what computes: openvino or torch."""
        ...

    def start(self) -> S:
        """A state that has read nothing."""
        ...

    def read(
        self, state: S, ids: Sequence[int], regions: RegionState, keep: int = 1
    ) -> Float32[Array, "r v"]:
        """Read text tokens into a state.

        Args:
            state: of this decoder; grows by the ids.
            ids: at least one.
            regions: of the slide.
            keep: for how many of the last ids to return logits.

        Returns:
            Logits after each of the last `keep` ids; names without a region are -inf.
        """
        ...

"""Settings of the training loop, and what a stage hands it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import AfterValidator, Field

from ruichat.config import Config

Log = Callable[[str], None]

T = TypeVar("T")

_WATCHING = ("log_every", "checkpoint_every", "keep", "workers", "wandb")
"""Settings that leave every number of a run as it is."""


class LoopConfig(Config):
    """Steps and optimiser of one stage."""

    steps: int = Field(ge=3)
    """The rate has to rise and to fall: `OneCycleLR` divides by zero without room for both."""
    learning_rate: float = Field(gt=0)
    """Of whatever is in no group with a rate of its own."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """What trains the matrices of decoder layers; all else is always AdamW's."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """In which matrices are multiplied; what trains is kept in float32 either way."""
    gradient_checkpointing: bool = False
    """Compute activations again on the way back instead of keeping them."""
    log_every: int = Field(default=50, gt=0)
    checkpoint_every: int = Field(default=200, gt=0)
    keep: int = Field(default=2, ge=1)
    """Kept states; older ones are removed."""
    workers: int = Field(default=0, ge=0)
    """Threads that make the next step's batches; 0 where making one changes what is carried, which
    settings of such stages ask for."""
    wandb: str = ""
    """Project of Weights & Biases that is told too; none if empty."""

    def numbers(self) -> str:
        """Fingerprint over what decides a run's numbers: others may change between resumes."""
        return self.model_copy(
            update={name: type(self).model_fields[name].default for name in _WATCHING}
        ).fingerprint()


def _in_order(loop: LoopConfig) -> LoopConfig:
    if loop.workers:
        raise ValueError(
            f"workers is {loop.workers}; allowed here: 0, since each step's slides hang on those "
            "of the steps before it"
        )
    return loop


InOrder = Annotated[LoopConfig, AfterValidator(_in_order)]
"""Of a stage whose batches change what is carried: they are made one after the other."""


@dataclass(frozen=True)
class Group:
    """Parameters that train at a rate of their own.

    Attributes:
        name: for the table and the curves.
        parts: a parameter belongs here if its name holds one of these.
        learning_rate: highest rate.
    """

    name: str
    parts: tuple[str, ...]
    learning_rate: float


@dataclass(frozen=True)
class MicroBatch(Generic[T]):
    """What one forward reads.

    Attributes:
        content: tensors, in dataclasses, dicts, lists or tuples; moved to the device.
        num_targets: words that carry a loss. The loss of a step is the sum over the whole global
            batch divided by their number there; 1 where the loss is a mean already.
        num_tokens: text tokens read, for the speed that is shown.
        records: names of what is in it, for messages.
    """

    content: T
    num_targets: int = 1
    num_tokens: int = 0
    records: tuple[str, ...] = ()


MicroBatches = Callable[[int], Sequence[Callable[[], MicroBatch[T]]]]
"""The global batch of a step, as functions that make its parts; see `run_loop`."""

BeforeStep = Callable[[int, Sequence[MicroBatch[T]]], Sequence[MicroBatch[T]]]
"""Adds to a process's micro-batches what hangs on the global batch; see `run_loop`."""


@dataclass(frozen=True)
class StepReport:
    """What one step came to, the same in every process.

    Attributes:
        step: steps done, this one included.
        loss: mean over the targets of the global batch.
        gradient_norm: before it is clipped.
        num_targets: of the global batch.
        num_tokens: of the global batch.
        rates: learning rate by group.
    """

    step: int
    loss: float
    gradient_norm: float
    num_targets: int
    num_tokens: int
    rates: dict[str, float]


@runtime_checkable
class Carried(Protocol):
    """What a stage carries from step to step beside its weights."""

    def state_dict(self) -> dict[Any, Any]:
        """Plain values and tensors that a checkpoint can hold."""
        ...

    def load_state_dict(self, state: dict[Any, Any]) -> None:
        """Go on from what `state_dict` gave."""
        ...


def run_digest(config: LoopConfig, groups: Sequence[Group], settings: str, seed: int) -> str:
    """Digest over all that decides a run's numbers."""
    text = f"{config.numbers()}|{seed}|{settings}|{list(groups)!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Ways of running a module, as plain data, and which of them a machine and a wish allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from ruichat.config import Config
from ruichat.errors import ConfigError, PrerequisiteError

Runtime = Literal["torch", "openvino", "cuda"]

Precision = Literal["fp32", "bf16", "fp16"]
"""Of products and convolutions; embeddings are float32 always."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a module is run; its text form is what manifests hold and workers are given.

    Attributes:
        runtime: what runs it; "torch" means on the CPU.
        precision: bags of different precision don't have the same numbers.
    """

    runtime: Runtime
    precision: Precision

    def __str__(self) -> str:
        return f"{self.runtime}-{self.precision}"

    @classmethod
    def parse(cls, text: str) -> Way:
        """The way of that text form.

        Raises:
            ConfigError: there is none.
        """
        known = {str(way): way for way in (*ON_CPU, *ON_GPU)}
        if text not in known:
            raise ConfigError(
                f"{text!r} is no way of running an encoder", hint=f"Known: {', '.join(known)}"
            )
        return known[text]


ON_CPU = (
    Way("openvino", "fp32"),
    Way("torch", "fp32"),
    Way("openvino", "bf16"),
    Way("torch", "bf16"),
)

ON_GPU = (Way("cuda", "fp32"), Way("cuda", "bf16"), Way("cuda", "fp16"))


class RunConfig(Config):
    """What a user wants of running an encoder; "auto" leaves it to a measurement."""

    runtime: Literal["auto", "torch", "openvino", "cuda"] = "auto"
    """What runs it; "auto" takes a GPU where there is one, else the fastest on the CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of products; "auto" takes bf16 only where it is faster and changes embeddings little."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """"cpu", "cuda" or "cuda:1"."""
    num_threads: int | None = Field(default=None, gt=0)
    """On the CPU; all that this process may use if None."""
    trusted: bool = False
    """A bf16 that was asked for isn't held against float32 again: another process did."""

    @property
    def may_choose_gpu(self) -> bool:
        """Whether it may take any GPU that there is."""
        return self.runtime in ("auto", "cuda") and self.device in ("auto", "cuda")

    @classmethod
    def of(cls, way: Way, *, device: str = "auto", num_threads: int | None = None) -> RunConfig:
        """Just that way, as another process chose it."""
        return cls(
            runtime=way.runtime,
            precision=way.precision,
            device=device,
            num_threads=num_threads,
            trusted=True,
        )

    def ways(self, *, has_gpu: bool) -> tuple[Way, ...]:
        """Ways to choose from, the most exact first.

        Raises:
            ConfigError: the settings contradict each other.
            PrerequisiteError: a GPU is wanted and there is none.
        """
        on_gpu = self.runtime == "cuda" or self.device.startswith("cuda")
        if on_gpu and not has_gpu and self.device != "cpu":
            raise PrerequisiteError(
                "a GPU is wanted and torch finds none",
                hint="Run on the CPU, or install torch for CUDA and its driver",
            )
        if self.device == "auto" and self.runtime == "auto":
            on_gpu = has_gpu
        known = ON_GPU if on_gpu else ON_CPU
        contradictory = on_gpu and self.device == "cpu"
        found = tuple(way for way in known if self._allows(way) and not contradictory)
        if not found:
            raise ConfigError(
                f"runtime {self.runtime!r}, precision {self.precision!r} and device "
                f"{self.device!r} don't go together",
                hint=f"Known: {', '.join(map(str, (*ON_CPU, *ON_GPU)))}",
            )
        return found

    def _allows(self, way: Way) -> bool:
        if self.runtime not in ("auto", way.runtime):
            return False
        # fp16 overflows where bf16 doesn't, and isn't faster: only for who asks for it.
        wanted = ("fp32", "bf16") if self.precision == "auto" else (self.precision,)
        return way.precision in wanted

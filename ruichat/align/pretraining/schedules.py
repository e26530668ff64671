"""What changes over a run beside the learning rate."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from ruichat.config import Config


class RiseConfig(Config):
    """A value that rises evenly over the first part of a run and stays."""

    first: float = Field(gt=0)
    last: float = Field(gt=0)
    over: float = Field(0.1, ge=0, le=1)
    """Share of the steps."""

    def at(self, step: int, steps: int) -> float:
        """The value in a step, from 0."""
        rising = self.over * steps
        share = 1.0 if rising == 0 else min(1.0, step / rising)
        return self.first + share * (self.last - self.first)


class MomentumConfig(Config):
    """How slowly the teacher follows the student; along a half cosine."""

    first: float = Field(0.994, ge=0, le=1)
    last: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _moves(self) -> MomentumConfig:
        if self.first == 1:
            raise ValueError("a momentum of 1 from the start leaves the teacher where it is")
        return self

    def at(self, step: int, steps: int) -> float:
        """The value after a step, from 1."""
        share = (1 - math.cos(math.pi * step / steps)) / 2
        return self.first + share * (self.last - self.first)

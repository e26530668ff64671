"""Region vectors added again before deeper layers of a language model, wherever a name stands.

The addition happens around a layer's call, outside of what gradient checkpointing computes twice,
so that a recomputed layer never asks which batch it belongs to.

Source:
    Meng et al. 2024, DeepStack, arXiv:2406.04334. Ours: vectors of regions from several depths of
    the encoder, behind gates that start at zero.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from ruichat.errors import ConfigError

_ADDED: ContextVar[Mapping[int, Tensor] | None] = ContextVar("added", default=None)
"""By layer, for the forward pass that runs in this thread."""


class _Injected:
    """Mixed into the class of a decoder layer."""

    inject_layer: int

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        added = (_ADDED.get() or {}).get(self.inject_layer)
        call: Any = super().__call__  # type: ignore[misc]
        if added is None:
            return call(*args, **kwargs)
        if args:
            return call(args[0] + added.to(args[0].dtype), *args[1:], **kwargs)
        hidden: Tensor = kwargs.pop("hidden_states")
        return call(hidden_states=hidden + added.to(hidden.dtype), **kwargs)


def mark_layers(language_model: nn.Module, num_layers: int, indices: Sequence[int]) -> None:
    """Let layers take what `adding` gives them; names and weights stay as they are.

    Args:
        language_model: decoder of transformers.
        num_layers: how many layers it has.
        indices: of the layers, 0 is the first.

    Raises:
        ConfigError: its layers can't be told.
    """
    if not indices:
        return
    lists = [m for m in language_model.modules() if isinstance(m, nn.ModuleList)]
    layers = next((m for m in lists if len(m) == num_layers), None)
    if layers is None:
        raise ConfigError(
            f"{type(language_model).__name__} keeps its layers in a way that isn't known here",
            hint="Leave inject_layers empty for this language model",
        )
    for index in indices:
        layer: Any = layers[index]
        kind = type(layer)
        layer.inject_layer = index
        # The name stays: FSDP and device maps tell layers by it.
        layer.__class__ = type(kind.__name__, (_Injected, kind), {"__module__": kind.__module__})


@contextmanager
def adding(added: Mapping[int, Tensor]) -> Generator[None]:
    """Add [b, t, e] to the input of layers, by their index, while this is open."""
    token = _ADDED.set(added)
    try:
        yield
    finally:
        _ADDED.reset(token)

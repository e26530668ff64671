"""The decoder on torch: any language model transformers knows, and the reference for OpenVINO."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from transformers.cache_utils import DynamicCache

from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.region_state import Array, RegionState

_KEPT = ("keys", "values")


class TorchState:
    """Keys and values read so far, in a cache of transformers."""

    def __init__(self, cache: DynamicCache) -> None:
        self.cache = cache

    @property
    def length(self) -> int:
        """Text tokens read."""
        return int(self.cache.get_seq_length())

    @property
    def num_bytes(self) -> int:
        """Memory that the keys and values take."""
        kept = [getattr(layer, name, None) for layer in self.cache.layers for name in _KEPT]
        return sum(x.nbytes for x in kept if x is not None)

    def fork(self) -> TorchState:
        """An independent copy."""
        return TorchState(copy.deepcopy(self.cache))

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` text tokens."""
        surplus = self.length - length
        if surplus:
            self.cache.crop(-surplus)


class TorchDecoder:
    """Runs the layers of a model on its device, for one state at a time.

    Args:
        model: put into evaluation mode.
    """

    runtime = "torch"

    def __init__(self, model: RuiChatForConditionalGeneration) -> None:
        self.model = model.eval()
        self._lock = threading.Lock()

    def start(self) -> TorchState:
        """A state that has read nothing."""
        # Without the config, layers with a sliding window keep everything, so that a state can go
        # back; the mask still hides what lies outside the window.
        return TorchState(DynamicCache())

    @torch.inference_mode()
    def read(
        self, state: TorchState, ids: Sequence[int], regions: RegionState, keep: int = 1
    ) -> Float32[Array, "r v"]:
        """See `decoder.Decoder`."""
        assert 0 < keep <= len(ids)
        model = self.model
        embeds = None
        if len(regions.embeds):
            embeds = torch.from_numpy(regions.embeds)[None].to(model.device, model.dtype)
        with self._lock:
            output = model(
                torch.tensor([list(ids)], device=model.device),
                past_key_values=state.cache,
                region_embeds=embeds,
                use_cache=True,
                logits_to_keep=keep,
            )
        return np.asarray(output.logits[0].float().cpu())

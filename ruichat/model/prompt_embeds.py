"""A dialogue's text tokens and regions as the embeddings that a language model reads.

Of the language model only the rows of its word embeddings that occur are read from disk.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ruichat.errors import ArtifactError, ModelError
from ruichat.model.base import BASE_FILE, BaseReference
from ruichat.model.checkpoint_files import ADAPTER_DIR, CONFIG_FILE, WEIGHTS_FILE, read_json
from ruichat.model.region_state import RegionState, Weights
from ruichat.model.shape import ModelShape
from ruichat.model.weights import ADAPTER_FILE

_ROOT = "base_model.model."
_LANGUAGE_MODEL = ("language_model.", "lm_head.")
_TABLE = "embed_tokens.weight"


class PromptEmbedder:
    """Spells prompts of one checkpoint in embeddings.

    Args:
        folder: of the checkpoint.
        dtype: of its language model.

    Raises:
        ArtifactError: something is missing or damaged.
        ModelError: its regions go into deeper layers, or its language model is of another form.
    """

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.shape = ModelShape.of(read_json(folder / CONFIG_FILE))
        if not self.shape.plain:
            raise ModelError(
                f"a {self.shape.architecture} of this form can't be asked through embeddings: a "
                "server adds nothing before deeper layers, and may scale what it is given",
                hint="Load it from its folder; qwen3 and llama without inject_layers can be asked",
            )
        self._dtype = dtype
        try:
            self._own = {**_read(folder / WEIGHTS_FILE), **_trained(folder)}
            self._path, self._name = _find_table(folder)
        except (OSError, SafetensorError) as error:
            raise ArtifactError(
                f"weights of {folder} can't be read: {error}", hint="Copy the folder again"
            ) from error

    @property
    def weights(self) -> Weights:
        """Of region encoder and pointer, as `region_state` reads them."""
        return {name: value.float().numpy() for name, value in self._own.items()}

    def embed(self, ids: Sequence[int], regions: RegionState) -> Float[Tensor, "t e"]:
        """Word embeddings, with region i's vector added wherever its name stands.

        Args:
            ids: of the dialogue so far, added pieces among them.
            regions: of the slide.
        """
        rows = dict(self._rows(sorted(set(ids))))
        embeds = torch.stack([rows[i] for i in ids]).to(self._dtype)
        named = torch.tensor(ids) - self.shape.first_region_id
        here = (named >= 0) & (named < len(regions.embeds))
        vectors = torch.from_numpy(regions.embeds).to(self._dtype)
        embeds[here] += vectors[named[here]]
        return embeds

    def _rows(self, ids: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        words = [i for i in ids if i < self.shape.vocab_size]
        with ExitStack() as stack:
            file: Any = stack.enter_context(safe_open(self._path, framework="pt"))
            table = file.get_slice(self._name)
            for i in words:
                yield i, table[i : i + 1][0]
        for i in ids[len(words) :]:
            yield i, self._own["pieces.embed"][i - self.shape.vocab_size]


def encode(embeds: Float[Tensor, "t e"]) -> str:
    """As vLLM's server reads them: a tensor as torch saves it, in base64.

    Source:
        vLLM's documentation, "Prompt Embedding Inputs".
    """
    file = io.BytesIO()
    torch.save(embeds.contiguous(), file)
    return base64.b64encode(file.getvalue()).decode()


def _read(path: Path, root: str = "") -> dict[str, Tensor]:
    """What of a file is ours, as it was saved."""
    with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
        names = [name.removeprefix(root) for name in file.keys()]  # noqa: SIM118 - no mapping
        own = [n for n in names if not n.startswith(_LANGUAGE_MODEL) and ".lora_" not in n]
        return {name: file.get_tensor(root + name).float() for name in own}


def _trained(folder: Path) -> dict[str, Tensor]:
    path = folder / ADAPTER_DIR / ADAPTER_FILE
    return _read(path, _ROOT) if path.is_file() else {}


def _find_table(folder: Path) -> tuple[Path, str]:
    """File and name of the word embeddings."""
    files = [folder / WEIGHTS_FILE]
    if (folder / BASE_FILE).is_file():
        files = sorted(BaseReference.read(folder).find(folder).glob("*.safetensors"))
    for path in files:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            for name in file.keys():  # noqa: SIM118 - no mapping
                if name.endswith(_TABLE):
                    return path, name
    raise ArtifactError(f"no word embeddings in {files[0].parent}", hint="Copy the folder again")

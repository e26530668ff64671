"""Writing an encoder that was trained here as a folder that every command can use."""

from __future__ import annotations

from pathlib import Path

import yaml
from safetensors.torch import save
from torch import Tensor

from ruichat.features.encoders.folder import CARD_FILE, FolderCard
from ruichat.features.encoders.vit import TileViT
from ruichat.storage.artifacts import write_atomic


def save_encoder(folder: Path, module: TileViT, card: FolderCard) -> Path:
    """Write weights, transformers' `config.json` and the card, the card last.

    The weights are named as transformers names them, so `AutoModel.from_pretrained(folder)`
    reads them too.

    Returns:
        The folder.

    Raises:
        ArtifactError: it can't be written.
    """
    state = {name: _plain(value) for name, value in module.body.state_dict().items()}
    write_atomic(folder / card.weights, save(state, metadata={"format": "pt"}))
    config = module.body.config
    write_atomic(folder / "config.json", config.to_json_string().encode())  # type: ignore[union-attr]
    count = sum(value.numel() for name, value in state.items() if "mask_token" not in name)
    fields = card.model_copy(update={"num_parameters": count}).model_dump(
        mode="json", by_alias=True, exclude_defaults=False
    )
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    write_atomic(folder / CARD_FILE, text.encode())
    return folder


def _plain(value: Tensor) -> Tensor:
    return value.detach().float().cpu().contiguous()

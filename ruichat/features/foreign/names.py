"""What other tools call the encoders that have a card here."""

from __future__ import annotations

from collections.abc import Mapping

from ruichat.features.encoder import ENCODERS
from ruichat.features.foreign.found import Tool

_NAMES: Mapping[Tool, Mapping[str, str]] = {
    "TRIDENT": {
        "conch_v1": "conch",
        "conch_v15": "conch-v1.5",
        "ctranspath": "ctranspath",
        "gigapath": "prov-gigapath",
        "gpfm": "gpfm",
        "h0-mini": "h0-mini",
        "hibou_l": "hibou-l",
        "hoptimus0": "h-optimus-0",
        "hoptimus1": "h-optimus-1",
        "kaiko-vitb16": "kaiko-vitb16",
        "kaiko-vitb8": "kaiko-vitb8",
        "kaiko-vitl14": "kaiko-vitl14",
        "kaiko-vits16": "kaiko-vits16",
        "kaiko-vits8": "kaiko-vits8",
        "midnight12k": "midnight-12k",
        "musk": "musk",
        "phikon": "phikon",
        "phikon_v2": "phikon-v2",
        "uni_v1": "uni",
        "uni_v2": "uni2-h",
        "virchow": "virchow",
        "virchow2": "virchow2",
    },
    "STAMP": {
        "conch1_5": "conch-v1.5",
        "ctranspath": "ctranspath",
        "gigapath": "prov-gigapath",
        "h-optimus-0": "h-optimus-0",
        "h-optimus-1": "h-optimus-1",
        "mahmood-conch": "conch",
        "mahmood-conch1_5": "conch-v1.5",
        "mahmood-uni": "uni",
        "mahmood-uni2": "uni2-h",
        "musk": "musk",
        "plip": "plip",
        "virchow": "virchow",
        "virchow2": "virchow2",
    },
    "HistoGPT": {"ctranspath": "ctranspath"},
    "CLAM": {},
}


def encoder_name(tool: Tool, name: str, dim: int) -> str:
    """The card that a tool means by a name, or the name with the tool before it.

    A tool may pool otherwise than the card: STAMP keeps the class token alone of Virchow2. So
    embeddings of another width than the card's are another encoder's.
    """
    card = _NAMES[tool].get(name)
    if card is None or (card in ENCODERS and ENCODERS.get(card).dim != dim):
        return f"{tool.lower()}:{name}"
    return card

"""The pieces that stand for structure, regions and facts, by name; ids are in `pieces.Pieces`."""

from __future__ import annotations

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
SLIDE, FACTS, USER, ASSISTANT, END, CANNOT = CONTROL_PIECES = (
    "<|slide|>",
    "<|facts|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|cannot|>",
)
"""Structure of a dialogue; text never encodes to these."""

THINK, THINK_END = THINK_PIECES = ("<|think|>", "<|/think|>")
"""Around what a model writes for itself before it answers; text never encodes to these."""

NUM_REGION_IDS = 64
REGION_PIECES = tuple(f"[R{i}]" for i in range(1, NUM_REGION_IDS + 1))
"""Names of regions; text encodes to these."""

FACTS_NAMES = (
    "tissue_mm2",
    "num_tiles",
    "num_regions",
    "tumour_percent",
    "tumour_mm2",
    "necrosis_percent",
    "lymphoid_percent",
    "focus",
    "stain",
    "mpp",
)
FACT_PIECES = tuple(f"{{{name}}}" for name in FACTS_NAMES)
"""Measured numbers the model cites by name; text encodes to these."""

SPECIAL_PIECES = (PAD, BOS, EOS, UNK, *CONTROL_PIECES, *REGION_PIECES, *FACT_PIECES)
"""Ids 0, 1, 2, ... of every tokenizer that we train."""

OUR_PIECES = (*CONTROL_PIECES, *REGION_PIECES, *FACT_PIECES, *THINK_PIECES)
"""What every model needs; those that its tokenizer lacks get ids after the tokenizer's own."""

FIRST_REGION_ID = SPECIAL_PIECES.index(REGION_PIECES[0])
"""Id of [R1] in every tokenizer that we train."""


def trainer_options(vocab_size: int) -> dict[str, object]:
    """Arguments for `SentencePieceTrainer.train` that make `SPECIAL_PIECES` the first ids.

    Normalisation is off so that Chinese punctuation survives, no space is put before a text so
    that the parts of a dialogue join as they are, and bytes stand in for unknown characters.
    """
    return {
        "vocab_size": vocab_size,
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "pad_piece": PAD,
        "bos_piece": BOS,
        "eos_piece": EOS,
        "unk_piece": UNK,
        "control_symbols": list(CONTROL_PIECES),
        "user_defined_symbols": [*REGION_PIECES, *FACT_PIECES],
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "byte_fallback": True,
        "split_digits": True,
    }

"""A tiny tokenizer, a tiny model with random weights, and a slide of random tiles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import sentencepiece
import torch

from ruichat.model.chat_model import SlideContext
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.regions import split_regions
from ruichat.model.vocabulary import trainer_options

SENTENCES = (
    "Is there tumour on this slide, and where?",
    "Yes: irregular glands [R7][R12] in a desmoplastic stroma.",
    "The tissue covers {tissue_mm2} mm2 in {num_regions} regions.",
    "What tissue is in region [R3]? Mostly necrosis and mucus.",
    "Compare the left half with the right half of the slide.",
    "切片上有肿瘤吗？在哪里？",
    "有，不规则的癌性腺体见于[R7][R12]，间质纤维化。",
    "组织面积为{tissue_mm2}平方毫米，区域[R3]以坏死为主。",
    "无法判断：苏木精-伊红染色不能显示免疫组化结果。",
)


def train_tokenizer(folder: Path, vocab_size: int = 500) -> Path:
    """Train a tokenizer of our form on a few sentences; returns the model file."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_prefix=str(folder / "tokenizer"),
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **trainer_options(vocab_size),
    )
    return folder / "tokenizer.model"


TEXT = {
    "model_type": "qwen3",
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # Large weights make the random model's choices clear, so that equality can be exact.
    "initializer_range": 0.3,
}

ONE_LAYER: dict[str, int | str] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
}
"""Of a language model that stages train within seconds."""


def tiny_model(vocab_size: int, seed: int = 0, **settings: Any) -> RuiChatForConditionalGeneration:
    """A random model of two layers."""
    torch.manual_seed(seed)
    text = TEXT | {"vocab_size": vocab_size} | settings.pop("text", {})
    config = RuiChatConfig(text_config=text, bag_dim=12, pointer_dim=16, **settings)
    model = RuiChatForConditionalGeneration(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            # Norms and the pooling's score begin at ones and zeros, which would hide mistakes.
            if value.ndim < 2 or "gate" in name:
                value.add_(0.1 * torch.randn_like(value))
    return model.eval()


@dataclass(frozen=True)
class FakeBag:
    """What a model reads of a bag."""

    embeddings: np.ndarray
    encoder: str = "mini"
    encoder_digest: str = "d1"


def tiny_slide(
    num_tiles: int = 40, max_regions: int = 6, seed: int = 0, *, like: Any = None, **bag: str
) -> SlideContext:
    """A slide of random tiles, as wide as the model `like` reads, from its encoder."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(np.stack(np.meshgrid(range(10), range(10)), -1).reshape(-1, 2))
    regions = split_regions(
        cells[:num_tiles].astype(np.int64) * 448, 448, 0.25, (5000, 5000), max_regions
    )
    width = 12 if like is None else like.shape.bag_dim
    tiles = rng.standard_normal((num_tiles, width)).astype(np.float32)
    if like is not None:
        bag = {"encoder": like.encoder, "encoder_digest": like.encoder_digest} | bag
    return SlideContext(cast(Any, FakeBag(tiles, **bag)), regions, "tissue {tissue_mm2} mm2")


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template that Qwen and others use, in short."""


def hub_tokenizer(folder: Path, kind: str = "bytes", template: str = CHATML) -> Path:
    """Train a tokenizer.json of the form of Qwen ("bytes") or of Llama 2 ("blanks").

    Both put a space before a text by default, and hold tokens that pass for structure.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>"]
    if kind == "bytes":
        model = Tokenizer(models.BPE())
        model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        model.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        model = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        model.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        model.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        special = ["<unk>", *special, *(f"<0x{byte:02X}>" for byte in range(256))]
        alphabet = []
    trainer = trainers.BpeTrainer(
        vocab_size=400 + len(special), special_tokens=special, initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    model.train_from_iterator(SENTENCES * 3, trainer)
    settings = json.loads(model.to_str())
    # Bytes are ordinary tokens of the vocabulary, as in Llama's files.
    settings["added_tokens"] = [t for t in settings["added_tokens"] if "<0x" not in t["content"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    again = Tokenizer.from_file(str(folder / "tokenizer.json"))
    again.add_tokens(["<think>", "\n\n"])
    again.enable_truncation(8)
    again.save(str(folder / "tokenizer.json"))
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "llama": {"tie_word_embeddings": False},
    "gemma3_text": {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": 8,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 16,
    },
    "phi3": {"tie_word_embeddings": False, "sliding_window": None},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "gpt2": {"n_inner": 48},
}
"""Causal language models with something of their own each."""


def tiny_language_model(folder: Path, family: str, num_ids: int = 640, **others: Any) -> Path:
    """Save a random language model of three layers with a tokenizer, as its authors would."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {
        **ONE_LAYER, "num_hidden_layers": 3, "vocab_size": num_ids, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 512,
        "tie_word_embeddings": True, "initializer_range": 0.3,
    }  # fmt: skip
    if family == "gpt2":
        sizes = {key: value for key, value in sizes.items() if key not in ONE_LAYER}
        sizes |= {"n_embd": 32, "n_layer": 3, "n_head": 2, "n_positions": 512}
        del sizes["max_position_embeddings"]
    config = AutoConfig.for_model(family, **(sizes | FAMILIES[family] | others))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return hub_tokenizer(folder, "blanks" if family in ("llama", "phi3") else "bytes")

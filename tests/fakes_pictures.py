"""Tiny image-text-to-text models with random weights, saved as their authors publish theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

WORDS = (
    "Is there tumour on this slide, and where? Yes, in region 7 [R7] and [R12].",
    "The picture shows the regions R1 to R12. Cannot determine.",
    "切片上有肿瘤吗？在哪里？有，见于[R7]。无法判断。",
)

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 4096,
    "initializer_range": 0.3,
}

_ROLES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TURNS = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}<start_of_image>{% else %}{{ c.text | trim }}{% endif %}"
    "{% endfor %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def tiny_tokenizer(special: list[str], **named: Any) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of a few hundred pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def save_gemma3(folder: Path) -> Path:
    """Gemma 3 as MedGemma is: a SigLIP tower, pictures of a fixed number of tokens."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    special += ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    tokenizer = tiny_tokenizer(
        special,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in special}
    config = Gemma3Config(
        text_config=TEXT
        | {
            "vocab_size": len(tokenizer),
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 16,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        },
        vision_config=_siglip(image_size=32, patch_size=8),
        mm_tokens_per_image=4,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )
    model = _random(Gemma3ForConditionalGeneration, config)
    model.generation_config.eos_token_id += [ids["<eos>"], ids["<end_of_turn>"]]
    pictures = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    processor = Gemma3Processor(pictures, tokenizer, chat_template=_TURNS, image_seq_length=4)
    return _save(folder, model, processor)


def save_llava(folder: Path) -> Path:
    """LLaVA: a CLIP tower and a llama."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = tiny_tokenizer(
        ["<pad>", "</s>", "<|im_start|>", "<|im_end|>", "<image>"],
        pad_token="<pad>",
        eos_token="<|im_end|>",
    )
    config = LlavaConfig(
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config=_siglip(image_size=28, patch_size=14) | {"model_type": "clip_vision_model"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    size = {"height": 28, "width": 28}
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=size)
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=_ROLES.replace("IMAGE", "<image>"),
        num_additional_image_tokens=1,
    )
    return _save(folder, _random(LlavaForConditionalGeneration, config), processor)


def save_qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: positions in three dimensions, pictures of as many tokens as they have pixels."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
        "window_size": 56,
    }
    return _save_qwen(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision, 14)


def save_qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: as above, and features of several depths of the tower enter several layers."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 16,
    }
    return _save_qwen(folder, Qwen3VLConfig, Qwen3VLForConditionalGeneration, vision, 16)


SAVERS: dict[str, Callable[[Path], Path]] = {
    "gemma3": save_gemma3,
    "llava": save_llava,
    "qwen2_5_vl": save_qwen2_5_vl,
    "qwen3_vl": save_qwen3_vl,
}


def _save_qwen(folder: Path, kind: Any, network: Any, vision: dict[str, Any], patch: int) -> Path:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"]
    special += ["<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = tiny_tokenizer(special, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in special}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    ends = {"bos_token_id": None, "eos_token_id": ids["<|im_end|>"]}
    config = kind(
        text_config=TEXT | ends | {"vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config=vision | {"patch_size": patch},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    pictures = Qwen2VLImageProcessorPil(
        patch_size=patch,
        size={"shortest_edge": (2 * patch) ** 2, "longest_edge": (4 * patch) ** 2},
    )
    tokenizer.chat_template = _ROLES.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    _random(network, config).save_pretrained(folder)
    pictures.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _siglip(*, image_size: int, patch_size: int) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": image_size,
        "patch_size": patch_size,
    }


def _random(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if not value.any():  # Gemma's projector begins at zero, which would hide the pictures
                value.normal_(0, 0.1)
    # A random model would write on to the last token: every sixteenth piece ends an answer.
    num = model.get_input_embeddings().num_embeddings
    model.generation_config.eos_token_id = list(range(7, num, 16))
    return model


def _save(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder

"""Take a causal language model of transformers, and build ours around it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import PreTrainedModel

from ruichat.errors import ArtifactError, ModelError, RuiChatError
from ruichat.model import vocabulary as v
from ruichat.model.base import BaseReference, Quantise, find_folder
from ruichat.model.choices import ModelChoices
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.registry import require


@dataclass(frozen=True)
class LanguageModel:
    """A loaded language model.

    Attributes:
        model: of transformers, in evaluation mode.
        folder: where its files lie, the tokenizer among them.
        base: names it in checkpoints.
    """

    model: PreTrainedModel
    folder: Path
    base: BaseReference

    @property
    def num_ids(self) -> int:
        """Rows of its word embeddings."""
        return int(self.model.get_input_embeddings().weight.shape[0])  # type: ignore[union-attr]


def load_language_model(
    name: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype | Literal["auto"] = "auto",
    local_only: bool = False,
    quantise: Quantise = "none",
    device: str = "cpu",
    attention: str | None = None,
) -> LanguageModel:
    """Load any causal language model that transformers has a class for; never code of others.

    Args:
        name: folder, or repository on the hub.
        revision: branch, tag or commit on the hub.
        dtype: of its weights; as they were saved if "auto".
        local_only: take it from the hub's cache alone.
        quantise: "4bit" keeps its linear layers as NF4 with bitsandbytes.
        device: for example "cuda".
        attention: of transformers, for example "flash_attention_2"; its own choice if missing.

    Raises:
        PrerequisiteError: it isn't there, or bitsandbytes isn't installed.
        ArtifactError: its files are incomplete.
        ModelError: transformers has no class for it, or it isn't a causal LM with attention.
    """
    folder = find_folder(name, revision, local_only=local_only)
    local = Path(name).is_dir()
    base = BaseReference.of(
        folder, str(folder.resolve()) if local else name, "" if local else folder.name
    )
    model = load_causal(folder, name, dtype, quantise, device, attention)
    return LanguageModel(model, folder, base)


def read_text_config(folder: Path, name: str) -> Any:
    """The config of a language model's decoder, its weights unread.

    Raises:
        ModelError: transformers has no class for it, or it isn't a decoder of attention.
        ArtifactError: it can't be read.
    """
    with _refusing(folder, name):
        text = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config(
            decoder=True
        )
    _check_fields(text, name, stateful=False)
    return text


def load_causal(
    folder: Path,
    name: str,
    dtype: torch.dtype | Literal["auto"],
    quantise: Quantise,
    device: str,
    attention: str | None = None,
) -> PreTrainedModel:
    """A causal language model from a folder; see `load_language_model`."""
    options: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    with _refusing(folder, name):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if quantise == "4bit":
            options |= {"quantization_config": _four_bits(dtype), "device_map": {"": device}}
        model, info = cast(Any, AutoModelForCausalLM).from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
        require_all(folder, info)
    placed: Any = model if quantise == "4bit" else model.to(device)
    text = placed.config.get_text_config(decoder=True)
    _check_fields(text, name, stateful=bool(getattr(placed, "_is_stateful", False)))
    return placed.eval()


def require_all(source: object, info: Mapping[str, Any]) -> None:
    """Refuse weights that transformers would have made up, by what it says of its loading.

    Raises:
        ArtifactError: some are missing, or of other sizes.
    """
    missing = sorted(info["missing_keys"]) + sorted(str(item) for item in info["mismatched_keys"])
    if missing:
        raise ArtifactError(
            f"{source} lacks {len(missing)} weights of its own config, {missing[0]} first",
            hint="Copy the model again, with all its weight files",
        )


@contextmanager
def _refusing(folder: Path, name: str) -> Generator[None]:
    """What transformers raises, in our words."""
    try:
        yield
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"transformers has no causal language model for {name!r}: {_first_line(error)}",
            hint="Choose one that it has a class for; code from a model's folder is never run",
        ) from error
    except (RuiChatError, torch.OutOfMemoryError):
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"{folder} can't be read: {_first_line(error)}", hint="Download it again"
        ) from error


def _four_bits(dtype: torch.dtype | Literal["auto"]) -> Any:
    require("bitsandbytes", extra="quantise")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype == "auto" else dtype,
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_fields(text: Any, name: str, *, stateful: bool) -> None:
    lacks = [
        field
        for field in ("hidden_size", "vocab_size", "max_position_embeddings", "num_hidden_layers")
        if not isinstance(getattr(text, field, None), int)
    ]
    if lacks or stateful or text.is_encoder_decoder:
        why = f"its config lacks {', '.join(lacks)}" if lacks else "it isn't a decoder of attention"
        raise ModelError(
            f"{name!r} ({text.model_type}) can't be aligned: {why}",
            hint="Choose a causal language model with attention in every layer, such as Qwen3",
        )


def build_model(
    lm: LanguageModel, processor: RuiChatProcessor, choices: ModelChoices, *, seed: int = 0
) -> RuiChatForConditionalGeneration:
    """Our model around a language model, whose weights stay as they are.

    Rows of added pieces begin as the mean of the words that they are named after; regions enter
    as large as words.

    Args:
        lm: from `load_language_model`.
        processor: of the same language model.
        choices: sizes of the parts that are new.
        seed: of their random weights.

    Raises:
        ModelError: the language model makes its logits in a way not known here.
        ArtifactError: the processor belongs to another vocabulary.
    """
    if processor.vocab_size != lm.num_ids:
        raise ArtifactError(
            f"the processor has {processor.vocab_size} ids, the language model {lm.num_ids}",
            hint="Make it with RuiChatProcessor.for_language_model(lm.folder, lm.num_ids)",
        )
    config = RuiChatConfig(
        text_config=_text_config(lm.model),
        num_added=len(processor.pieces.added),
        first_region_id=processor.pieces.first_region,
        **choices.model_dump(),
    )
    torch.manual_seed(seed)
    model = RuiChatForConditionalGeneration(config, lm.model)
    model.base, model.base_print = lm.base, weights_print(model)
    prepare_generation(model, processor)
    _check_logits(model, lm.model)
    name_pieces(model, processor)
    with torch.no_grad():
        words = model.get_input_embeddings()(_some_ids(lm.num_ids, model.device)).float()
        model.region_encoder.scale.fill_(words.pow(2).mean().sqrt())
    return model.eval()


def _text_config(model: PreTrainedModel) -> Any:
    config: Any = copy.deepcopy(model.config.get_text_config(decoder=True))
    if hasattr(config, "quantization_config"):
        # How it was loaded here, not what it is.
        del config.quantization_config
    config.tie_word_embeddings = model.config.tie_word_embeddings
    return config


def weights_print(model: Any) -> str:
    """A digest over the beginning of each of a language model's weights: has it been changed?"""
    digest = hashlib.sha256()
    for part in (model.language_model, model.lm_head):
        for name, value in part.named_parameters():
            if ".lora_" not in name and ".modules_to_save." not in name:
                head = value.detach().flatten()[:64].cpu().contiguous()
                digest.update(head.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def prepare_generation(model: RuiChatForConditionalGeneration, processor: RuiChatProcessor) -> None:
    """Let `generate` end where answers do, and write no structure."""
    settings: Any = model.generation_config
    settings.eos_token_id = processor.pieces.end
    settings.pad_token_id = processor.pieces.pad
    settings.suppress_tokens = list(processor.pieces.never_written)


def _some_ids(num: int, device: torch.device) -> Tensor:
    """Ids from the whole vocabulary, 1,024 at most."""
    return torch.arange(0, num, max(1, num // 1024), device=device)[None, :1024]


@torch.no_grad()
def _check_logits(model: RuiChatForConditionalGeneration, causal: PreTrainedModel) -> None:
    """Refuse a language model whose logits aren't those that our forward makes of its parts."""
    ids = _some_ids(model.config.text_config.vocab_size, model.device)[:, :16]
    expected: Tensor = causal(ids, use_cache=False).logits.float()
    hidden: Tensor = model.language_model(input_ids=ids, use_cache=False).last_hidden_state
    found = model.word_logits(hidden)
    if (found - expected).abs().max() > 0.02 * expected.abs().max():
        raise ModelError(
            f"{causal.config.model_type} makes its logits in a way that isn't known here",
            hint="Choose another language model, and tell us of this one",
        )


@torch.no_grad()
def name_pieces(model: RuiChatForConditionalGeneration, processor: RuiChatProcessor) -> None:
    """Begin the rows of added pieces as the mean of the words that they are named after."""
    pieces, table, head = model.pieces, model.get_input_embeddings(), model.lm_head
    if pieces is None:
        return
    for row, name in enumerate(processor.pieces.added):
        text = _WORDS.get(name, name.strip("<|>[]{}").replace("_", " "))
        words = processor.tokenizer.encode(text)
        pieces.embed[row] = _mean_row(table, words)
        if pieces.head is not None:
            pieces.head[row] = _mean_row(head, words)


def _mean_row(table: nn.Module, ids: list[int]) -> Tensor:
    weight: Any = table.weight
    return weight[torch.tensor(ids, device=weight.device)].float().mean(0)


_WORDS = {
    v.THINK: "think",
    v.THINK_END: "end of thinking",
    v.CANNOT: "cannot be determined",
    v.FACTS: "measured facts",
    v.SLIDE: "slide image regions",
}
"""After which an added piece is named where its own name says little."""

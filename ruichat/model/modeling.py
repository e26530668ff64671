"""The model: regions enter the language model under their names and leave it through a pointer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor, GenerationMixin
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from ruichat.errors import InputError
from ruichat.model.added_pieces import AddedPieces
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.region_modules import RegionEncoder, RegionPointer, has_tiles


class RuiChatPreTrainedModel(PreTrainedModel):
    """What transformers needs to know about initialising, placing and checkpointing."""

    config_class = RuiChatConfig
    config: RuiChatConfig
    base_model_prefix = "model"
    input_modalities = "text"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["Qwen3DecoderLayer", "RegionEncoder"]
    _skip_keys_device_placement = ["past_key_values"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, RegionPointer):
            for layer in (module.query, module.key):
                init.normal_(layer.weight, std=layer.in_features**-0.5)
            init.ones_(module.scale)
        elif isinstance(module, RegionEncoder):
            init.constant_(module.scale, self.config.initializer_range)
            for layer in module.modules():
                if isinstance(layer, nn.Linear):
                    init.normal_(layer.weight, std=layer.in_features**-0.5)
                    if "bias" in dict(layer.named_parameters()):
                        init.zeros_(layer.bias)
            if module.gate is not None:
                init.zeros_(module.gate.score.weight)
        elif isinstance(module, AddedPieces):
            for rows in module.parameters(recurse=False):
                init.normal_(rows, std=self.config.initializer_range)
        else:
            super()._init_weights(module)


class RuiChatForConditionalGeneration(RuiChatPreTrainedModel, GenerationMixin):
    """Language model that reads regions and cites them.

    Args:
        config: see `RuiChatConfig`.
    """

    _tied_weights_keys = {"lm_head.weight": "language_model.embed_tokens.weight"}

    def __init__(self, config: RuiChatConfig) -> None:
        super().__init__(config)
        text = config.text_config
        self.region_encoder = RegionEncoder(config)
        self.pointer = RegionPointer(config)
        self.language_model = AutoModel.from_config(text)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.pieces = AddedPieces(config) if config.num_added else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Word embeddings."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings."""
        self.language_model.set_input_embeddings(value)

    def encode_regions(
        self,
        tile_embeddings: Float[Tensor, "b n d"],
        tile_region: Int[Tensor, "b n"],
        region_geometry: Float[Tensor, "b k g"],
    ) -> Float[Tensor, "b k e"]:
        """Embed the regions of a batch of slides.

        Args:
            tile_embeddings: bags, padded to the longest.
            tile_region: region index of each tile, -1 for padding.
            region_geometry: see `regions.geometry_features`; its k is the padded region count.

        Raises:
            InputError: the bag's width isn't the model's.
        """
        if tile_embeddings.shape[-1] != self.config.bag_dim:
            raise InputError(
                f"bag has d={tile_embeddings.shape[-1]}; this model reads d={self.config.bag_dim}",
                hint=f"Re-extract with encoder {self.config.encoder}",
            )
        return self.region_encoder(tile_embeddings, tile_region, region_geometry)

    def embed(
        self,
        input_ids: Int[Tensor, "b t"],
        region_embeds: Float[Tensor, "b k e"] | None,
        region_mask: Bool[Tensor, "b k"] | None,
    ) -> Float[Tensor, "b t e"]:
        """Word embeddings, with region i's vector added wherever its name stands."""
        table = self.get_input_embeddings()
        embeds = (
            table(input_ids) if self.pieces is None else self.pieces.embed_ids(input_ids, table)
        )
        if region_embeds is None:
            return embeds
        if region_mask is not None:
            region_embeds = region_embeds * region_mask[..., None].to(region_embeds.dtype)
        index = input_ids - self.config.first_region_id
        named = (index >= 0) & (index < region_embeds.shape[1])
        index = torch.where(named, index, 0)[..., None].expand(-1, -1, embeds.shape[-1])
        added = region_embeds.to(embeds.dtype).gather(1, index)
        return embeds + added * named[..., None].to(embeds.dtype)

    def forward(
        self,
        input_ids: Int[Tensor, "b t"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "b t e"] | None = None,
        *,
        region_embeds: Float[Tensor, "b k e"] | None = None,
        region_mask: Bool[Tensor, "b k"] | None = None,
        tile_embeddings: Float[Tensor, "b n d"] | None = None,
        tile_region: Int[Tensor, "b n"] | None = None,
        region_geometry: Float[Tensor, "b k g"] | None = None,
        labels: Int[Tensor, "b t"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool = False,
        num_items_in_batch: int | Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and with `labels` the mean loss over the positions that aren't -100.

        Regions come as `region_embeds`, or as bags that are encoded here; without either no
        region name can be written.

        Args:
            input_ids: text tokens.
            attention_mask: 0 where padded.
            position_ids: positions, counted from the cache where missing.
            past_key_values: cache of what was read before.
            inputs_embeds: instead of `input_ids`; regions must be added already.
            region_embeds: vectors of `encode_regions` or of another projector.
            region_mask: which of the k regions exist; all, or those with tiles, if missing.
            tile_embeddings: bags, see `encode_regions`.
            tile_region: see `encode_regions`.
            region_geometry: see `encode_regions`.
            labels: targets at their own position (shifted here), -100 where not asked.
            use_cache: return the cache.
            logits_to_keep: as in transformers.
            skip_logits: with `labels`, compute logits only where a target is, and return none;
                saves most of the vocabulary product where few positions carry a loss.
            num_items_in_batch: divide the loss by this instead, as Trainer's accumulation needs.
            **kwargs: passed on to the language model.

        Raises:
            InputError: a label names a region that its slide doesn't have.
        """
        if tile_embeddings is not None:
            assert tile_region is not None and region_geometry is not None
            region_embeds = self.encode_regions(tile_embeddings, tile_region, region_geometry)
            if region_mask is None:
                region_mask = has_tiles(tile_region, region_geometry.shape[1])
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids, region_embeds, region_mask)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        names = self._name_bias(hidden, region_embeds, region_mask)
        loss, logits = None, None
        if labels is not None and skip_logits:
            target = _shift(labels)
            asked = target != -100
            loss = self._loss(
                self._logits(hidden[asked], names.expand(*target.shape, -1)[asked]),
                target[asked],
                num_items_in_batch,
            )
        else:
            keep = (
                slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            )
            logits = self._logits(hidden[:, keep], names[:, keep] if names.ndim > 1 else names)
            if labels is not None:
                target = _shift(labels)[:, keep]
                asked = target != -100
                loss = self._loss(logits[asked], target[asked], num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def generate(
        self,
        inputs: Tensor | None = None,
        *args: Any,
        tile_embeddings: Float[Tensor, "b n d"] | None = None,
        tile_region: Int[Tensor, "b n"] | None = None,
        region_geometry: Float[Tensor, "b k g"] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As transformers' generate; a bag is encoded once, not at every step."""
        if tile_embeddings is not None:
            assert tile_region is not None and region_geometry is not None
            with torch.no_grad():
                kwargs["region_embeds"] = self.encode_regions(
                    tile_embeddings, tile_region, region_geometry
                )
            exists = has_tiles(tile_region, region_geometry.shape[1])
            kwargs.setdefault("region_mask", exists)
        return super().generate(inputs, *args, **kwargs)  # type: ignore[misc]

    def _name_bias(
        self,
        hidden: Float[Tensor, "b t e"],
        region_embeds: Float[Tensor, "b k e"] | None,
        region_mask: Bool[Tensor, "b k"] | None,
    ) -> Tensor:
        """What to add to the names' logits: the pointer's score, -inf for names of nothing."""
        num = self.config.num_region_ids
        if region_embeds is None:
            return hidden.new_full((num,), float("-inf"), dtype=torch.float32)
        score = self.pointer(hidden, region_embeds.to(hidden.dtype)).float()
        if region_mask is not None:
            score = score.masked_fill(~region_mask[:, None].bool(), float("-inf"))
        return functional.pad(score, (0, num - score.shape[-1]), value=float("-inf"))

    def _logits(self, hidden: Float[Tensor, "*p e"], names: Float[Tensor, "*q r"]) -> Tensor:
        first = self.config.first_region_id
        logits = self.lm_head(hidden).float()
        if self.pieces is not None:
            logits = torch.cat([logits, self.pieces.logits(hidden).float()], dim=-1)
        logits[..., first : first + self.config.num_region_ids] += names
        return logits

    def _loss(
        self,
        logits: Float[Tensor, "m v"],
        target: Int[Tensor, " m"],
        num_items: int | Tensor | None,
    ) -> Float[Tensor, ""]:
        total = functional.cross_entropy(logits, target, reduction="sum")
        if torch.isinf(total):
            raise InputError(
                "an answer names a region that its slide doesn't have",
                hint="Check region_mask and the labels against the slide's regions",
            )
        if num_items is None:
            num_items = max(target.numel(), 1)
        return total / num_items


def _shift(labels: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """Targets at the position that predicts them."""
    return functional.pad(labels[:, 1:], (0, 1), value=-100)


AutoConfig.register("ruichat", RuiChatConfig, exist_ok=True)
AutoModel.register(RuiChatConfig, RuiChatForConditionalGeneration, exist_ok=True)
AutoModelForCausalLM.register(RuiChatConfig, RuiChatForConditionalGeneration, exist_ok=True)
AutoProcessor.register(RuiChatConfig, RuiChatProcessor, exist_ok=True)

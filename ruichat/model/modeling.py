"""The model: regions enter the language model under their names and leave it through a pointer."""

from __future__ import annotations

from typing import Any, cast

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
from ruichat.model.base import BaseReference
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.cross_layer import adding, mark_layers
from ruichat.model.names import at_names, check_packed, name_bias
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.region_modules import DepthProjector, RegionEncoder, RegionPointer, has_tiles


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
    _no_split_modules = ["RegionEncoder"]
    _skip_keys_device_placement = ["past_key_values"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, RegionPointer):
            for layer in (module.query, module.key):
                init.normal_(layer.weight, std=layer.in_features**-0.5)
            init.ones_(module.scale)
        elif isinstance(module, RegionEncoder):
            init.constant_(module.scale, self.config.initializer_range)
            for depth in module.injected:
                init.zeros_(cast(DepthProjector, depth).gate)
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
        causal: the language model, whose layers and head are taken as they are; a random one of
            the config if missing.

    Attributes:
        base: the published language model inside, if it is one.
        base_print: `language_model.weights_print` of it as it came.
    """

    def __init__(self, config: RuiChatConfig, causal: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.base: BaseReference | None = None
        self.base_print = ""
        self.region_encoder = RegionEncoder(config)
        self.pointer = RegionPointer(config)
        if causal is not None:
            _keep(causal, self)
        lm: Any = causal or AutoModelForCausalLM.from_config(config.text_config)
        self.language_model: Any = lm.get_decoder()
        self.lm_head: Any = lm.get_output_embeddings()
        self.pieces = AddedPieces(config) if config.num_added else None
        mark_layers(self.language_model, config.text_config.num_hidden_layers, config.inject_layers)
        self._no_split_modules = [*(lm._no_split_modules or []), "RegionEncoder"]
        self._tied_weights_keys = {"lm_head.weight": f"{self._table_name()}.weight"}
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Word embeddings."""
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The language model's own head."""
        return self.lm_head

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings."""
        self.language_model.set_input_embeddings(value)

    def _table_name(self) -> str:
        table = self.get_input_embeddings()
        return next(name for name, module in self.named_modules() if module is table)

    def encode_regions(
        self,
        tile_embeddings: Float[Tensor, "s n d"],
        tile_region: Int[Tensor, "s n"],
        region_geometry: Float[Tensor, "s k g"],
    ) -> Float[Tensor, "s k w"]:
        """Embed the regions of a batch of slides.

        Args:
            tile_embeddings: bags, padded to the longest.
            tile_region: region index of each tile, -1 for padding.
            region_geometry: see `regions.geometry_features`; its k is the padded region count.

        Returns:
            Per region what is added to its name's embedding, e numbers, and behind it what is
            added before each of the config's `inject_layers`.

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
        region_embeds: Float[Tensor, "s k w"] | None,
        region_mask: Bool[Tensor, "s k"] | None,
        slide_of_token: Int[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b t e"]:
        """Word embeddings, with region i's vector added wherever its name stands."""
        table = self.get_input_embeddings()
        pieces = self.pieces
        embeds = table(input_ids) if pieces is None else pieces.embed_ids(input_ids, table)
        if region_embeds is None:
            return embeds
        region_embeds = region_embeds[..., : embeds.shape[-1]]
        index = input_ids - self.config.first_region_id
        return embeds + at_names(index, region_embeds, region_mask, slide_of_token).to(embeds.dtype)

    def _deeper(
        self,
        input_ids: Int[Tensor, "b t"] | None,
        region_embeds: Float[Tensor, "s k w"] | None,
        region_mask: Bool[Tensor, "s k"] | None,
        slide_of_token: Int[Tensor, "b t"] | None,
    ) -> dict[int, Tensor]:
        """What is added before deeper layers, [b, t, e] by layer."""
        layers = self.config.inject_layers
        if region_embeds is None or not layers:
            return {}
        if input_ids is None:
            raise InputError(
                "regions are added before deeper layers wherever their names stand, and "
                "inputs_embeds doesn't say where",
                hint="Give input_ids",
            )
        width = self.config.text_config.hidden_size
        index = input_ids - self.config.first_region_id
        deeper = at_names(index, region_embeds[..., width:], region_mask, slide_of_token)
        return dict(zip(layers, deeper.split(width, dim=-1), strict=True))

    def forward(
        self,
        input_ids: Int[Tensor, "b t"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "b t e"] | None = None,
        *,
        region_embeds: Float[Tensor, "s k w"] | None = None,
        region_mask: Bool[Tensor, "s k"] | None = None,
        tile_embeddings: Float[Tensor, "s n d"] | None = None,
        tile_region: Int[Tensor, "s n"] | None = None,
        region_geometry: Float[Tensor, "s k g"] | None = None,
        slide_of_token: Int[Tensor, "b t"] | None = None,
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
            slide_of_token: which of the s slides each token speaks of, -1 for none; row i speaks of
                slide i if missing. Rows may then hold several dialogues, one after the other, whose
                `position_ids` begin at 0 each and which don't see each other; the label of each
                one's first token is -100. Flash attention reads one such row at a time.
            labels: targets at their own position (shifted here), -100 where not asked.
            use_cache: return the cache.
            logits_to_keep: as in transformers.
            skip_logits: with `labels`, compute logits only where a target is, and return none;
                saves most of the vocabulary product where few positions carry a loss.
            num_items_in_batch: divide the loss by this instead, as Trainer's accumulation needs.
            **kwargs: passed on to the language model.

        Raises:
            InputError: a label names a region that its slide doesn't have, or packed rows come
                without their positions or with a mask.
        """
        if slide_of_token is not None:
            attention = str(self.language_model.config._attn_implementation)
            check_packed(slide_of_token, position_ids, attention_mask, attention)
        if tile_embeddings is not None:
            assert tile_region is not None and region_geometry is not None
            region_embeds = self.encode_regions(tile_embeddings, tile_region, region_geometry)
            if region_mask is None:
                region_mask = has_tiles(tile_region, region_geometry.shape[1])
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed(input_ids, region_embeds, region_mask, slide_of_token)
        with adding(self._deeper(input_ids, region_embeds, region_mask, slide_of_token)):
            outputs = self.language_model(
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )
        hidden = outputs.last_hidden_state
        names = name_bias(
            self.pointer,
            hidden,
            region_embeds,
            region_mask,
            slide_of_token,
            self.config.num_region_ids,
        )
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
        tile_embeddings: Float[Tensor, "s n d"] | None = None,
        tile_region: Int[Tensor, "s n"] | None = None,
        region_geometry: Float[Tensor, "s k g"] | None = None,
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

    def word_logits(self, hidden: Float[Tensor, "*p e"]) -> Float[Tensor, "*p v"]:
        """Logits as the language model itself makes them, without our pieces and pointer."""
        return self._rescale(self.lm_head(hidden).float())

    def _logits(self, hidden: Float[Tensor, "*p e"], names: Float[Tensor, "*q r"]) -> Tensor:
        first = self.config.first_region_id
        logits = self.word_logits(hidden)
        if self.pieces is not None:
            added = self._rescale(self.pieces.logits(hidden).float())
            logits = torch.cat([logits, added], dim=-1)
        logits[..., first : first + self.config.num_region_ids] += names
        return logits

    def _rescale(self, logits: Tensor) -> Tensor:
        """What some language models do to the product of hidden states and vocabulary."""
        text = self.config.text_config
        if (divisor := getattr(text, "logits_scaling", None)) is not None:  # Granite
            logits = logits / divisor
        if (factor := getattr(text, "logit_scale", None)) is not None:  # Cohere
            logits = logits * factor
        if (cap := getattr(text, "final_logit_softcapping", None)) is not None:  # Gemma
            logits = cap * torch.tanh(logits / cap)
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


def _keep(causal: PreTrainedModel, ours: PreTrainedModel) -> None:
    """Have a loaded language model's weights not initialised again, nor taken for plain ones."""
    for part in [*causal.modules(), *causal.parameters(), *causal.buffers()]:
        part._is_hf_initialized = True  # type: ignore[attr-defined]
    for flag in ("is_quantized", "is_loaded_in_4bit", "hf_quantizer", "quantization_method"):
        if hasattr(causal, flag):
            setattr(ours, flag, getattr(causal, flag))


def _shift(labels: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """Targets at the position that predicts them."""
    return functional.pad(labels[:, 1:], (0, 1), value=-100)


AutoConfig.register("ruichat", RuiChatConfig, exist_ok=True)
AutoModel.register(RuiChatConfig, RuiChatForConditionalGeneration, exist_ok=True)
AutoModelForCausalLM.register(RuiChatConfig, RuiChatForConditionalGeneration, exist_ok=True)
AutoProcessor.register(RuiChatConfig, RuiChatProcessor, exist_ok=True)

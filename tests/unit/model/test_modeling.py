"""The model must bind names to regions, and behave as a model of transformers does."""

from __future__ import annotations

import pytest
import torch
from fakes_model import tiny_model, tiny_slide
from transformers import AutoConfig, AutoModelForCausalLM

from ruichat.errors import ConfigError, InputError
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.region_modules import has_tiles
from ruichat.model.vocabulary import FIRST_REGION_ID as FIRST
from ruichat.model.vocabulary import NUM_REGION_IDS

K = 6
NAMES = slice(FIRST, FIRST + K)


def bag_of(slide):
    return {
        "tile_embeddings": torch.from_numpy(slide.bag.embeddings)[None],
        "tile_region": torch.from_numpy(slide.regions.assignment)[None],
        "region_geometry": torch.from_numpy(slide.regions.geometry)[None],
    }


@pytest.fixture(scope="module")
def bag(slide):
    return bag_of(slide)


@pytest.fixture(scope="module")
def ids(processor):
    return torch.tensor([processor.prefix_ids(K, "x") + processor.question_ids("tumour in R2?")])


@torch.no_grad()
def test_permuting_regions_permutes_their_pointer_scores(model, bag, ids):
    embeds = model.encode_regions(**bag)
    hidden = torch.randn(1, 5, embeds.shape[-1])
    order = torch.randperm(K)
    scores = model.pointer(hidden, embeds)
    torch.testing.assert_close(model.pointer(hidden, embeds[:, order]), scores[..., order])
    assert scores.std() > 0.01


@torch.no_grad()
def test_a_name_means_the_region_it_is_bound_to(model, bag, ids):
    """Region 2's content moves the answer where its name was asked about, wherever it lies."""
    embeds = model.encode_regions(**bag)
    changed = embeds.clone()
    changed[:, 1] = embeds[:, 4]
    at = (ids[0] == FIRST + 1).nonzero()[-1].item()
    before = model.embed(ids, embeds, None)
    after = model.embed(ids, changed, None)
    different = (before != after).any(-1)[0]
    assert different.nonzero().flatten().tolist() == [3, at]


@torch.no_grad()
def test_names_beyond_k_have_no_probability(model, bag, ids):
    logits = model(ids, **bag).logits
    assert torch.isfinite(logits[..., NAMES]).all()
    assert (logits[..., FIRST + K : FIRST + NUM_REGION_IDS] == float("-inf")).all()
    assert torch.isfinite(logits[..., FIRST + NUM_REGION_IDS :]).all()
    nothing = model(ids).logits
    assert (nothing[..., FIRST : FIRST + NUM_REGION_IDS] == float("-inf")).all()


def test_generation_writes_only_names_that_exist(processor):
    model = tiny_model(processor.vocab_size)
    # A model that wants to write nothing but names.
    with torch.no_grad():
        model.language_model.embed_tokens.weight[FIRST : FIRST + NUM_REGION_IDS] *= 20
    bag = bag_of(tiny_slide(num_tiles=3))
    ids = torch.tensor([processor.prefix_ids(3)])
    out = model.generate(
        ids.expand(20, -1), **{k: v.expand(20, *v.shape[1:]) for k, v in bag.items()},
        max_new_tokens=20, do_sample=True, temperature=5.0,
    )  # fmt: skip
    names = out[:, ids.shape[1] :] - FIRST
    names = names[(names >= 0) & (names < NUM_REGION_IDS)]
    assert len(names) > 50
    assert names.unique().tolist() == [0, 1, 2]


@torch.no_grad()
def test_padding_changes_nothing(model, processor):
    """Slides and texts of unequal size give the same in a batch as alone."""
    slides = [tiny_slide(40, 6), tiny_slide(9, 3, seed=1)]
    texts = [
        processor.prefix_ids(len(s.regions), "f") + processor.question_ids(q)
        for s, q in zip(slides, ("tumour?", "what is in R1, and where is necrosis?"), strict=True)
    ]
    bags = [bag_of(s) for s in slides]
    tiles, length = 40, max(map(len, texts))
    pad = torch.nn.functional.pad
    missing = [tiles - b["tile_region"].shape[1] for b in bags]
    batch = {
        "tile_embeddings": [
            pad(b["tile_embeddings"], (0, 0, 0, m), value=7.0)
            for b, m in zip(bags, missing, strict=True)
        ],
        "tile_region": [
            pad(b["tile_region"], (0, m), value=-1) for b, m in zip(bags, missing, strict=True)
        ],
        "region_geometry": [
            pad(b["region_geometry"], (0, 0, 0, K - b["region_geometry"].shape[1])) for b in bags
        ],
    }
    together = model(
        torch.tensor([t + [0] * (length - len(t)) for t in texts]),
        attention_mask=torch.tensor([[1] * len(t) + [0] * (length - len(t)) for t in texts]),
        **{k: torch.cat(v) for k, v in batch.items()},
    ).logits
    for row, (text, bag) in enumerate(zip(texts, bags, strict=True)):
        alone = model(torch.tensor([text]), **bag).logits[0]
        torch.testing.assert_close(together[row, : len(text)], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", ["attention", "mean"])
@pytest.mark.parametrize("projector", ["linear", "mlp"])
@torch.no_grad()
def test_pooling_is_a_weighted_mean_within_each_region(processor, projector, pool, slide):
    model = tiny_model(processor.vocab_size, projector=projector, pool=pool)
    bag = bag_of(slide)
    embeds = model.encode_regions(**bag)
    shuffle = torch.randperm(40)
    again = model.encode_regions(
        bag["tile_embeddings"][:, shuffle], bag["tile_region"][:, shuffle], bag["region_geometry"]
    )
    torch.testing.assert_close(again, embeds)
    twice = {k: torch.cat([v, v], 1) if k != "region_geometry" else v for k, v in bag.items()}
    torch.testing.assert_close(model.encode_regions(**twice), embeds)
    only_first = bag["tile_embeddings"].clone()
    only_first[bag["tile_region"] == 0] += 1.0 * torch.randn(12)
    moved = model.encode_regions(only_first, bag["tile_region"], bag["region_geometry"])
    assert (moved != embeds).any(-1).tolist() == [[True, *[False] * (K - 1)]]
    rms = embeds.pow(2).mean().sqrt()
    assert 0.5 < rms / model.config.initializer_range < 1.5


@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_regions_are_encoded_in_half_precision(processor, pool, slide):
    """Also where autocast keeps the weights of tiles in float32, as on CUDA."""
    tiny = tiny_model(processor.vocab_size, pool=pool, inject_layers=(1,))
    bag = bag_of(slide)
    # More tiles than bfloat16 can count.
    times = 800 // bag["tile_region"].shape[1]
    bag["tile_region"] = bag["tile_region"].repeat(1, times)
    noise = torch.randn_like(bag["tile_embeddings"].repeat(1, times, 1))
    bag["tile_embeddings"] = bag["tile_embeddings"].repeat(1, times, 1) + 0.1 * noise
    wanted = tiny.encode_regions(**bag)
    with torch.autocast("cpu", torch.bfloat16):
        found = tiny.encode_regions(**bag)
    found.sum().backward()
    torch.testing.assert_close(found.float(), wanted, rtol=0.05, atol=0.05 * wanted.std().item())
    encoder = tiny.region_encoder
    values, weight = torch.ones(900, 48, dtype=torch.bfloat16), torch.ones(900, encoder.num_heads)
    pooled = encoder._pool(values, weight, torch.zeros(900, dtype=torch.long), 1)
    assert pooled.dtype == torch.bfloat16 and (pooled == 900).all()


def test_loss_is_the_mean_over_asked_positions(model, bag, ids):
    labels = ids.clone()
    labels[:, :-6] = -100
    full = model(ids, labels=labels, **bag)
    lean = model(ids, labels=labels, skip_logits=True, **bag)
    targets = labels[0, -6:]
    expected = torch.nn.functional.cross_entropy(full.logits[0, -7:-1], targets)
    torch.testing.assert_close(full.loss, expected)
    torch.testing.assert_close(lean.loss, expected)
    assert lean.logits is None
    shared = model(ids, labels=labels, num_items_in_batch=12, **bag).loss
    torch.testing.assert_close(shared, expected / 2)


def test_a_label_for_a_missing_region_is_refused(model, bag, ids):
    labels = ids.clone()
    labels[0, -1] = FIRST + K
    with pytest.raises(InputError, match="names a region"):
        model(ids, labels=labels, **bag)


def test_a_bag_of_another_width_is_refused(model, bag):
    with pytest.raises(InputError, match="d=5"):
        model.encode_regions(torch.zeros(1, 40, 5), bag["tile_region"], bag["region_geometry"])


def test_every_part_learns(processor, bag, ids):
    model = tiny_model(processor.vocab_size).train()
    model.gradient_checkpointing_enable()
    model(ids, labels=ids, **bag).loss.backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


@torch.no_grad()
def test_generation_with_cache_equals_without(model, bag, ids):
    args = dict(max_new_tokens=12, do_sample=False, **bag)
    cached = model.generate(ids, **args)
    torch.testing.assert_close(cached, model.generate(ids, use_cache=False, **args))
    given = model.generate(
        ids, max_new_tokens=12, do_sample=False, region_embeds=model.encode_regions(**bag)
    )
    torch.testing.assert_close(cached, given)


def test_saved_and_loaded_weights_are_bit_equal(model, tmp_path):
    model.save_pretrained(tmp_path)
    for again in (
        RuiChatForConditionalGeneration.from_pretrained(tmp_path),
        AutoModelForCausalLM.from_pretrained(tmp_path),
    ):
        state = again.state_dict()
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert isinstance(AutoConfig.from_pretrained(tmp_path), RuiChatConfig)


def test_has_tiles_ignores_padding():
    found = has_tiles(torch.tensor([[0, 2, -1], [1, 1, 1]]), 3)
    assert found.tolist() == [[True, False, True], [False, True, False]]


@pytest.mark.parametrize(
    "wrong", [{"projector": "conv"}, {"pool": "max"}, {"pool_heads": 7}, {"max_regions": 65}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        RuiChatConfig(**wrong)

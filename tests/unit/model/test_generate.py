"""`generate` of transformers in batches, as reinforcement learning calls it."""

from __future__ import annotations

import pytest
import torch
from fakes_model import tiny_model, tiny_slide
from peft import LoraConfig, get_peft_model
from torch.nn.functional import pad

QUESTIONS = ("tumour?", "what is in R1, and where is necrosis?")


@pytest.fixture(scope="module")
def prompts(processor):
    slides = [tiny_slide(40, 6), tiny_slide(9, 3, seed=1)]
    ids = [
        processor.prefix_ids(len(s.regions), "f") + processor.question_ids(q)
        for s, q in zip(slides, QUESTIONS, strict=True)
    ]
    bags = [
        {
            "tile_embeddings": torch.from_numpy(s.bag.embeddings)[None],
            "tile_region": torch.from_numpy(s.regions.assignment)[None],
            "region_geometry": torch.from_numpy(s.regions.geometry)[None],
        }
        for s in slides
    ]
    return ids, bags


def together(ids, bags):
    """One batch: prompts padded on the left, bags on the right."""
    longest = max(map(len, ids))
    tiles = max(b["tile_region"].shape[1] for b in bags)
    k = max(b["region_geometry"].shape[1] for b in bags)
    return {
        "input_ids": torch.tensor([[0] * (longest - len(row)) + row for row in ids]),
        "attention_mask": torch.tensor(
            [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
        ),
        "tile_embeddings": torch.cat(
            [pad(b["tile_embeddings"], (0, 0, 0, tiles - b["tile_region"].shape[1])) for b in bags]
        ),
        "tile_region": torch.cat(
            [pad(b["tile_region"], (0, tiles - b["tile_region"].shape[1]), value=-1) for b in bags]
        ),
        "region_geometry": torch.cat(
            [pad(b["region_geometry"], (0, 0, 0, k - b["region_geometry"].shape[1])) for b in bags]
        ),
    }


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "peft"])
@pytest.mark.parametrize("num", [1, 3])
def test_a_padded_batch_of_several_each_equals_single_prompts(processor, prompts, num, wrapped):
    model = tiny_model(processor.vocab_size, num_added=2)
    if wrapped:
        lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        model = get_peft_model(model, lora).eval()
    ids, bags = prompts
    # The likeliest of one is greedy, and may be returned several times.
    how = {"max_new_tokens": 10, "do_sample": True, "top_k": 1, "eos_token_id": processor.end_id}
    alone = [
        model.generate(input_ids=torch.tensor([row]), **bag, **how)[0, len(row) :].tolist()
        for row, bag in zip(ids, bags, strict=True)
    ]
    batch = together(ids, bags)
    out = model.generate(**batch, **how, num_return_sequences=num)
    assert len(out) == num * len(ids)
    for row, written in enumerate(out[:, batch["input_ids"].shape[1] :].tolist()):
        expected = alone[row // num]
        assert written[: len(expected)] == expected
        assert set(written[len(expected) :]) <= {0}

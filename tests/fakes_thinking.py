"""A task so small that rewards rise in seconds: which of two regions is the odd one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ruichat.align.think.questions import Question
from ruichat.align.think.rewards import Truth
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.regions import GEOMETRY_DIM
from ruichat.truth.bags import BagBatch

DIM = 4
NUM_REGIONS = 2


class TinyQuestions:
    """Two regions of one tile each. The answer is always yes, and cites the one that differs."""

    def __init__(self, processor: RuiChatProcessor, seed: int, num: int) -> None:
        self.processor = processor
        self.where = np.random.default_rng(seed).integers(NUM_REGIONS, size=num)

    def __len__(self) -> int:
        return len(self.where)

    def question(self, number: int) -> Question:
        spell = self.processor
        ids = [*spell.prefix_ids(NUM_REGIONS, ""), *spell.question_ids("?"), spell.pieces.think]
        region = int(self.where[number])
        truth = Truth(
            kind="tiny",
            answer=answer(True, region + 1),
            key="yes",
            options=("yes", "no"),
            markers=("Yes", "No"),
            evidence=(region,),
            allowed=(region,),
            area_mm2=(1.0, 1.0),
        )
        return Question(tuple(ids), truth)

    def name(self, number: int) -> str:
        """See `Questions`."""
        return f"question {number}"

    def regions(self, numbers: Sequence[int]) -> BagBatch:
        b = len(numbers)
        tiles = torch.zeros(b, NUM_REGIONS, DIM)
        tiles[:, :, 0] = 1.0
        tiles[range(b), self.where[list(numbers)]] = torch.eye(DIM)[1]
        return BagBatch(
            tile_embeddings=tiles,
            tile_region=torch.arange(NUM_REGIONS).expand(b, -1).clone(),
            region_geometry=torch.zeros(b, NUM_REGIONS, GEOMETRY_DIM),
            region_mask=torch.ones(b, NUM_REGIONS, dtype=torch.bool),
        )


def answer(yes: bool, region: int) -> str:
    return f"{'Yes' if yes else 'No'}[R{region}]"


def tiny_thinker(processor: RuiChatProcessor, seed: int = 0) -> RuiChatForConditionalGeneration:
    torch.manual_seed(seed)
    text = {
        "model_type": "qwen3",
        "vocab_size": processor.vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    num_added = len(processor.pieces.added)
    config = RuiChatConfig(text_config=text, bag_dim=DIM, pool_heads=2, num_added=num_added)
    model = RuiChatForConditionalGeneration(config)
    with torch.no_grad():
        model.region_encoder.scale.fill_(1.0)
    return model


def teach_form(
    model: RuiChatForConditionalGeneration, questions: TinyQuestions, steps: int
) -> None:
    """The form alone: yes and no, and both regions, whatever is on the slide."""
    spell, rng = questions.processor, np.random.default_rng(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        numbers = rng.integers(len(questions), size=16).tolist()
        prompts = [list(questions.question(number).prompt_ids) for number in numbers]
        said = [answer(bool(rng.random() < 0.5), int(rng.integers(1, 3))) for _ in numbers]
        ends = [spell.answer_ids(text, "fat")[1:] for text in said]
        rows = [prompt + end for prompt, end in zip(prompts, ends, strict=True)]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        labels = torch.tensor(
            [
                [-100] * len(prompt) + end + [-100] * (longest - len(prompt) - len(end))
                for prompt, end in zip(prompts, ends, strict=True)
            ]
        )
        loss = model(ids, labels=labels, **questions.regions(numbers).inputs).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

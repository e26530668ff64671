"""TRL's GRPO on our model: slides reach generation and log-probabilities, rewards are checked.

Two things differ from a model of text. A prompt is the number of a question, whose regions are
looked up wherever the model is called; and the logits hold the pointer's scores of region names,
so that TRL's fused output layer, which multiplies by the vocabulary alone, can't be used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from jaxtyping import Float, Int
from torch import Tensor
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from ruichat.align.loop import DivergedError
from ruichat.align.think.rewards import NAMES, RewardConfig, score
from ruichat.align.think.sheet import Sheet
from ruichat.align.think.tokenizer import TrainerTokenizer
from ruichat.align.think.written import Marks, read_written
from ruichat.model.adapter import bare_model
from ruichat.model.processing import RuiChatProcessor

Reward = Callable[..., list[float]]


def build_rewards(sheet: Sheet, processor: RuiChatProcessor, config: RewardConfig) -> list[Reward]:
    """One function per reward, as TRL calls them; the first also notes the kinds of questions."""
    pieces = processor.pieces
    marks = Marks(pieces.think, pieces.think_end, pieces.end)

    def scores(prompts: Sequence[str], ids: Sequence[Sequence[int]]) -> list[Mapping[str, float]]:
        # The prompt has opened the thought already.
        written = (read_written([marks.think, *row], marks, processor.decode) for row in ids)
        truths = (sheet.question(name).truth for name in prompts)
        return [score(one, truth, config) for one, truth in zip(written, truths, strict=True)]

    def build(name: str) -> Reward:
        def reward(
            prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **more: Any
        ) -> list[float]:
            earned = [one[name] for one in scores(prompts, completion_ids)]
            if name == NAMES[0]:
                for prompt, value in zip(prompts, earned, strict=True):
                    more["log_metric"](f"kinds/{sheet.question(prompt).truth.kind}", value)
            return earned

        reward.__name__ = name
        return reward

    return [build(name) for name in NAMES]


class SlideGRPOTrainer(GRPOTrainer):
    """GRPO whose prompts are questions about slides.

    Args:
        sheet: the questions.
        processor: of the model.
        earned: what each held-out question earned when it was last asked; filled here.
        **rest: as `GRPOTrainer`.
    """

    args: GRPOConfig

    def __init__(
        self, *, sheet: Sheet, processor: RuiChatProcessor, earned: dict[str, float], **rest: Any
    ) -> None:
        self._sheet, self._earned = sheet, earned
        self._numbers: Int[Tensor, " b"] = torch.zeros(0, dtype=torch.long)
        self._barred = list(processor.pieces.never_written)
        super().__init__(processing_class=TrainerTokenizer(processor), **rest)

    def _send_telemetry(self) -> None:
        """Nothing: what is trained where is nobody's business."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: a state of the trainer is no model."""

    def evaluate(self, *args: Any, **more: Any) -> dict[str, float]:
        """Ask the held-out questions, each time by the same chances.

        So scores differ by what was learnt alone; the chances of training go on undisturbed.
        """
        self._earned.clear()
        accelerator = self.accelerator
        devices = [accelerator.device] if accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.args.seed + accelerator.process_index)
            return super().evaluate(*args, **more)

    def _calculate_rewards(self, inputs: Any, prompts: list[str], *rest: Any) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, *rest)
        if self.model is not None and not self.model.training:
            sums = rewards @ self.reward_weights.to(rewards)
            self._earned.update(zip(gather_object(prompts), sums.tolist(), strict=True))
        return rewards

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        ids = [list(self._sheet.question(name).prompt_ids) for name in prompts]
        with torch.no_grad():
            regions = self._regions([self._sheet.number(name) for name in prompts])
        return ids, None, regions

    def _regions(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Region vectors of the slide of each row; a slide that rows share is encoded once."""
        found = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
        bags = self._sheet.regions(list(found)).to(self.accelerator.device)
        model = bare_model(self.accelerator.unwrap_model(self.model))
        embeds = model.encode_regions(bags.tile_embeddings, bags.tile_region, bags.region_geometry)
        rows = [found[number] for number in numbers]
        return {"region_embeds": embeds[rows], "region_mask": bags.region_mask[rows]}

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        numbers = [self._sheet.number(row["prompt"]) for row in inputs]
        self._numbers = torch.tensor(numbers, device=self.accelerator.device)
        output = super()._generate_and_score_completions(inputs)
        return output | {"numbers": self._numbers}

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._numbers = inputs["numbers"]
        loss: Tensor = super()._compute_loss(model, inputs)
        if not torch.isfinite(loss):
            asked = dict.fromkeys(self._numbers.tolist())
            raise DivergedError(
                "the loss", self.state.global_step, [self._sheet.called(one) for one in asked]
            )
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Int[Tensor, "b t"],
        attention_mask: Int[Tensor, "b t"],
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **_: Any,
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"] | None, None]:
        """Log-probabilities of the completions as they are sampled: pointer and bars included."""
        logps: list[Tensor] = []
        entropies: list[Tensor] = []
        for rows in torch.arange(len(input_ids), device=input_ids.device).split(
            batch_size or len(input_ids)
        ):
            ids, mask = input_ids[rows], attention_mask[rows]
            with self.accelerator.autocast():
                regions = self._regions(self._numbers[rows].tolist())
                logits = model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                    logits_to_keep=logits_to_keep + 1,
                    use_cache=False,
                    **regions,
                ).logits[:, :-1]
            logits[..., self._barred] = float("-inf")
            logprobs = torch.log_softmax(logits.float() / self.temperature, dim=-1)
            asked = ids[:, -logits_to_keep:, None]
            # Padding may stand for what can't be written: its probability isn't asked for.
            read = mask[:, -logits_to_keep:].bool()
            logps.append(logprobs.gather(-1, asked)[..., 0].masked_fill(~read, 0.0))
            if compute_entropy:
                entropies.append(_entropy(logprobs.detach()))
        return torch.cat(logps), torch.cat(entropies) if compute_entropy else None, None


def _entropy(logprobs: Float[Tensor, "b c v"]) -> Float[Tensor, "b c"]:
    return torch.special.entr(logprobs.exp()).sum(-1)

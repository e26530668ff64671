"""Reinforcement learning of thoughts: rewards that can be checked, by TRL's GRPO."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import PrinterCallback
from transformers.integrations.integration_utils import TensorBoardCallback
from trl.trainer.grpo_config import GRPOConfig

from ruichat.align.loop import Log, alone_in
from ruichat.align.think.questions import Questions
from ruichat.align.think.rewards import NAMES
from ruichat.align.think.rules import ReinforceConfig
from ruichat.align.think.sheet import Sheet
from ruichat.align.think.telling import States, Telling
from ruichat.align.think.trainer import SlideGRPOTrainer, build_rewards
from ruichat.align.training.processes import start_processes
from ruichat.model.adapter import bare_model, language_matrices
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor


def reinforce(
    config: ReinforceConfig,
    model: RuiChatForConditionalGeneration | PeftModel,
    processor: RuiChatProcessor,
    train: Questions,
    held_out: Questions,
    out: Path,
    *,
    settings: str = "",
    log: Log = print,
) -> PeftModel:
    """Train on rewards; goes on from `out` if a whole state is there.

    Args:
        config: settings.
        model: knows thoughts. Its adapter learns on where it has one; else a fresh one and the
            pointer learn. All other weights stay as they are.
        processor: of the model.
        train: at least `config.num_questions`.
        held_out: asked, never learnt from.
        out: for states and curves.
        settings: fingerprint of what else decides the run; a folder with another is refused.
        log: takes lines.

    Returns:
        The model with its adapter.

    Raises:
        ConfigError: the folder holds a run with other settings, or is in use; processes don't fit
            the batch.
        ModelError: the loss isn't finite.
    """
    settings = f"{config.fingerprint()}-{settings}"
    states, processes = States(out, settings), start_processes()
    curves = TensorBoardCallback()
    curves.logging_dir = str(out / "tensorboard")
    sheet = Sheet({"train": train, "held_out": held_out})
    with ExitStack() as stack:
        if processes.is_main:
            stack.enter_context(alone_in(out))
        # The others wait here until the main process has removed what was never finished.
        resumed = processes.agree(states.newest() if processes.is_main else None)
        stack.enter_context(_lent(bare_model(model), processor))
        earned: dict[str, float] = {}
        told = [states, Telling(log, out / "held_out.jsonl", earned, settings), curves]
        trainer = _trainer(config, model, processor, sheet, out, told, earned)
        if resumed is None:
            trainer.evaluate()
        else:
            log(f"think: going on from {resumed.name}")
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        return _without_reference(trainer.accelerator.unwrap_model(trainer.model))


def _without_reference(model: PeftModel) -> PeftModel:
    """The trainer keeps a copy of an adapter that it was given, to measure how far it is left."""
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
        model.set_adapter("default")
    return model


@contextmanager
def _lent(model: RuiChatForConditionalGeneration, processor: RuiChatProcessor) -> Generator[None]:
    """The trainer writes its own ends and its own forward into a model; they are taken back."""
    configs = (model.config, model.config.text_config)
    before, generation = [dict(vars(one)) for one in configs], model.generation_config
    model.generation_config = copy.deepcopy(generation)
    for settings in (model.config.text_config, model.generation_config):
        settings.eos_token_id, settings.pad_token_id = processor.end_id, processor.pieces.pad
    try:
        with warnings.catch_warnings():
            # Of transformers, about names that TRL gives to its own settings.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for one, kept in zip(configs, before, strict=True):
            vars(one).clear()
            vars(one).update(kept)
        model.generation_config = generation
        vars(model).pop("forward", None)


def _trainer(
    config: ReinforceConfig,
    model: RuiChatForConditionalGeneration | PeftModel,
    processor: RuiChatProcessor,
    sheet: Sheet,
    out: Path,
    callbacks: list[Any],
    earned: dict[str, float],
) -> SlideGRPOTrainer:
    fresh = None
    if not hasattr(model, "peft_config"):
        fresh = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules=language_matrices(model),
            modules_to_save=["pointer"],
        )
    trainer = SlideGRPOTrainer(
        sheet=sheet,
        processor=processor,
        earned=earned,
        model=model,
        args=_arguments(config, out, processor),
        reward_funcs=build_rewards(sheet, processor, config.rewards),
        train_dataset=Dataset.from_dict({"prompt": sheet.names("train")}),
        eval_dataset=Dataset.from_dict({"prompt": sheet.names("held_out")}),
        peft_config=fresh,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(config: ReinforceConfig, out: Path, processor: RuiChatProcessor) -> GRPOConfig:
    from accelerate import PartialState

    processes = PartialState().num_processes
    parts = config.parts_of_a_step(processes)
    weights = config.rewards.model_dump()
    return GRPOConfig(
        output_dir=str(out),
        # NumPy's old generator takes 32 bits, and every process adds its number.
        seed=config.seed % (2**32 - processes),
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup * config.steps),
        per_device_train_batch_size=config.rows,
        per_device_eval_batch_size=config.rows,
        gradient_accumulation_steps=parts,
        num_generations=config.group,
        num_generations_eval=1,
        max_completion_length=config.max_tokens,
        temperature=config.temperature,
        generation_kwargs={"suppress_tokens": list(processor.pieces.never_written)},
        loss_type=config.loss,
        beta=config.beta,
        epsilon=config.clip_ratio,
        scale_rewards=config.scale,
        reward_weights=[float(weights[name]) for name in NAMES],
        max_grad_norm=config.clip,
        bf16=config.precision == "bf16",
        gradient_checkpointing=config.gradient_checkpointing,
        shuffle_dataset=False,
        eval_strategy="steps",
        eval_steps=config.eval_every,
        logging_steps=config.log_every,
        save_steps=config.checkpoint_every,
        save_total_limit=config.keep,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )

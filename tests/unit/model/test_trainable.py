"""A checkpoint goes on learning where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes_model import tiny_model, train_tokenizer
from peft import LoraConfig, PeftModel, get_peft_model

from ruichat.errors import ArtifactError
from ruichat.model.checkpoint import save_checkpoint
from ruichat.model.checkpoint_files import WEIGHTS_FILE
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.trainable import load_trainable


def test_base_and_adapter_come_back_apart(tmp_path: Path) -> None:
    processor = RuiChatProcessor(train_tokenizer(tmp_path))
    model = get_peft_model(
        tiny_model(processor.vocab_size),
        LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["pointer"]),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model, processor, name="tiny", encoder_digest="")
    loaded = load_trainable(folder)
    ids = torch.tensor([[1, 5, 9, 80]])
    wanted, found = (m.eval()(ids).logits for m in (model, loaded.model))
    finite = torch.isfinite(wanted)
    torch.testing.assert_close(found[finite], wanted[finite])
    learning = {n for n, p in loaded.model.named_parameters() if p.requires_grad}
    assert learning == {n for n, p in model.named_parameters() if p.requires_grad}
    assert loaded.manifest.details["name"] == "tiny"


def test_an_adapter_without_room_is_no_misfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = RuiChatProcessor(train_tokenizer(tmp_path))
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    model = get_peft_model(tiny_model(processor.vocab_size), lora)
    save_checkpoint(tmp_path / "kept", model, processor, name="tiny", encoder_digest="")

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PeftModel, "from_pretrained", fail)
    with pytest.raises(torch.OutOfMemoryError):
        load_trainable(tmp_path / "kept")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    processor = RuiChatProcessor(train_tokenizer(tmp_path))
    folder = tmp_path / "checkpoint"
    save_checkpoint(
        folder, tiny_model(processor.vocab_size), processor, name="tiny", encoder_digest=""
    )
    (folder / WEIGHTS_FILE).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"isn't what manifest\.json says"):
        load_trainable(folder)

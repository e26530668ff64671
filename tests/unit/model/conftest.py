"""One tiny tokenizer, model and slide for all tests of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes_model import tiny_model, tiny_slide, train_tokenizer

from ruichat.model.chat_model import SlideContext
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def processor(tokenizer_file: Path) -> RuiChatProcessor:
    return RuiChatProcessor(tokenizer_file)


@pytest.fixture(scope="session")
def model(processor: RuiChatProcessor) -> RuiChatForConditionalGeneration:
    return tiny_model(processor.vocab_size)


@pytest.fixture(scope="session")
def slide() -> SlideContext:
    return tiny_slide()

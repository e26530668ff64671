"""A tiny tokenizer, trained once, and a tiny model with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from ruichat.model.processing import RuiChatProcessor
from ruichat.model.vocabulary import trainer_options

SENTENCES = (
    "Is there tumour on this slide, and where?",
    "Yes: irregular glands [R7][R12] in a desmoplastic stroma.",
    "The tissue covers {tissue_mm2} mm2 in {num_regions} regions.",
    "What tissue is in region [R3]? Mostly necrosis and mucus.",
    "Compare the left half with the right half of the slide.",
    "切片上有肿瘤吗？在哪里？",
    "有，不规则的癌性腺体见于[R7][R12]，间质纤维化。",
    "组织面积为{tissue_mm2}平方毫米，区域[R3]以坏死为主。",
    "无法判断：苏木精-伊红染色不能显示免疫组化结果。",
)


def train_tokenizer(folder: Path, vocab_size: int = 500) -> Path:
    """Train a tokenizer of our form on a few sentences; returns the model file."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_prefix=str(folder / "tokenizer"),
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **trainer_options(vocab_size),
    )
    return folder / "tokenizer.model"


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def processor(tokenizer_file: Path) -> RuiChatProcessor:
    return RuiChatProcessor(tokenizer_file)

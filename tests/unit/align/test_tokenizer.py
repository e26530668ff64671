"""The tokenizer: nothing is lost in either language, special pieces are single."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from ruichat.align.corpus import CorpusConfig
from ruichat.align.segmenting import split_words
from ruichat.align.tokenizer import TokenizerConfig, TokenizerReport, train_tokenizer
from ruichat.errors import ConfigError
from ruichat.model.vocabulary import FACT_PIECES, REGION_PIECES, SPECIAL_PIECES

CONFIG = TokenizerConfig(vocab_size=2000, num_dialogues=200, corpus=CorpusConfig(num_written=200))

TEXTS = (
    "Yes, there is tumour: lung adenocarcinoma [R3][R7].",
    "有肿瘤：肺腺癌 [R3][R7]。",
    "Tumour makes up {tumour_percent} of the tissue [R1].",
    "未见肿瘤；组织为正常肺组织 [R2][R5]。",
    "HER2? Ki-67 20%?  two  spaces",
    "鬱龘 are rare; so is \N{SLICE OF PIZZA}, and 12.3 mm² at 0.25 µm/px.",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TokenizerReport]:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return path, train_tokenizer(CONFIG, None, path)


@pytest.fixture(scope="module")
def tokenizer(
    trained: tuple[Path, TokenizerReport],
) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(trained[0]))


@pytest.mark.parametrize("text", TEXTS)
def test_roundtrip(tokenizer: sentencepiece.SentencePieceProcessor, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_pieces_come_first_and_are_single(
    tokenizer: sentencepiece.SentencePieceProcessor,
) -> None:
    pieces = tuple(tokenizer.id_to_piece(i) for i in range(len(SPECIAL_PIECES)))
    assert pieces == SPECIAL_PIECES
    for piece in (*REGION_PIECES, *FACT_PIECES):
        ids = tokenizer.encode(f"见{piece}x")
        assert tokenizer.piece_to_id(piece) in ids
        assert tokenizer.encode(piece) == [tokenizer.piece_to_id(piece)]


def test_digits_are_split(tokenizer: sentencepiece.SentencePieceProcessor) -> None:
    pieces = tokenizer.encode("12 345", out_type=str)
    assert [piece.strip("\u2581") for piece in pieces if piece != "\u2581"] == list("12345")


def test_both_languages_are_spelled_well(trained: tuple[Path, TokenizerReport]) -> None:
    report = trained[1]
    assert report.vocab_size == CONFIG.vocab_size
    assert report.tokens_per_character["en"] < 0.35
    assert report.tokens_per_character["zh"] < 0.75
    assert max(report.byte_share.values()) < 0.1


def test_same_settings_same_tokenizer(tmp_path: Path) -> None:
    config = TokenizerConfig(
        vocab_size=1300, num_dialogues=60, corpus=CorpusConfig(num_written=100)
    )
    for name in ("one", "other"):
        train_tokenizer(config, None, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_too_large_a_vocabulary_is_refused(tmp_path: Path) -> None:
    config = TokenizerConfig(
        vocab_size=20_000, num_dialogues=10, corpus=CorpusConfig(num_written=10)
    )
    with pytest.raises(ConfigError, match="20000 pieces"):
        train_tokenizer(config, None, tmp_path / "never.model")
    assert not (tmp_path / "never.model").exists()


@pytest.mark.parametrize("text", TEXTS)
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(split_words(text)) == text


def test_chinese_pieces_keep_to_words(tokenizer: sentencepiece.SentencePieceProcessor) -> None:
    assert split_words("切片上有没有肺腺癌？") == ["切片", "上", "有没有", "肺腺癌", "？"]
    pieces = tokenizer.encode("切片上有肿瘤吗？在哪里？", out_type=str)
    assert "肿瘤" in pieces and "哪里" in pieces

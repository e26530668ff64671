"""Trains the bilingual tokenizer on corpus and dialogues, and measures how well it spells."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import sentencepiece
from pydantic import Field

from ruichat.align.corpus import CorpusConfig, read_corpus
from ruichat.align.segmenting import split_words
from ruichat.config import Config, Seed
from ruichat.errors import ConfigError
from ruichat.histology import Language
from ruichat.model.vocabulary import (
    CANNOT,
    FACT_PIECES,
    REGION_PIECES,
    SPECIAL_PIECES,
    trainer_options,
)
from ruichat.storage.artifacts import write_atomic
from ruichat.truth.dialogues import Balance, write_dialogue
from ruichat.truth.symbolic import draw_symbolic_slide

_PIECES = re.compile("|".join(re.escape(p) for p in (*REGION_PIECES, *FACT_PIECES, CANNOT)))

_ASCII = "".join(chr(code) for code in range(33, 127))
_SIGNS = "，。？！：；、（）“”《》·—²µ±×≥≤°%"
_COMMON_CHINESE = (
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家"
    "学对可她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见"
    "经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话"
    "儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真"
    "听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立"
    "马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制"
    "解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎"
    "元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武"
    "半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱"
    "党倒未持取设始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯"
    "专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴切除药病医院癌症检查验阴阳细胞核组织诊断"
)
"""Frequent characters, so that a question about anything is spelled in characters, not bytes."""


class TokenizerConfig(Config):
    """Settings of the tokenizer stage."""

    seed: Seed = 0
    vocab_size: int = Field(default=6000, gt=len(SPECIAL_PIECES) + 256)
    """Pieces in all, the special ones and 256 bytes among them."""
    num_dialogues: int = Field(default=6000, ge=0)
    """Dialogues written for its training text."""
    corpus: CorpusConfig = CorpusConfig()


@dataclass(frozen=True, slots=True)
class TokenizerReport:
    """How a tokenizer spells text it wasn't trained on.

    Attributes:
        vocab_size: pieces in all.
        tokens_per_character: text tokens per character, by language.
        byte_share: share of text tokens that are single bytes, by language.
    """

    vocab_size: int
    tokens_per_character: dict[Language, float]
    byte_share: dict[Language, float]


def train_tokenizer(config: TokenizerConfig, data_root: Path | None, out: Path) -> TokenizerReport:
    """Train a sentencepiece model and write it to `out`, the same for the same settings.

    Args:
        config: settings.
        data_root: see `read_corpus`.
        out: path of the model, `tokenizer.model` in a checkpoint.

    Raises:
        ConfigError: the text has fewer distinct pieces than `vocab_size`.
    """
    model = io.BytesIO()
    texts = [
        part
        for text, language in training_texts(config, data_root)
        for part in (split_words(text) if language == "zh" else (text,))
    ]
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            character_coverage=1.0,
            max_sentence_length=8192,
            # Sums over threads would depend on their order.
            num_threads=1,
            minloglevel=2,
            required_chars="".join(sorted(set(_ASCII + _SIGNS + _COMMON_CHINESE))),
            **cast(dict[str, Any], trainer_options(config.vocab_size)),
        )
    except RuntimeError as error:
        raise ConfigError(
            f"no tokenizer of {config.vocab_size} pieces from {len(texts)} passages: {error}",
            hint="Lower vocab_size or give more text",
        ) from error
    write_atomic(out, model.getvalue())
    return measure_tokenizer(out, held_out_texts(config))


def training_texts(
    config: TokenizerConfig, data_root: Path | None
) -> Iterator[tuple[str, Language]]:
    """Corpus and dialogues without special pieces, which the tokenizer holds anyway."""
    yield from read_corpus(data_root, seed=config.seed, config=config.corpus)
    yield from _dialogue_texts(np.random.default_rng((config.seed, 4)), config.num_dialogues)


def held_out_texts(config: TokenizerConfig) -> Iterator[tuple[str, Language]]:
    """Dialogues with wordings and slides that training text doesn't hold."""
    rng = np.random.default_rng((config.seed, 5))
    yield from _dialogue_texts(rng, 300, held_out=True)


def _dialogue_texts(
    rng: np.random.Generator, num: int, *, held_out: bool = False
) -> Iterator[tuple[str, Language]]:
    balance = Balance()
    for i in range(num):
        language: Language = "zh" if i % 2 else "en"
        slide = draw_symbolic_slide(rng) if i % 10 else None
        split = "test" if held_out else "train"
        for qa in write_dialogue(slide, rng, language, split=split, balance=balance):
            for text in (qa.question, qa.answer):
                if plain := " ".join(_PIECES.sub(" ", text).split()):
                    yield plain, language


def measure_tokenizer(path: Path, texts: Iterable[tuple[str, Language]]) -> TokenizerReport:
    """Measure text tokens per character in both languages."""
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokens: defaultdict[Language, int] = defaultdict(int)
    num_bytes: defaultdict[Language, int] = defaultdict(int)
    characters: defaultdict[Language, int] = defaultdict(int)
    for text, language in texts:
        ids: list[int] = tokenizer.encode(text)
        tokens[language] += len(ids)
        num_bytes[language] += sum(tokenizer.is_byte(i) for i in ids)
        characters[language] += len(text)
    return TokenizerReport(
        vocab_size=int(tokenizer.get_piece_size()),
        tokens_per_character={k: tokens[k] / characters[k] for k in tokens},
        byte_share={k: num_bytes[k] / tokens[k] for k in tokens},
    )

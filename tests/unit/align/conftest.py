"""A tiny tokenizer, and bags of tiles whose embedding says their class."""

from __future__ import annotations

import numpy as np
import pytest
from fakes_model import train_tokenizer

from ruichat.features.encoder import ENCODERS
from ruichat.histology import KEYS
from ruichat.model.processing import RuiChatProcessor
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank
from ruichat.truth.symbolic import SymbolicConfig

LAYOUT = SymbolicConfig(max_regions=4, min_side=3, max_side=6)


@pytest.fixture(scope="session")
def processor(tmp_path_factory: pytest.TempPathFactory) -> RuiChatProcessor:
    return RuiChatProcessor(train_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="session")
def bank() -> TileBank:
    """Tiles of every class, half for training and half held out, as wide as mini's."""
    rng = np.random.default_rng(0)
    main = np.tile(np.arange(len(KEYS)), 8)
    n, d = len(main), ENCODERS.get("mini").dim
    target = np.eye(len(KEYS), dtype=np.float32)[main]
    directions = rng.standard_normal((len(KEYS), d))
    embeddings = directions[main][:, None] + 0.3 * rng.standard_normal((n, 2, d))
    return TileBank(
        embeddings=embeddings.astype(np.float32),
        colour=np.zeros((n, 2, 6), np.float32),
        target=target,
        partial=np.zeros(n, bool),
        source=np.full(n, "drawn"),
        group=np.arange(n).astype(np.str_),
        split=np.where(np.arange(n) < n // 2, "train", "val"),
    )


@pytest.fixture(scope="session")
def bags(bank: TileBank) -> BagMaker:
    return BagMaker(bank, "train", LAYOUT)


@pytest.fixture(scope="session")
def held_out_bags(bank: TileBank) -> BagMaker:
    return BagMaker(bank, "val", LAYOUT)

"""Encoder training: its losses, its views, and the axes it leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ruichat.align.encoder import (
    EncoderTrainingConfig,
    Heads,
    class_loss,
    draw_views,
    normalise,
    vicreg_loss,
)
from ruichat.align.stain import StainConfig
from ruichat.features.encoder import ENCODERS
from ruichat.features.mini.graph import NUM_STATISTICS
from ruichat.histology import KEYS
from ruichat.truth.tiles import MALIGNANT_ROW

N = 6
BAD = torch.from_numpy(MALIGNANT_ROW)
CONFIG = EncoderTrainingConfig(sources=[], view_px=32, min_crop_px=40)
UNSTAINED = StainConfig(concentration=0, vector=0, offset=0)


def logits_and_target() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(N, len(KEYS), generator=generator)
    return logits, torch.rand(N, len(KEYS), generator=generator).softmax(1)


def test_full_rows_are_cross_entropy() -> None:
    logits, target = logits_and_target()
    loss = class_loss(logits, target, torch.zeros(N, dtype=torch.bool))
    torch.testing.assert_close(loss, F.cross_entropy(logits, target))


def test_partial_rows_ask_for_the_malignant_share_alone() -> None:
    logits, target = logits_and_target()
    partial = torch.ones(N, dtype=torch.bool)
    moved = target.clone()
    for part in (BAD, ~BAD):
        moved[:, part] = target[:, part].sum(1, keepdim=True) / int(part.sum())
    assert not torch.allclose(moved, target)
    loss = class_loss(logits, target, partial)
    torch.testing.assert_close(class_loss(logits, moved, partial), loss)
    share = target[:, BAD].sum(1)
    torch.testing.assert_close(
        loss, F.binary_cross_entropy(logits.softmax(1)[:, BAD].sum(1), share)
    )
    swapped = class_loss(logits, target.flip(0), partial)
    assert not torch.allclose(swapped, loss)


def test_rows_of_both_kinds_are_told_apart() -> None:
    logits, target = logits_and_target()
    partial = torch.arange(N) % 2 == 0
    rows = [class_loss(logits[i : i + 1], target[i : i + 1], partial[i : i + 1]) for i in range(N)]
    torch.testing.assert_close(class_loss(logits, target, partial), torch.stack(rows).mean())


def test_agreement_is_free_only_for_equal_views_that_tell_tiles_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(64, 8, generator=generator)
    # Uncorrelated columns of zero mean and a deviation just above one.
    spread = torch.linalg.qr(spread - spread.mean(0)).Q * 63**0.5 * 1.01
    assert float(vicreg_loss(spread, spread)) < 1e-3
    collapsed = torch.zeros(64, 8)
    assert float(vicreg_loss(collapsed, collapsed)) > 0.9
    assert float(vicreg_loss(spread, spread.flip(0))) > 1
    repeated = spread[:, :1].expand(-1, 8)
    assert float(vicreg_loss(repeated, repeated)) > 0.3


def test_views_have_the_configured_size_and_range() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (11, 48, 48, 3), np.uint8)
    views = draw_views(rgb, CONFIG, np.random.default_rng(1))
    assert views.shape == (11, 3, 32, 32)
    assert bool(((views >= 0) & (views <= 1)).all())
    assert torch.equal(views, draw_views(rgb, CONFIG, np.random.default_rng(1)))
    assert not torch.equal(views, draw_views(rgb, CONFIG, np.random.default_rng(2)))


def test_views_stay_in_the_order_of_their_tiles() -> None:
    level = np.linspace(30, 250, 19).astype(np.uint8)
    rgb = np.broadcast_to(level[:, None, None, None], (19, 48, 48, 3)).copy()
    config = CONFIG.model_copy(update={"stain": UNSTAINED})
    views = draw_views(rgb, config, np.random.default_rng(0))
    mean = views.flatten(1).mean(1)
    torch.testing.assert_close(mean, torch.from_numpy(level / 255).float(), atol=2e-3, rtol=0)


def test_training_scales_its_input_as_the_card_says() -> None:
    card = ENCODERS.get("mini")
    rgb = torch.rand(2, 3, 4, 4)
    stated = (rgb - torch.tensor(card.mean).view(1, 3, 1, 1)) / torch.tensor(card.std).view(
        1, 3, 1, 1
    )
    torch.testing.assert_close(normalise(rgb), stated)


@pytest.fixture
def heads() -> Heads:
    """Heads as training leaves them: a norm that has seen something."""
    torch.manual_seed(0)
    heads = Heads()
    heads(2 + 3 * torch.randn(64, NUM_STATISTICS))
    assert heads.norm.running_var is not None
    with torch.no_grad():
        heads.norm.weight.add_(0.3 * torch.randn(NUM_STATISTICS))
        heads.norm.bias.add_(torch.randn(NUM_STATISTICS))
        heads.norm.running_var.mul_(1 + torch.rand(NUM_STATISTICS))
    return heads.eval()


def test_directions_are_the_classifier_in_raw_statistics(heads: Heads) -> None:
    statistics = 2 + 3 * torch.randn(9, NUM_STATISTICS)
    logits = heads(statistics)[0].detach()
    shift = logits - statistics @ heads.directions().T
    torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-4, rtol=0)
    assert float(logits.std(0).min()) > 0.01

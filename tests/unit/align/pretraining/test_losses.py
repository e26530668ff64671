"""Losses of self-supervision beside slow references, cases known by hand, and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from ruichat.align.pretraining.balancing import Centre, sinkhorn_offset, targets
from ruichat.align.pretraining.heads import HeadConfig, PrototypeHead
from ruichat.align.pretraining.losses import (
    dino_loss,
    fit_grid,
    gram_loss,
    ibot_loss,
    koleo_loss,
)

TAU = 0.1


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(row: Tensor) -> list[float]:
    odds = [math.exp(float(x)) for x in row]
    return [x / sum(odds) for x in odds]


def cross_entropy(target: Tensor, logits: Tensor) -> float:
    """Of one row, written out."""
    q = softmax(logits / TAU)
    return -sum(float(t) * math.log(p) for t, p in zip(target, q, strict=True))


@pytest.mark.parametrize("same", [True, False])
def test_dino_is_the_mean_over_pairs_of_crops(same: bool) -> None:
    student, teacher = drawn(3, 4, 5), drawn(2 if not same else 3, 4, 5, seed=1).softmax(-1)
    pairs = [(s, t) for s in range(3) for t in range(len(teacher)) if not (same and s == t)]
    wanted = sum(
        cross_entropy(teacher[t, b], student[s, b]) for s, t in pairs for b in range(4)
    ) / len(pairs)
    assert float(dino_loss(student, teacher, same=same)) == pytest.approx(wanted, rel=1e-5)


def test_dino_of_equal_logits_is_the_log_of_their_number() -> None:
    teacher = drawn(2, 3, 8).softmax(-1)
    loss = dino_loss(torch.zeros(4, 3, 8), teacher, same=False)
    assert float(loss) == pytest.approx(3 * math.log(8), rel=1e-6)


def test_ibot_counts_crops_alike_whatever_they_hide() -> None:
    student, teacher = drawn(5, 6), drawn(5, 6, seed=1).softmax(-1)
    hidden_in = [1, 4]  # patches hidden in the two crops of one tile
    weight = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    rows = [cross_entropy(teacher[i], student[i]) for i in range(5)]
    wanted = (rows[0] / hidden_in[0] + sum(rows[1:]) / hidden_in[1]) / 2
    assert float(ibot_loss(student, teacher, weight, 2)) == pytest.approx(wanted, rel=1e-5)


def test_ibot_without_hidden_patches_is_zero() -> None:
    student = drawn(0, 6).requires_grad_()
    loss = ibot_loss(student, drawn(0, 6), torch.zeros(0), 2)
    loss.backward()
    assert loss.item() == 0


def test_koleo_is_the_log_of_the_nearest_distance() -> None:
    x = drawn(7, 4)
    unit = [row / row.norm() for row in x]
    wanted = 0.0
    for i, one in enumerate(unit):
        nearest = min(float((one - other).norm()) for j, other in enumerate(unit) if j != i)
        wanted -= math.log(nearest)
    assert float(koleo_loss(x)) == pytest.approx(wanted, rel=1e-5)


def test_koleo_by_hand() -> None:
    """Four corners of a square on the circle: each one's neighbour is at the root of two."""
    x = torch.tensor([[1.0, 0], [0, 2], [-3, 0], [0, -4]])
    assert float(koleo_loss(x)) == pytest.approx(-4 * math.log(math.sqrt(2)), abs=1e-6)


def test_koleo_drives_apart_and_leaves_one_alone() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1]], requires_grad=True)
    koleo_loss(x).backward()
    assert x.grad is not None
    moved = (x - 0.01 * x.grad).detach()
    assert koleo_loss(moved).item() < koleo_loss(x).item()
    assert float(koleo_loss(torch.ones(1, 3))) == 0


def test_gram_by_its_definition() -> None:
    student, teacher = drawn(2, 4, 3), drawn(2, 4, 3, seed=1)

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b) / (float(a.norm()) * float(b.norm()))

    wanted = sum(
        (cosine(student[b, i], student[b, j]) - cosine(teacher[b, i], teacher[b, j])) ** 2 / 16
        for b in range(2)
        for i in range(4)
        for j in range(4)
    )
    assert float(gram_loss(student, teacher, 1)) == pytest.approx(wanted, rel=1e-5)
    assert float(gram_loss(student, teacher, 2)) == pytest.approx(wanted / 2, rel=1e-5)


def test_gram_sees_neither_lengths_nor_turns() -> None:
    x = drawn(2, 9, 4)
    turn = torch.linalg.qr(drawn(4, 4, seed=2)).Q
    assert float(gram_loss(3 * x @ turn, x, 1)) == pytest.approx(0, abs=1e-10)


def test_teachers_get_no_gradient_from_gram() -> None:
    student, teacher = drawn(2, 4, 3).requires_grad_(), drawn(2, 4, 3, seed=1).requires_grad_()
    gram_loss(student, teacher, 1).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert float(student.grad.abs().sum()) > 0


def test_a_finer_grid_is_reduced() -> None:
    flat = torch.ones(1, 16, 2) * torch.tensor([1.0, -2.0])
    torch.testing.assert_close(fit_grid(flat, 4), torch.ones(1, 4, 2) * torch.tensor([1.0, -2.0]))
    x = drawn(1, 4, 2)
    assert fit_grid(x, 4) is x


def published_sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """As the papers write it: the whole matrix, scaled in place."""
    q = (logits.double() / temperature).exp().T
    num_prototypes, num = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / num_prototypes
        q = q / q.sum(0, keepdim=True) / num
    return (q * num).T.float()


@examples(max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(lambda s: sum(s) > 1),
    iterations=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_sinkhorn_in_parts_is_the_published_one(
    sizes: list[int], iterations: int, seed: int
) -> None:
    logits = drawn(sum(sizes), 5, seed=seed).clamp(-1, 1)
    parts = logits.split(sizes)
    offset = sinkhorn_offset([lambda part=part: part for part in parts], 0.07, iterations)
    given_ = torch.cat([targets(part, offset, 0.07) for part in parts])
    wanted = published_sinkhorn(logits, 0.07, iterations)
    torch.testing.assert_close(given_, wanted, atol=1e-5, rtol=1e-4)


def test_sinkhorn_uses_every_prototype() -> None:
    """All logits favour the first prototype; the targets still spread evenly."""
    logits = drawn(64, 4) * 0.1
    logits[:, 0] += 1
    spread = targets(logits, sinkhorn_offset([lambda: logits], 0.1, 50), 0.1).mean(0)
    torch.testing.assert_close(spread, torch.full((4,), 0.25), atol=1e-3, rtol=0)
    assert float(logits.div(0.1).softmax(-1).mean(0)[0]) > 0.9


def test_sinkhorn_stays_finite_where_exp_would_not() -> None:
    logits = drawn(8, 4) * 1000
    found = targets(logits, sinkhorn_offset([lambda: logits], 0.04), 0.04)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found.sum(1), torch.ones(8))


def test_sinkhorn_of_nothing_changes_nothing() -> None:
    assert sinkhorn_offset([lambda: torch.zeros(0, 4)], 0.1).tolist() == [0, 0, 0, 0]


def test_the_centre_follows_the_mean() -> None:
    centre = Centre(0.9)
    one, two = drawn(4, 3) + 2, drawn(2, 3, seed=1) + 2
    assert centre.offset([lambda: one, lambda: two], 0.5).tolist() == [0, 0, 0]
    mean = torch.cat([one, two]).mean(0)
    torch.testing.assert_close(centre.mean, 0.1 * mean)
    torch.testing.assert_close(centre.offset([lambda: one], 0.5), -0.1 * mean / 0.5)


HEAD = HeadConfig(prototypes=12, hidden=16, bottleneck=6)


def test_a_head_compares_unit_vectors() -> None:
    head = PrototypeHead(8, HEAD)
    logits = head(drawn(5, 8))
    assert logits.shape == (5, 12)
    directions = head.directions(drawn(5, 8))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(5))
    weight = head.prototypes.weight
    wanted = directions @ (weight / weight.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(logits, wanted)
    assert float(logits.abs().max()) <= 1
    with torch.no_grad():
        head.prototypes.weight.mul_(3)
    torch.testing.assert_close(head(drawn(5, 8)), logits)


def test_prototypes_may_be_let_grow() -> None:
    head = PrototypeHead(8, HEAD.model_copy(update={"unit_prototypes": False}))
    before = head(drawn(5, 8))
    with torch.no_grad():
        head.prototypes.weight.mul_(3)
    torch.testing.assert_close(head(drawn(5, 8)), 3 * before)


def test_held_prototypes_get_a_gradient_of_zero() -> None:
    head = PrototypeHead(8, HEAD)
    head(drawn(5, 8), held=True).square().sum().backward()
    assert head.prototypes.weight.grad is not None
    assert float(head.prototypes.weight.grad.abs().max()) == 0
    assert all(float(p.grad.abs().sum()) > 0 for p in head.perceptron.parameters())  # type: ignore[union-attr]
    torch.testing.assert_close(head(drawn(5, 8), held=True), head(drawn(5, 8)))

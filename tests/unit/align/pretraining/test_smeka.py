"""SMEKA beside a slow reference written from its description, by hand, and by its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ruichat.align.pretraining.smeka import (
    RegisterTargets,
    SmekaConfig,
    Tokens,
    check_slots,
    mean_entropy,
    pool_grid,
    smeka_loss,
    smeka_terms,
)
from ruichat.errors import ConfigError

TAU = 0.1


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def student(n: int = 2, side: int = 4, width: int = 6, registers: int = 3) -> Tokens:
    return Tokens(
        drawn(n, width, seed=1),
        drawn(n, side * side, width, seed=2),
        drawn(n, registers, width, seed=3),
    )


def teachers(n: int = 2, sides: Sequence[int] = (5, 4, 5)) -> list[Tokens]:
    """Of different widths and grids, and more or less sure of what is alike."""
    made: list[Tokens] = []
    for k, side in enumerate(sides):
        width = 5 + 2 * k
        patches = drawn(n, side * side, width, seed=10 + k) + k * drawn(1, 1, width, seed=20)
        made.append(Tokens(drawn(n, width, seed=30 + k), patches))
    return made


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    odds = [math.exp(value - top) for value in values]
    return [one / sum(odds) for one in odds]


def kl(student_logits: list[float], teacher_logits: list[float]) -> float:
    p, q = softmax(teacher_logits), softmax(student_logits)
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / (float(a.norm()) * float(b.norm()))


def patch_rows(patches: Tensor) -> list[list[float]]:
    return [[max(0.0, cosine(a, b)) / TAU for b in patches] for a in patches]


def cls_row(cls: Tensor, patches: Tensor) -> list[float]:
    return [cosine(cls, b) / TAU for b in patches]


def pooled(patches: Tensor, side: int) -> Tensor:
    """Cell by cell: the mean of the patches whose rows and columns the cell covers."""
    own = math.isqrt(len(patches))
    grid = patches.reshape(own, own, -1)

    def span(i: int) -> slice:
        return slice(i * own // side, -((-(i + 1) * own) // side))

    cells = [grid[span(r), span(c)].mean((0, 1)) for r in range(side) for c in range(side)]
    return torch.stack(cells)


def reference(
    pupil: Tokens, masters: list[Tokens], projected: list[Tensor], n: int
) -> tuple[float, float, float]:
    """Terms of crop `n`, loop by loop."""
    entropies: list[float] = []
    for master in masters:
        rows = patch_rows(master.patches[n])
        each = [-sum(p * math.log(p) for p in softmax(row)) for row in rows]
        entropies.append(sum(each) / len(each) / math.log(len(rows)))
    weights = softmax([-entropy for entropy in entropies])
    total = [0.0, 0.0, 0.0]
    assert pupil.registers is not None
    for k, master in enumerate(masters):
        own = pooled(pupil.patches[n], math.isqrt(master.patches.shape[1]))
        pairs = zip(patch_rows(own), patch_rows(master.patches[n]), strict=True)
        each = [kl(a, b) for a, b in pairs]
        total[0] += weights[k] * sum(each) / len(each)
        total[1] += weights[k] * kl(
            cls_row(pupil.cls[n], own), cls_row(master.cls[n], master.patches[n])
        )
        slot = [float(x) / TAU for x in pupil.registers[n, k]]
        total[2] += weights[k] * kl(slot, [float(x) / TAU for x in projected[k][n]])
    return total[0], total[1], total[2]


def test_all_terms_are_those_of_the_slow_reference() -> None:
    pupil, masters = student(), teachers()
    projected = [drawn(2, 6, seed=40 + k) for k in range(3)]
    terms = smeka_terms(pupil, masters, projected, TAU)
    for n in range(2):
        wanted = reference(pupil, masters, projected, n)
        given = [float(term[n]) for term in (terms.patches, terms.cls, terms.registers)]
        assert given == pytest.approx(wanted, rel=1e-4)


def test_the_loss_puts_the_terms_together() -> None:
    projected = [drawn(2, 6, seed=40 + k) for k in range(3)]
    terms = smeka_terms(student(), teachers(), projected, TAU)
    config = SmekaConfig(weight=2, patches=3, cls=5, registers=7)
    sums = [float(term.sum()) for term in (terms.patches, terms.cls, terms.registers)]
    wanted = 2 * (3 * sums[0] + 5 * sums[1] + 7 * sums[2]) / 2
    assert float(smeka_loss(terms, config, 2)) == pytest.approx(wanted, rel=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    pupil = student()
    assert pupil.registers is not None
    master = Tokens(pupil.cls, pupil.patches)
    terms = smeka_terms(pupil, [master], [pupil.registers[:, 0]], TAU)
    for term in (terms.patches, terms.cls, terms.registers):
        torch.testing.assert_close(term, torch.zeros(2), atol=1e-6, rtol=0)


def test_two_patches_by_hand() -> None:
    """Orthogonal teacher patches against equal ones of the student: KL of a coin."""
    teacher = Tokens(torch.tensor([[1.0, 0]]), torch.eye(4)[None, :, :2] + 0)
    far = torch.tensor([[[1.0, 0], [-1, 0], [0, 1], [0, -1]]])
    teacher = Tokens(torch.tensor([[1.0, 0]]), far)
    same = Tokens(torch.tensor([[1.0, 1]]), torch.ones(1, 4, 2), torch.zeros(1, 1, 2))
    terms = smeka_terms(same, [teacher], [torch.zeros(1, 2)], TAU)
    # ReLU: a row of the teacher is 10 for the patch itself and 0 for the three others.
    sure = math.exp(10) / (math.exp(10) + 3)
    rest = (1 - sure) / 3
    wanted = sure * math.log(4 * sure) + 3 * rest * math.log(4 * rest)
    assert float(terms.patches[0]) == pytest.approx(wanted, rel=1e-4)
    # No ReLU there: likenesses of CLS are 1, -1, 0, 0.
    p = softmax([10.0, -10.0, 0.0, 0.0])
    assert float(terms.cls[0]) == pytest.approx(sum(x * math.log(4 * x) for x in p), rel=1e-4)
    assert float(terms.registers[0]) == 0


def test_the_surer_teacher_weighs_more() -> None:
    flat, sharp = (
        torch.ones(1, 4, 3),
        torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]]]),
    )
    assert float(mean_entropy(torch.zeros(1, 4, 4))) == pytest.approx(1)
    pupil = Tokens(torch.ones(1, 3), drawn(1, 4, 3), torch.zeros(1, 2, 3))
    masters = [Tokens(torch.ones(1, 3), flat), Tokens(torch.ones(1, 3), sharp)]
    one_sided = [torch.tensor([[9.0, 0, 0]]), torch.zeros(1, 3)]
    terms = smeka_terms(pupil, masters, one_sided, TAU)
    sure = math.exp(10) / (math.exp(10) + 3)
    entropy = -(sure * math.log(sure) + (1 - sure) * math.log((1 - sure) / 3)) / math.log(4)
    weights = softmax([-1.0, -entropy])
    wanted = weights[0] * kl([0.0, 0, 0], [90.0, 0, 0])
    assert float(terms.registers[0]) == pytest.approx(wanted, rel=1e-4)
    assert weights[1] > weights[0]


def test_grids_are_pooled_cell_by_cell() -> None:
    patches = drawn(1, 14 * 14, 3)
    torch.testing.assert_close(pool_grid(patches, 256)[0], pooled(patches[0], 16))
    torch.testing.assert_close(pool_grid(patches, 196)[0], patches[0])


def test_gradients_reach_the_student_and_linear_k_alone() -> None:
    pupil = student()
    assert pupil.registers is not None
    own = [value.requires_grad_() for value in (pupil.cls, pupil.patches, pupil.registers)]
    masters = [Tokens(t.cls.requires_grad_(), t.patches.requires_grad_()) for t in teachers()]
    layers = RegisterTargets([t.cls.shape[1] for t in masters], 6)
    projected = layers([t.cls.detach() for t in masters])
    terms = smeka_terms(pupil, masters, projected, TAU)
    smeka_loss(terms, SmekaConfig(), 1).backward()
    for value in [*own, *layers.parameters()]:
        assert value.grad is not None
        assert float(value.grad.abs().sum()) > 0
    assert all(t.cls.grad is None and t.patches.grad is None for t in masters)


def test_gradients_are_those_of_differences() -> None:
    pupil, masters = student(), teachers()
    projected = [drawn(2, 6, seed=40 + k) for k in range(3)]
    assert pupil.registers is not None

    def loss(cls: Tensor, patches: Tensor, registers: Tensor) -> Tensor:
        terms = smeka_terms(Tokens(cls, patches, registers), masters, projected, TAU)
        return smeka_loss(terms, SmekaConfig(), 1)

    for at in range(3):
        values = [pupil.cls.clone(), pupil.patches.clone(), pupil.registers.clone()]
        values[at].requires_grad_()
        direction = drawn(*values[at].shape, seed=50)
        (slope,) = torch.autograd.grad(loss(*values), values[at])
        moved = [value.detach().clone() for value in values]
        step = 1e-2
        moved[at] = values[at].detach() + step * direction
        up = float(loss(*moved))
        moved[at] = values[at].detach() - step * direction
        down = float(loss(*moved))
        assert float((slope * direction).sum()) == pytest.approx((up - down) / (2 * step), rel=0.03)


def test_every_teacher_needs_a_register() -> None:
    check_slots(3, 4)
    with pytest.raises(ConfigError, match="3 teachers need as many registers; the student has 2"):
        check_slots(3, 2)

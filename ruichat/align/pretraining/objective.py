"""From a micro-batch's crops to its loss: what teachers see, what the student sees, all terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ruichat.align.loop import MicroBatch
from ruichat.align.pretraining.backbone import Source
from ruichat.align.pretraining.balancing import sinkhorn_offset, targets
from ruichat.align.pretraining.colours import distort
from ruichat.align.pretraining.crops import NUM_GLOBAL, Crops
from ruichat.align.pretraining.heads import PrototypeHead
from ruichat.align.pretraining.losses import (
    dino_loss,
    fit_grid,
    gram_loss,
    ibot_loss,
    koleo_loss,
)
from ruichat.align.pretraining.network import Following, Student
from ruichat.align.pretraining.settings import DistillConfig, PretrainConfig
from ruichat.align.pretraining.smeka import Tokens, smeka_loss, smeka_terms
from ruichat.align.stain import scale_concentrations
from ruichat.align.training.placing import to_device
from ruichat.align.training.processes import Processes


@dataclass(frozen=True)
class Aim:
    """What one head of the student is to predict.

    Attributes:
        directions: of the teacher's tokens, before its prototypes.
        offset: that balances the prototypes over the global batch.
    """

    directions: Tensor
    offset: Tensor


@dataclass(frozen=True)
class Batch:
    """A micro-batch on its way: as it was cut, then with what the global batch decides.

    Attributes:
        crops: bytes and strengths.
        wide: global crops with their colours, in 0..1, as the teacher sees them.
        stained: the same as the student sees them.
        narrow: local crops with their colours.
        dino: aim of the CLS tokens.
        ibot: aim of the hidden patches.
        temperature: of the teacher.
        held: prototypes stay as they are in this step.
        anchored: the anchor's loss counts in this step.
    """

    crops: Crops
    wide: Tensor | None = None
    stained: Tensor | None = None
    narrow: Tensor | None = None
    dino: Aim | None = None
    ibot: Aim | None = None
    temperature: float = 0.0
    held: bool = False
    anchored: bool = False


class Objective:
    """The losses of a run.

    Args:
        config: weights and schedules.
        student: what is trained.
        source: how the student's pixels are normalised.
        following: the teacher.
        anchor: how the given anchor's pixels are normalised; as the student's if None.
        frozen: encoders that are distilled.
    """

    def __init__(
        self,
        config: PretrainConfig,
        student: Student,
        source: Source,
        following: Following,
        anchor: Source | None = None,
        frozen: Sequence[Source] = (),
    ) -> None:
        self._config, self._student, self._source = config, student, source
        self._following, self._anchor, self._frozen = following, anchor, frozen
        self._sums: dict[str, Tensor] = {}
        self._tiles = 0

    @torch.no_grad()
    def aim(self, step: int, parts: Sequence[MicroBatch[Batch]]) -> list[MicroBatch[Batch]]:
        """Let the teacher look at the whole global batch; for `run_loop`'s `before_step`."""
        config, steps = self._config, self._config.loop.steps
        device = next(self._student.parameters()).device
        self._following.to(device)
        temperature = config.teacher.temperature.at(step, steps)
        held = step < config.hold_prototypes * steps
        anchored = config.gram is not None and step >= config.gram.from_step
        seen = [self._look(to_device(part.content, device)) for part in parts]
        aims = {
            name: self._balanced(name, [getattr(one, name) for one in seen], temperature)
            for name in ("dino", "ibot")
        }
        done: list[MicroBatch[Batch]] = []
        for i, (part, one) in enumerate(zip(parts, seen, strict=True)):
            own = {name: found[i] for name, found in aims.items() if found}
            content = replace(one, temperature=temperature, held=held, anchored=anchored, **own)
            done.append(replace(part, content=content))
        return done

    def loss(self, batch: Batch) -> Tensor:
        """Sum over the tiles of all terms; for `run_loop`'s `loss_of`."""
        config, network = self._config, self._student.network
        assert batch.stained is not None
        student = network.tokens(self._source.normalise(batch.stained), batch.crops.masked)
        terms = self._self_supervised(batch, student)
        if config.koleo.weight:
            spread = [koleo_loss(c, gather=config.koleo.gather) for c in _by_crop(student.cls)]
            terms["koleo"] = config.koleo.weight * torch.stack(spread).sum()
        if config.gram is not None and batch.anchored and self._following.anchor is not None:
            terms["gram"] = config.gram.weight * self._anchored(batch.crops, student)
        if isinstance(config, DistillConfig):
            terms["smeka"] = self._distilled(config, batch.crops, student)
        for name, value in terms.items():
            before = self._sums.get(name)
            self._sums[name] = value.detach() if before is None else before + value.detach()
        self._tiles += len(batch.stained) // NUM_GLOBAL
        return torch.stack(list(terms.values())).sum()

    def means(self, processes: Processes) -> dict[str, float]:
        """Mean of each term over all processes' tiles since last asked; all must ask."""
        own = [float(value) for value in self._sums.values()]
        *totals, tiles = processes.sums([*own, float(self._tiles)])
        found = {name: total / tiles for name, total in zip(self._sums, totals, strict=True)}
        self._sums, self._tiles = {}, 0
        return found

    def _look(self, batch: Batch) -> Batch:
        """What the teacher makes of a micro-batch, before its prototypes."""
        crops, teacher = batch.crops, self._following.network
        wide = distort(_intensities(crops.wide), crops.wide_colours)
        first, second = _by_crop(wide)
        stained = torch.cat([first, scale_concentrations(second, crops.stain)])
        batch = replace(batch, wide=wide, stained=stained)
        if len(crops.narrow):
            narrow = distort(_intensities(crops.narrow), crops.narrow_colours)
            batch = replace(batch, narrow=narrow)
        if teacher.dino is None and teacher.ibot is None:
            return batch
        half = self._config.loop.precision == "bf16"
        with torch.autocast(wide.device.type, torch.bfloat16, enabled=half):
            tokens = teacher.tokens(self._source.normalise(wide))
            nothing = wide.new_zeros(0)
            if teacher.dino is not None:
                cls = teacher.dino.directions(tokens.cls).float()
                batch = replace(batch, dino=Aim(cls, nothing))
            if teacher.ibot is not None:
                patches = teacher.ibot.directions(tokens.patches[crops.masked]).float()
                batch = replace(batch, ibot=Aim(patches, nothing))
        return batch

    def _balanced(self, name: str, aims: list[Aim | None], temperature: float) -> list[Aim]:
        """The aims of one head with the offset that balances the global batch."""
        there = [aim for aim in aims if aim is not None]
        if not there:
            return []
        head: PrototypeHead = getattr(self._following.network, name)
        parts = [partial(head.logits, aim.directions) for aim in there]
        if self._config.teacher.balancing == "sinkhorn":
            offset = sinkhorn_offset(parts, temperature)
        else:
            offset = self._following.centres[name].offset(parts, temperature)
        return [replace(aim, offset=offset) for aim in there]

    def _self_supervised(self, batch: Batch, student: Tokens) -> dict[str, Tensor]:
        config, own = self._config, self._student.network
        teacher, terms = self._following.network, dict[str, Tensor]()
        if own.dino is not None:
            assert batch.dino is not None
            assert teacher.dino is not None
            wanted = _by_crop(_probabilities(teacher.dino, batch.dino, batch.temperature))
            logits = _by_crop(own.dino(student.cls, held=batch.held))
            total = NUM_GLOBAL * (NUM_GLOBAL - 1) * dino_loss(logits, wanted, same=True)
            pairs = NUM_GLOBAL * (NUM_GLOBAL - 1)
            if batch.narrow is not None:
                num = config.crops.num_local
                cls = own.tokens(self._source.normalise(batch.narrow)).cls
                local = own.dino(cls, held=batch.held).unflatten(0, (num, -1))
                total = total + NUM_GLOBAL * num * dino_loss(local, wanted, same=False)
                pairs += NUM_GLOBAL * num
            terms["dino"] = config.dino.weight * total / pairs
        if own.ibot is not None:
            assert batch.ibot is not None
            assert teacher.ibot is not None
            masked = batch.crops.masked
            counts = masked.sum(1, keepdim=True).clamp_min(1)
            weight = (masked / counts)[masked]
            wanted = _probabilities(teacher.ibot, batch.ibot, batch.temperature)
            logits = own.ibot(student.patches[masked], held=batch.held)
            terms["ibot"] = config.ibot.weight * ibot_loss(logits, wanted, weight, NUM_GLOBAL)
        return terms

    def _anchored(self, crops: Crops, student: Tokens) -> Tensor:
        anchor = self._following.anchor
        assert anchor is not None
        source = self._source
        if self._anchor is not None and self._following.keeps_given:
            source = self._anchor
        with torch.no_grad():
            clean = source.normalise(_intensities(crops.clean))
            patches = anchor.tokens(clean)[:, anchor.num_prefix :]
            wanted = fit_grid(patches, student.patches.shape[1])
        return gram_loss(student.patches, wanted, NUM_GLOBAL)

    def _distilled(self, config: DistillConfig, crops: Crops, student: Tokens) -> Tensor:
        clean, seen = _intensities(crops.clean), list[Tokens]()
        with torch.no_grad():
            for one in self._frozen:
                one.module.to(clean.device)
                pixels = one.normalise(_resized(clean, one.input_px))
                found = one.module.tokens(pixels)
                seen.append(Tokens(found[:, 0], found[:, one.module.num_prefix :]))
        projection = self._student.register_targets
        assert projection is not None
        projected = projection([tokens.cls for tokens in seen])
        terms = smeka_terms(student, seen, projected, config.smeka.temperature)
        return smeka_loss(terms, config.smeka, NUM_GLOBAL)


def _probabilities(head: PrototypeHead, aim: Aim, temperature: float) -> Tensor:
    with torch.no_grad(), torch.autocast(aim.directions.device.type, enabled=False):
        return targets(head.logits(aim.directions), aim.offset, temperature)


def _by_crop(rows: Tensor) -> Tensor:
    return rows.unflatten(0, (NUM_GLOBAL, -1))


def _intensities(crops: Tensor) -> Tensor:
    return crops.permute(0, 3, 1, 2).float() / 255


def _resized(rgb: Tensor, side: int) -> Tensor:
    if rgb.shape[-1] == side:
        return rgb
    small = F.interpolate(rgb, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(0, 1)

"""The formats of dialogues that can be read, one card each."""

from __future__ import annotations

from ruichat.registry import Registry
from ruichat.truth.datasets.formats.card import FormatCard
from ruichat.truth.datasets.formats.conversations import (
    QUILT_INSTRUCT,
    SLIDE_INSTRUCTION,
    WSI_BENCH,
)
from ruichat.truth.datasets.formats.descriptions import HISTGEN, PATHGEN, REPORTS
from ruichat.truth.datasets.formats.own import OWN
from ruichat.truth.datasets.formats.questions import PATH_VQA, QUILT_VQA, WSI_VQA
from ruichat.truth.datasets.formats.tables import MULTI_PATH_QA, SLIDE_BENCH

FORMATS: Registry[FormatCard] = Registry("dialogue format")

for _card in (
    SLIDE_INSTRUCTION,
    WSI_BENCH,
    QUILT_INSTRUCT,
    HISTGEN,
    PATHGEN,
    OWN,
    WSI_VQA,
    PATH_VQA,
    QUILT_VQA,
    SLIDE_BENCH,
    MULTI_PATH_QA,
    REPORTS,
):
    FORMATS.add(_card)

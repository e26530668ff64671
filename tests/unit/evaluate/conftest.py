"""Laid slides whose tiles say their class outright, and questions about them."""

from __future__ import annotations

import pytest
from fakes_evaluate import ReadsOneHot, one_hot_bank

from ruichat.evaluate.config import SlideSuite
from ruichat.evaluate.questions import Asked, draw_questions
from ruichat.evaluate.slides import TestSlide, lay_slides


@pytest.fixture(scope="session")
def suite() -> SlideSuite:
    return SlideSuite(num_laid=40, questions_per_slide=6, num_checked=2)


@pytest.fixture(scope="session")
def slides(suite: SlideSuite) -> list[TestSlide]:
    return lay_slides(one_hot_bank(), suite, ReadsOneHot(), seed=0)


@pytest.fixture(scope="session")
def asked(slides: list[TestSlide], suite: SlideSuite) -> list[Asked]:
    return draw_questions(slides, suite, seed=0)

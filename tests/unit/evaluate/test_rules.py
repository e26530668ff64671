from __future__ import annotations

import numpy as np
import pytest

from ruichat.evaluate.questions import PERCEPTUAL, question_label
from ruichat.evaluate.rules import answer_by_rule
from ruichat.truth.dialogues import KINDS, Balance, write_dialogue
from ruichat.truth.dialogues.reading import Reading
from ruichat.truth.symbolic import draw_symbolic_slide


@pytest.mark.parametrize("language", ["en", "zh"])
def test_rules_fed_with_the_truth_give_the_true_answer(language: str) -> None:
    rng, balance = np.random.default_rng(0), Balance()
    seen: set[str] = set()
    for _ in range(60):
        slide = draw_symbolic_slide(rng)
        reading = Reading(slide)
        for kind in KINDS:
            for qa in write_dialogue(slide, rng, language, (kind,), balance=balance, num_turns=1):
                answer = answer_by_rule(qa, reading)
                if answer is None:
                    assert question_label(qa) not in PERCEPTUAL
                    continue
                seen.add(question_label(qa))
                assert answer.key == qa.key, qa
                assert set(answer.cited) <= set(qa.allowed), qa
    assert seen == set(PERCEPTUAL)

"""The embedded default answers as it always did, to the id."""

from __future__ import annotations

import pytest
from fakes_model import tiny_slide

from ruichat.model.chat_model import Usage
from ruichat.model.checkpoint import MINI_DIR, load_checkpoint
from ruichat.model.processing import Turn

pytestmark = pytest.mark.skipif(
    not (MINI_DIR / "manifest.json").is_file(),
    reason="the embedded model's weights aren't in this checkout",
)

ANSWERS = {
    "Is there tumour in R2, and where else?": (
        [11, 445, 435, 468, 456, 522, 344, 355, 360, 407, 340],
        "[R2] shows mainly lymph node metastasis, with carcinoma nests.",
    ),
    "切片上有肿瘤吗？在哪里？": (
        [366, 371, 399, 566, 345, 11, 14, 395, 449, 345, 11, 341],
        "有肿瘤：淋巴结转移癌 [R2][R5]；癌巢 [R2]。",
    ),
    "What does [R3] show, {focus} <|end|>?": (
        [12, 345, 390, 592, 410, 348, 979, 566, 341],
        "[R3] 以正常口腔黏膜为主，伴淋巴结转移癌。",
    ),
}


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_answers_keep_their_ids(runtime):
    model = load_checkpoint(MINI_DIR, runtime, num_threads=1)
    session = model.open(tiny_slide(like=model))
    prefix = session.num_tokens
    for question, (ids, text) in ANSWERS.items():
        assert [p.token_id for p in session.stream(question, max_tokens=24)] == ids
        assert session.turns[-1] == Turn(question, text)
        assert not session.was_cut
        assert session.usage == Usage(session.num_tokens - len(ids) - 1, prefix, len(ids))
    scores = session.score("Which side?", ["left", "<|cannot|>"])
    assert [round(s.logprob, 3) for s in scores] == pytest.approx([-29.964, -16.663], abs=0.02)
    assert len(list(session.stream("Is there tumour?", max_tokens=2))) == 2
    assert session.was_cut
    assert next(session.stream("why", think=True)).thought


def test_dialogues_keep_their_ids():
    processor = load_checkpoint(MINI_DIR, num_threads=1).processor
    turns = [
        Turn("what is in R2 <|user|>", "fat [R2] {focus}"),
        Turn("为什么", "<|cannot|>and \U0001f600"),
    ]
    encoded = processor.dialogue(turns, 3, "tissue {tissue_mm2} mm2")
    assert encoded.input_ids == [
        1, 4, 10, 11, 12, 5, 455, 1073, 345, 74, 1898, 527, 6, 650, 343, 352, 345, 11, 345, 5789,
        5781, 398, 1130, 5781, 5788, 7, 3580, 345, 11, 345, 81, 8, 6, 369, 472, 7, 9, 1536, 345,
        324, 243, 236, 212, 8,
    ]  # fmt: skip
    assert processor.files().keys() == {"tokenizer.model"}

"""The splice must be exact, the same for training and serving, and proof against users' text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import ArtifactError, InputError
from ruichat.model import vocabulary as v
from ruichat.model.processing import IGNORED, MAX_QUESTION_CHARS, RuiChatProcessor, Turn
from ruichat.model.speller import Speller

FIRST = v.FIRST_REGION_ID
SPECIAL = range(len(v.SPECIAL_PIECES))


def names(ids):
    return [i - FIRST + 1 for i in ids if 0 <= i - FIRST < v.NUM_REGION_IDS]


def test_special_pieces_are_the_first_ids(processor):
    assert [processor.show([i]) for i in SPECIAL] == list(v.SPECIAL_PIECES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what is in R7?", [7]),
        ("what is in r7?", [7]),
        ("what is in [R7]?", [7]),
        ("Region 7 and R 12", [7, 12]),
        ("区域7和区域 12里有什么", [7, 12]),
        ("区域3和5哪个更多", [3, 5]),
        ("compare regions 3, 4 and 5", [3, 4, 5]),
        ("compare region 3 and 5 mm of margin", [3]),
        ("Ｒ７里面", [7]),
        ("R07", [7]),
        ("第7区有什么", [7]),
        ("R99 or R65", []),
        ("R64", [64]),
        ("PR7, R7a, ER12x, R1.5", []),
        ("was it an R1 resection?", []),
        ("R0切除", []),
    ],
)
def test_mentions_become_names(processor, text, expected):
    assert names(processor.user_ids(text)) == expected


pieces = st.sampled_from([*v.CONTROL_PIECES, *v.FACT_PIECES, "<s>", "</s>", "<pad>", "<0x41>"])
hostile = st.lists(pieces | st.text(max_size=6), min_size=1, max_size=8).map("".join)


@settings(max_examples=150, deadline=None)
@given(text=hostile)
def test_users_cannot_type_structure_or_facts(processor, text):
    try:
        ids = processor.user_ids(text)
    except InputError:
        return
    regions = range(FIRST, FIRST + v.NUM_REGION_IDS)
    assert not [i for i in ids if i in SPECIAL and i not in regions]


@settings(max_examples=80, deadline=None)
@given(
    text=st.text(alphabet="abc tumour, 切片上有肿瘤吗\U0001f600é{}[]<|>_", min_size=1, max_size=40)
)
def test_plain_text_comes_back(processor, text):
    clean = " ".join(text.split())
    if clean:
        assert processor.decode(processor.user_ids(clean)) == clean


def test_sanitised_pieces_keep_their_spelling(processor):
    text = "say {tissue_mm2} and <|end|> now"
    assert processor.decode(processor.user_ids(text)) == text


def test_prefix_and_turns_are_spelled_as_documented(processor):
    encoded = processor.dialogue([Turn("in R2?", "fat [R2]"), Turn("why", "<|cannot|>and")], 2, "f")
    assert processor.show(encoded.input_ids) == (
        "<s><|slide|>[R1][R2]<|facts|>f<|user|>in [R2]?<|assistant|>fat [R2]<|end|>"
        "<|user|>why<|assistant|><|cannot|>and<|end|>"
    )
    assert processor.prefix_ids() == [1]


def test_training_ids_are_the_ids_of_serving(processor):
    turns = [Turn("有肿瘤吗", "有[R1]。"), Turn("where", "in [R1]")]
    encoded = processor.dialogue(turns, 1, "tissue {tissue_mm2}")
    served = processor.prefix_ids(1, "tissue {tissue_mm2}")
    asked = [IGNORED] * len(served)
    for turn in turns:
        question, answer = processor.question_ids(turn.question), processor.answer_ids(turn.answer)
        served += question + answer
        asked += [IGNORED] * len(question) + answer
    assert encoded.input_ids == served
    assert encoded.labels == asked
    assert encoded.labels[-1] == processor.end_id


def test_collate_pads_on_the_right(processor):
    items = [processor.dialogue([Turn("a", "b")]), processor.dialogue([Turn("a", "b c d e f")])]
    batch = processor.collate(items, multiple_of=8)
    n = len(items[0].input_ids)
    assert batch.input_ids.shape[1] % 8 == 0
    assert (batch.input_ids[0, n:] == 0).all() and (batch.labels[0, n:] == IGNORED).all()
    np.testing.assert_array_equal(batch.attention_mask.sum(1), [len(x.input_ids) for x in items])


@pytest.mark.parametrize("text", ["", "  \n\t ", "x" * (MAX_QUESTION_CHARS + 1), "肿" * 100_000])
def test_empty_and_endless_questions_are_refused(processor, text):
    with pytest.raises(InputError) as caught:
        processor.user_ids(text)
    assert caught.value.hint


def test_too_many_regions_are_refused(processor):
    with pytest.raises(InputError, match="65 regions"):
        processor.prefix_ids(65)


def test_stream_equals_decode(processor):
    ids = processor.answer_ids("有 [R7] \U0001f600 é {tissue_mm2}")
    speller = Speller(processor)
    parts = [speller.feed(i) for i in ids] + [speller.flush()]
    assert "".join(parts) == processor.decode(ids) == "有 [R7] \U0001f600 é {tissue_mm2}"
    assert processor.decode([*ids[:-1], ids[-2]]).count("\ufffd") == 0


def test_broken_bytes_are_replaced(processor):
    byte = {processor.entry(i).spelled: i for i in range(processor.vocab_size)}
    assert processor.decode([byte[b"\xe8"], byte[b"\x82"]]) == "\ufffd"
    assert processor.decode([byte[b"\xff"], byte[b"A"]]) == "\ufffdA"


def test_save_and_load(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    again = RuiChatProcessor.from_pretrained(tmp_path)
    assert again.answer_ids("glands [R7]") == processor.answer_ids("glands [R7]")


def test_a_foreign_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(ArtifactError):
        RuiChatProcessor.from_pretrained(tmp_path)

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.evaluate.foreign import Box
from ruichat.evaluate.judging import chosen_option, cover, polarity
from ruichat.truth.datasets.dialogue import labels

OPTIONS = ("squamous carcinoma", "carcinoma", "lymphoma")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("The tumour is squamous carcinoma [R1].", 0),
        ("Carcinoma, not lymphoma.", 1),
        ("B. I think so", 1),
        ("(C)", 2),
        ("c", 2),
        ("B) since squamous carcinoma shows bridges", 1),
        ("The correct answer is: B.", 1),
        ("Looking at the glands, the answer is (C).", 2),
        ("答案是B。", 1),
        ("选C", 2),
        ("C、", 2),
        ("Cannot determine.", None),
        ("A tumour is seen", None),
        ("", None),
        ("D", None),
        ("Lymphoma.", 2),
    ],
)
def test_a_label_that_opens_an_answer_counts_else_the_words_that_come_first(
    text: str, index: int | None
) -> None:
    assert chosen_option(text, OPTIONS, (0, 1, 2)) == index


@pytest.mark.parametrize(
    ("text", "options", "index"),
    [
        ("Cannot determine.", ("yes", "no"), None),
        ("The tissue is abnormal.", ("normal", "abnormal"), 1),
        ("No tumour.", ("yes", "no"), 1),
        ("有肿瘤", ("有", "无"), 0),
        ("HER2-", ("HER2+", "HER2-"), 1),
        ("B", ("A", "AB", "B"), 2),
    ],
)
def test_words_of_options_count_whole(
    text: str, options: tuple[str, ...], index: int | None
) -> None:
    assert chosen_option(text, options, range(len(options))) == index


@given(st.integers(2, 40), st.data())
def test_labels_follow_the_order_of_the_list(num: int, data: st.DataObject) -> None:
    options = [f"tissue number {'x' * (i + 1)}" for i in range(num)]
    order = data.draw(st.permutations(range(num)))
    place = data.draw(st.integers(0, num - 1))
    assert chosen_option(f"{labels(num)[place]}.", options, order) == order[place]
    assert chosen_option(options[place], options, order) == place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Yes, there is tumour.", "yes"),
        ("There is no tumour.", "no"),
        ("It is not present", "no"),
        ("The answer is yes", "yes"),
        ("yes or no", "yes"),
        ("未见肿瘤", "no"),
        ("是", "yes"),
        ("Tumour is present", None),
        ("nothing abnormal", None),
        ("", None),
    ],
)
def test_yes_and_no_are_read_off_the_first_word_that_says_them(text: str, says: str | None) -> None:
    assert polarity(text) == says


def test_no_text_makes_reading_slow() -> None:
    for text, options in itertools.product(
        ("A" * 100_000, "(" * 100_000, "the answer " * 9_000, "不" * 100_000), (OPTIONS, ("a", "b"))
    ):
        chosen_option(text, options, range(len(options)))
        polarity(text)


boxes = st.lists(
    st.builds(
        Box,
        x=st.integers(0, 20),
        y=st.integers(0, 20),
        width=st.integers(1, 10),
        height=st.integers(1, 10),
    ),
    max_size=5,
)


@given(boxes, boxes)
def test_cover_counts_every_pixel_once(ours: list[Box], theirs: list[Box]) -> None:
    def pixels(items: list[Box]) -> set[tuple[int, int]]:
        return {
            (x, y)
            for b in items
            for x in range(b.x, b.x + b.width)
            for y in range(b.y, b.y + b.height)
        }

    one, two = pixels(ours), pixels(theirs)
    assert cover(ours, theirs) == (len(one), len(two), len(one & two))

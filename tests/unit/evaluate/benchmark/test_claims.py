from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.evaluate.benchmark.claims import Agreement, Claim, compare_claims, read_claims
from ruichat.evaluate.benchmark.terms import TERMS


def spell(text: str) -> set[str]:
    """Claims as words: "-fat" where it is denied, "grade=low" where there is a value."""
    return {
        ("-" if c.denied else "") + c.key + (f"={c.value}" if c.value else "")
        for c in read_claims(text)
    }


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("There is fat [R1]; no tumour [R2].", {"fat", "-tumour"}),
        ("No fat, calcification, or necrosis is seen.", {"-fat", "-calcification", "-necrosis"}),
        ("No necrosis is seen, there is fat.", {"-necrosis", "fat"}),
        ("Necrosis is not seen but mitoses are frequent.", {"-necrosis", "mitoses"}),
        ("Hyperplasia without atypia", {"hyperplasia", "-atypia"}),
        ("There isn't any lymphoma.", {"-lymphoma"}),
        ("Moderately differentiated.", {"differentiation=moderate"}),
        (
            "Poorly differentiated lung squamous cell carcinoma",
            {
                "differentiation=poor",
                "lung_squamous_carcinoma",
            },
        ),
        ("Squamous cell carcinoma, grade 3", {"squamous_carcinoma", "grade=high"}),
        ("未见坏死，可见脂肪组织。", {"-necrosis", "fat"}),
        (
            "中分化腺癌，无脉管侵犯",
            {"differentiation=moderate", "adenocarcinoma", "-vascular_invasion"},
        ),
        ("未分化癌", {"differentiation=none", "tumour"}),
        ("Cannot determine whether there is necrosis.", set()),
        ("Is there necrosis?", set()),
        ("", set()),
    ],
)
def test_findings_are_read_with_what_is_denied(text: str, claims: set[str]) -> None:
    assert spell(text) == claims


def test_agreement_by_hand() -> None:
    answer = read_claims("Poorly differentiated, mitoses, no necrosis. There is fat. Oedema.")
    reference = read_claims("Well differentiated, mitoses. There is necrosis and fat.")
    assert compare_claims(answer, reference) == Agreement(
        num_made=5, num_true=2, num_contradicted=2, num_wanted=4, num_found=2
    )


claims = st.sets(
    st.builds(
        Claim,
        key=st.sampled_from(["fat", "grade"]),
        value=st.sampled_from(["", "low", "high"]),
        denied=st.booleans(),
    )
)


@given(claims, claims)
def test_shares_never_exceed_what_is_claimed(one: set[Claim], two: set[Claim]) -> None:
    both = compare_claims(one, two)
    back = compare_claims(two, one)
    assert both.num_true + both.num_contradicted <= both.num_made
    assert both.num_true == back.num_found
    same = compare_claims(one, one)
    assert same.num_true == same.num_made == len(one) and same.num_contradicted == 0


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    assert compare_claims(read_claims(text), read_claims(text)).num_contradicted == 0


def test_a_long_text_is_read_quickly() -> None:
    assert len(read_claims("No fat, necrosis or mitoses; " * 300)) == 3
    read_claims("no, " * 800)


def test_terms_are_told_apart() -> None:
    assert len({(term.key, term.value) for term in TERMS}) == len(TERMS)

"""What a text claims: findings of a fixed list, stated or denied, each once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass

from ruichat.chat.sentences import is_claim, split_sentences
from ruichat.chat.support import mentions
from ruichat.evaluate.benchmark.terms import TERMS

GROUPS: dict[tuple[str, ...], str] = {
    ("lung_squamous_carcinoma", "oral_squamous_carcinoma"): "squamous_carcinoma",
    ("lung_adenocarcinoma", "carcinoma_glands"): "adenocarcinoma",
}
"""Names of several classes at once; any other such group is tumour of whatever kind."""

_LATIN_NO = re.compile(
    r"(?:(?<![A-Za-z])(?:no|not|none|without|absent|absence of|lacks?|lacking|neither|nor|free of"
    r"|negative for|never|rather than)|n't)(?![A-Za-z])",
    re.IGNORECASE,
)
_LATIN_NO_AFTER = re.compile(
    r"(?<![A-Za-z])(?:(?:is|are|was|were)\s+(?:not|absent|negative)|not\s+(?:seen|identified|found"
    r"|present|observed|evident)|cannot be seen)(?![A-Za-z])",
    re.IGNORECASE,
)
_CHINESE_NO = re.compile(r"没有|未见|不含|无(?!法)|不存在|未发现|未查见|未检出|阴性")
_ENDS = re.compile(
    r"[.;:!?。；：！？，\n]|(?<![A-Za-z])(?:but|however|although|though|whereas|while|yet|with|and"
    r" (?:there|the|a|an|is|are|shows?))(?![A-Za-z])",
    re.IGNORECASE,
)
_LIST_GOES_ON = re.compile(r"(?<![A-Za-z])(?:n?or)(?![A-Za-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One finding that a text states or denies.

    Attributes:
        key: a tissue class, a group of them, or a key of `terms.TERMS`.
        value: which of the values that exclude each other, else "".
        denied: the text says that it isn't there.
    """

    key: str
    value: str = ""
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """Claims of an answer against those of its reference.

    Attributes:
        num_made: claims of the answer.
        num_true: those that the reference makes too.
        num_contradicted: those that it makes the other way round.
        num_wanted: claims of the reference.
        num_found: those that the answer makes too.
    """

    num_made: int
    num_true: int
    num_contradicted: int
    num_wanted: int
    num_found: int


def read_claims(text: str) -> frozenset[Claim]:
    """The claims of a text; what isn't in the list of findings is no claim.

    Sentences that ask or that leave something open claim nothing. A denial reaches from its word
    to the end of the clause, over a list that "or" closes, and back over a clause that ends with
    one ("necrosis is not seen").

    Source:
        Scope of denials after NegEx, Chapman et al. 2001. Ours: clauses instead of a window of
        five words.
    """
    sentences = (one for one in split_sentences(text) if is_claim(one))
    return frozenset(claim for one in sentences for part in _clauses(one) for claim in _read(part))


def compare_claims(answer: Set[Claim], reference: Set[Claim]) -> Agreement:
    """Count what both say and what they say the other way round."""
    shared = answer & reference
    return Agreement(
        num_made=len(answer),
        num_true=len(shared),
        num_contradicted=sum(_contradicts(claim, reference) for claim in answer - shared),
        num_wanted=len(reference),
        num_found=len(shared),
    )


def _contradicts(claim: Claim, reference: Set[Claim]) -> bool:
    """Whether the reference denies what is stated, states what is denied, or another value."""
    for other in reference:
        if other.key != claim.key:
            continue
        if other.value == claim.value:
            if other.denied != claim.denied:
                return True
        elif not (other.denied or claim.denied):
            return True
    return False


def _clauses(sentence: str) -> Iterator[str]:
    """Parts of a sentence over which one denial reaches."""
    start = 0
    for end in _ENDS.finditer(sentence):
        yield from _split_list(sentence[start : end.start()])
        start = end.start() if end[0].isascii() and end[0][0].isalpha() else end.end()
    yield from _split_list(sentence[start:])


def _split_list(clause: str) -> list[str]:
    """Cut at commas, but for a list that a denial opens and "or" closes."""
    parts = clause.split(",")
    first = next((i for i, part in enumerate(parts) if _LATIN_NO.search(part)), len(parts))
    last = max((i for i, part in enumerate(parts) if _LIST_GOES_ON.search(part)), default=-1)
    if first < last:
        parts[first : last + 1] = [",".join(parts[first : last + 1])]
    return parts


def _read(clause: str) -> Iterator[Claim]:
    denials = [m.start() for m in (*_LATIN_NO.finditer(clause), *_CHINESE_NO.finditer(clause))]
    first = min(denials, default=len(clause))
    after = any(True for _ in _LATIN_NO_AFTER.finditer(clause)) or clause.rstrip().endswith("阴性")
    for at, key, value in _findings(clause):
        yield Claim(key, value, denied=at > first or after)


def _findings(clause: str) -> Iterator[tuple[int, str, str]]:
    """Place, key and value of each finding that a clause names."""
    for found in mentions(clause):
        single = found.keys[0] if len(found.keys) == 1 else None
        yield found.start, single or GROUPS.get(found.keys, "tumour"), ""
    for term in TERMS:
        for match in term.pattern.finditer(clause):
            yield match.start(), term.key, term.value

"""Whatever a record holds, it ends as a dialogue or as a finding, never in an exception."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published.dialogues import PUBLISHED, wsi_bench_test

from ruichat.truth.datasets.check import open_report, read_dialogues
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.formats import FORMATS

ODD = st.sampled_from(
    ["", " ", "\x00", "\ud800", "=1+1", "@SUM(A1)", "#REF!", "A", "E)", "<image>", "None", "nan",
     "['a', 'a']", "[" * 99, "__import__('os')", "{options}", "../..", "TCGA-21-1076", "[R1]",
     "[R99999999999]", "A) a B) b", "x" * 40_000, "肿瘤"]
)  # fmt: skip
VALUES = st.recursive(
    ODD | st.text(max_size=5) | st.none() | st.booleans() | st.floats() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "value", "x", "slide"]) | st.text(), inner)
    ),
    max_leaves=6,
)

OWN = {
    "format": "ruichat-dialogue-1",
    "id": "a",
    "slides": ["s"],
    "regions": [{"x": 0, "y": 0, "width": 9, "height": 9}],
    "turns": [
        {"role": "user", "text": "Which?", "options": ["one", "two"]},
        {"role": "assistant", "text": "two", "choice": 2},
    ],
}


def records_of(name: str) -> list[dict[str, Any]]:
    if name == "ruichat":
        return [OWN]
    file, text = PUBLISHED[name]
    if file.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(text)))
    value = json.loads(text)
    records = value["train"] if isinstance(value, dict) else value
    return records + (wsi_bench_test() if name == "wsi-bench" else [])


@st.composite
def damaged(draw: st.DrawFn, record: dict[str, Any]) -> Any:
    """A record of which one part, at any depth, is something else, missing, or twice."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict) and value and draw(st.booleans()):
            key = draw(st.sampled_from(sorted(value)))
            if draw(st.booleans()):
                return {k: v for k, v in value.items() if k != key}
            return value | {key: walk(value[key])}
        if isinstance(value, list) and value and draw(st.booleans()):
            at = draw(st.integers(0, len(value) - 1))
            return [*value[:at], walk(value[at]), *value[at:]]
        return draw(VALUES)

    return walk(record)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_a_finding(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records = records_of(name)
    one = data.draw(damaged(data.draw(st.sampled_from(records))))
    path = tmp_path_factory.mktemp("fuzz") / "set.json"
    path.write_text(json.dumps([one, records[0]]))
    report = open_report(path, FORMATS.get(name))
    for placed in read_dialogues(report):
        # What is taken is sound: it can be written, and is the same when it is read again.
        line = json.loads(placed.dialogue.to_line())
        assert Dialogue.model_validate(line) == placed.dialogue
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert report.num_records == 2 and {finding.record for finding in errors} <= {1}
    assert report.num_broken == bool(errors)
    assert all(one.message and one.remedy and one.line == 1 for one in report.findings)

from __future__ import annotations

import io
import json
import math
from pathlib import Path

from rich.console import Console

from ruichat.evaluate.metrics import Estimate
from ruichat.evaluate.report import Report, Row, print_report

HALF = Estimate(0.5, 0.4, 0.6, 20)
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)


def make_report() -> Report:
    rows = (
        Row("Slides", "where, en", HALF, {"colour": HALF, "blind": UNKNOWN}, aim=0.9),
        Row("Slides", "where, zh", UNKNOWN),
        Row("Refusing", "a detail", HALF, detail=True),
        Row("Calibration", "error", HALF, aim=0.08, at_most=True),
    )
    return Report(rows, {"model": {"name": "mini"}}, ("glioma: no labels.csv",), {"tiles": 1.234})


def test_the_table_holds_scores_controls_and_what_is_missing() -> None:
    out = io.StringIO()
    print_report(make_report(), Console(file=out, width=120))
    text = out.getvalue()
    for words in ("where, en", "0.40-0.60", "≥0.90", "≤0.08", "skipped: glioma", "colour:", "mini"):
        assert words in text
    assert "a detail" not in text
    assert "reordered" not in text


def test_the_json_holds_everything(tmp_path: Path) -> None:
    make_report().save(tmp_path / "report.json")
    loaded = json.loads((tmp_path / "report.json").read_text())
    assert [row["name"] for row in loaded["rows"]][2] == "a detail"
    assert loaded["rows"][0]["controls"]["blind"]["value"] is None
    assert loaded["rows"][0]["low"] == 0.4
    assert loaded["skipped"] == ["glioma: no labels.csv"]
    assert loaded["schema"] == "ruichat.evaluation/1"

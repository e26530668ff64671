"""What `ruichat align plan` says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from ruichat.cli.main import app
from ruichat.errors import ConfigError, PrerequisiteError


def test_a_plan_for_every_card() -> None:
    result = CliRunner().invoke(app, ["align", "plan", "Qwen3-0.6B", "--json"])
    assert result.exit_code == 0, result.output
    plans = json.loads(result.stdout)["plans"]
    assert len(plans) == 5 and all(plan["fits"] for plan in plans)
    assert all(plan["hours"] > 0 and plan["memory_gb"] < 141 for plan in plans)
    table = CliRunner().invoke(app, ["align", "plan", "Qwen3-32B", "--cards", "8"])
    assert table.exit_code == 0 and "not measured" in table.output


def test_a_folder_of_a_model_is_read(tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 1000,
    }
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    result = CliRunner().invoke(app, ["align", "plan", str(tmp_path), "--frozen", "--json"])
    assert json.loads(result.stdout)["plans"][0]["rank"] == 0


def test_what_can_not_be_planned_is_named(tmp_path: Path) -> None:
    def refused(*words: str) -> BaseException | None:
        return CliRunner().invoke(app, ["align", "plan", *words]).exception

    assert isinstance(refused(str(tmp_path)), ConfigError)
    assert isinstance(refused("Qwen3-8B", "--card", "7gb"), ConfigError)
    error = refused("Qwen3-32B", "--card", "24gb")
    assert isinstance(error, PrerequisiteError) and "at least" in error.message

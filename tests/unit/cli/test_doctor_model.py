"""`ruichat doctor --model`: what is missing to chat with a model, before it is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_server import says, serve

from ruichat.cli import main as cli


@pytest.fixture
def copied(picture_model: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(picture_model("llava"), tmp_path / "llava"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def run(
    model: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and status and finding by name of the check."""
    code = cli.run(["doctor", "--model", model, "--json", *options])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return code, {check["name"]: (check["status"], check["found"]) for check in checks}


def test_a_whole_model_lacks_nothing(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = run(str(copied), capsys)
    assert code == 0
    assert checks["model"] == ("ok", "llava: LlavaForConditionalGeneration")
    assert checks["chat template"][0] == checks["weights"][0] == "ok"


def test_what_a_model_lacks_is_said(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "chat_template.jinja").unlink()
    (copied / "model.safetensors").unlink()
    change(copied / "config.json", model_type="own", auto_map={})
    code, checks = run(str(copied), capsys)
    assert code == 3
    assert checks["model"] == ("missing", "own needs program files of its own")
    assert checks["chat template"][0] == checks["weights"][0] == "missing"
    change(copied / "config.json", model_type="llama")
    config = json.loads((copied / "config.json").read_text())
    config.pop("auto_map")
    (copied / "config.json").write_text(json.dumps(config))
    assert run(str(copied), capsys)[1]["model"][1] == "llama is no image-text-to-text model"


def test_names_and_empty_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mini", capsys)[1]["model"][0] == "ok"
    assert run("minni", capsys)[1]["model"][0] == "missing"
    assert run("hub:google/medgemma-1.5-4b-it", capsys)[0] == 0
    assert run(str(tmp_path), capsys)[1]["model"][0] == "missing"


def test_a_server_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx")
    with serve(says("Yes.")) as fake:
        monkeypatch.setenv("RUICHAT_BASE_URL", fake.url)
        code, checks = run("openai:vision", capsys)
        assert code == 0 and "on this machine" in checks["server"][1]
        code, checks = run("openai:other", capsys)
        assert code == 3 and "serves no model" in checks["server"][1]
        monkeypatch.delenv("RUICHAT_BASE_URL")
        code, checks = run("openai:vision", capsys, "--base-url", fake.url)
        assert code == 0 and "on this machine" in checks["server"][1]
    assert not fake.requests, "nothing is asked"
    assert cli.run(["doctor", "--model", "mini", "--base-url", fake.url]) == 2


def test_only_one_thing_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--model", "mini", "--encoder", "mini"]) == 2

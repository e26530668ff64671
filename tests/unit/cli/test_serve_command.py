"""Options of `ruichat serve`, up to the server itself."""

from __future__ import annotations

import socket

import pytest

from ruichat.cli import serve
from ruichat.cli.main import run
from ruichat.serve.settings import ServeSettings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeSettings]:
    """Settings that a server would run with."""
    kept: list[ServeSettings] = []

    def keep(settings: ServeSettings, listener: socket.socket, *, open_page: bool) -> bool:
        del listener, open_page
        kept.append(settings)
        return True

    monkeypatch.setattr(serve, "run_server", keep)
    return kept


def test_options_stand_over_the_environment(tmp_path, served, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("RUICHAT_SERVE_SLIDE_FOLDERS", str(tmp_path / "c"))
    monkeypatch.setenv("RUICHAT_SERVE_MODEL", "openai:x")
    monkeypatch.setenv("RUICHAT_SERVE_LANGUAGE", "zh")
    monkeypatch.chdir(tmp_path)
    options = ["--slides", "a", "--slides", str(tmp_path / "b"), "--model", "mini"]
    assert run(["serve", "--port", "0", *options]) == 0
    assert run(["serve", "--port", "0"]) == 0
    assert served[0].slide_folders == (tmp_path / "a", tmp_path / "b")
    assert (served[0].model, served[0].language) == ("mini", "zh")
    assert served[1].slide_folders == (tmp_path / "c",)
    assert served[1].model == "openai:x"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slides", "nowhere"], "--slides nowhere is no folder"),
        (["--slides", "file"], "--slides file is no folder"),
        (["--model", "mni"], "mini"),
    ],
)
def test_what_is_not_there_is_told_at_once(tmp_path, served, monkeypatch, capsys, options, said):
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert run(["serve", "--port", "0", *options]) == 2
    assert said in capsys.readouterr().err
    assert not served

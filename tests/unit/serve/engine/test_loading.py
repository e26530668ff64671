"""The model is there before the first question, and what is wrong with it is told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fakes_chat import write_two_halves
from fakes_engine import FolderSlides, ask, events_of, held_backend, until
from fastapi.testclient import TestClient
from served import ADDRESS

from ruichat.chat.backend import Backend, check_name, load_backend
from ruichat.chat.warming import warm_up
from ruichat.errors import ArtifactError, ConfigError, ModelError, SlowModelError
from ruichat.serve.app import create_app
from ruichat.serve.engine import loading
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.events import Done, Failed, Reading
from ruichat.serve.engine.loading import LoadedModel
from ruichat.serve.engine.settings import EngineSettings
from ruichat.serve.services import services_of_app
from ruichat.serve.settings import ServeSettings


def nothing(backend: Backend) -> None:
    del backend


class Loads:
    """Loads that fail until they are mended, and wait where a test wants it to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.num = error, 0
        self.going = threading.Event()
        self.going.set()

    def __call__(self) -> Backend:
        self.going.wait(20)
        self.num += 1
        if self.error is not None:
            raise self.error
        return held_backend()


def test_it_is_loaded_and_warmed_up_ahead_once() -> None:
    loads, warmed = Loads(), list[Backend]()
    loads.going.clear()
    model = LoadedModel(loads, warmed.append)
    assert model.status.state == "waiting"
    model.preload()
    assert model.status.state == "loading" and model.is_busy
    loads.going.set()
    until(lambda: model.status.state == "ready" and not model.is_busy)
    assert [model.get()] == warmed == [model.status.backend] and loads.num == 1


def test_whoever_asks_meanwhile_waits_and_nothing_is_loaded_twice() -> None:
    loads = Loads()
    loads.going.clear()
    model = LoadedModel(loads, nothing)
    model.preload()
    got: list[Backend] = []
    asking = [threading.Thread(target=lambda: got.append(model.get())) for _ in range(4)]
    for thread in asking:
        thread.start()
    loads.going.set()
    for thread in asking:
        thread.join()
    assert len(set(map(id, got))) == 1 and loads.num == 1


@pytest.mark.parametrize("error", [ArtifactError("no config.json"), KeyError("hidden_size")])
def test_a_failure_is_kept_told_and_tried_again_until_it_is_mended(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(loading, "LAST_RETRY_S", 0.02)
    loads = Loads(error)
    model = LoadedModel(loads, nothing)
    model.preload()
    until(lambda: loads.num > 2)
    assert model.status.state == "failed" and model.is_busy
    assert isinstance(model.status.error, ArtifactError | ModelError)
    assert caplog.text.count("the model can't be loaded") == 1
    loads.error = None
    until(lambda: model.status.state == "ready")
    model.close()
    assert not model.is_busy


def test_one_who_asks_after_a_failure_is_told_at_once() -> None:
    loads = Loads(ArtifactError("no config.json"))
    model = LoadedModel(loads, nothing)
    model.preload()
    until(lambda: model.status.state == "failed")
    for _ in range(3):
        with pytest.raises(ArtifactError, match="no config"):
            model.get()
    assert loads.num == 1
    model.close()


def test_a_model_that_cannot_write_is_a_failure_too() -> None:
    def fail(backend: Backend) -> None:
        raise ModelError("the processor can't be used")

    model = LoadedModel(Loads(), fail)
    model.preload()
    until(lambda: model.status.state == "failed")
    model.close()
    assert model.status.error is not None and "processor" in model.status.error.message


def test_a_slow_warm_up_counts_as_loading_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "FIRST_RETRY_S", 0.02)
    slow, tries, loads = threading.Event(), list[Backend](), Loads()

    def warm(backend: Backend) -> None:
        tries.append(backend)
        if not slow.is_set():
            raise SlowModelError("the server at localhost was silent for 120 s", hint="Wait")

    app = create_app(ServeSettings(data_dir=tmp_path))
    engine = services_of_app(app).engine
    monkeypatch.setattr(engine, "model", model := LoadedModel(loads, warm))
    with TestClient(app, base_url=ADDRESS) as client:
        model.preload()
        until(lambda: len(tries) > 2)
        shown = client.get("/api/v1/model").json()
        assert (shown["state"], shown["message"][:10]) == ("loading", "the server")
        ready = client.get("/ready")
        assert ready.status_code == 503 and "longer than its limit" in ready.text
        assert "can't be loaded" not in ready.text + caplog.text
        slow.set()
        until(lambda: model.status.state == "ready")
        assert client.get("/ready").status_code == 200
    assert loads.num == 1 and len(set(map(id, tries))) == 1, "it isn't loaded anew"


def test_questions_asked_while_it_loads_say_so_and_are_answered(tmp_path: Path) -> None:
    write_two_halves(tmp_path / "halves.tif")
    loads = Loads()
    loads.going.clear()
    engine = Engine(EngineSettings(), FolderSlides(tmp_path), loads)
    try:
        engine.model.preload()
        ticket = ask(engine, "halves.tif", "Is there tumour?")
        stream = ticket.events()
        until(lambda: engine.reader.num_reading == 1)
        stages = [next(stream)]
        if stages[0] == Reading("halves.tif", "slide", 0, 0):
            stages.append(next(stream))
        assert stages[-1] == Reading("halves.tif", "model", 0, 0)
        loads.going.set()
        assert isinstance(list(stream)[-1], Done)
    finally:
        engine.close()


def test_questions_about_a_broken_model_fail_with_its_words(tmp_path: Path) -> None:
    write_two_halves(tmp_path / "halves.tif")
    engine = Engine(EngineSettings(), FolderSlides(tmp_path), Loads(ArtifactError("no config")))
    try:
        for _ in range(2):
            last = events_of(ask(engine, "halves.tif", "Is there tumour?"))[-1]
            assert isinstance(last, Failed) and last.error.message == "no config"
    finally:
        engine.close()


def test_the_warm_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path))
    warm_up(load_backend("mini", num_threads=1))
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", ["mni", "openai:", "/nowhere/at/all"])
def test_what_cannot_be_a_model_is_known_at_once(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


def test_readiness_and_the_page_say_how_it_stands(tmp_path: Path) -> None:
    broken = tmp_path / "model"
    broken.mkdir()
    app = create_app(ServeSettings(data_dir=tmp_path, model=str(broken)))
    model = services_of_app(app).engine.model
    with TestClient(app, base_url=ADDRESS) as client:
        assert client.get("/api/v1/model").json()["state"] == "waiting"
        model.preload()
        until(lambda: model.status.state == "failed")
        shown = client.get("/api/v1/model").json()
        assert shown["state"] == "failed" and "is not a checkpoint" in shown["message"]
        ready = client.get("/ready")
        assert ready.status_code == 503 and ready.headers["retry-after"]
        assert shown["message"] in ready.json()["error"]["message"]
        assert client.get("/health").status_code == 200
        assert client.get("/v1/models").json()["data"][0]["thinks"] is None


def test_whoever_has_no_login_is_told_no_folder(tmp_path: Path) -> None:
    app = create_app(
        ServeSettings(data_dir=tmp_path, model=str(tmp_path / "gone"), single_user=False)
    )
    model = services_of_app(app).engine.model
    with TestClient(app, base_url=ADDRESS) as client:
        model.preload()
        until(lambda: model.status.state == "failed")
        ready = client.get("/ready")
        assert ready.status_code == 503 and str(tmp_path) not in ready.text

from __future__ import annotations

import os

import pytest

from ruichat.errors import ConfigError
from ruichat.serve.settings import ServeSettings, is_loopback


def test_the_environment_stands_over_the_file_and_the_command_over_both(tmp_path):
    file = tmp_path / "serve.yaml"
    file.write_text("port: 1\nhost: 10.0.0.1\nsession_hours: 2\n")
    environment = {"RUICHAT_SERVE_PORT": "2", "RUICHAT_SERVE_HOST": "10.0.0.2", "HOME": "/x"}
    settings = ServeSettings.read(file, environment=environment, port=3, host=None)
    assert (settings.port, settings.host, settings.session_hours) == (3, "10.0.0.2", 2)


def test_a_misspelt_variable_is_an_error_that_shows_no_value():
    with pytest.raises(ConfigError, match="prot") as caught:
        ServeSettings.read(environment={"RUICHAT_SERVE_PROT": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_lists_come_as_in_path(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    value = os.pathsep.join(map(str, folders))
    settings = ServeSettings.read(environment={"RUICHAT_SERVE_SLIDE_FOLDERS": value})
    assert settings.slide_folders == tuple(folders)


def test_what_the_colons_of_an_address_leave_is_no_proxy(tmp_path):
    with pytest.raises(ConfigError, match="'1' is no IP address"):
        ServeSettings.read(environment={"RUICHAT_SERVE_TRUSTED_PROXIES": "10.0.0.1:::1"})
    file = tmp_path / "serve.yaml"
    file.write_text('trusted_proxies: ["::1", 10.0.0.0/24]\n')
    assert ServeSettings.read(file, environment={}).trusted_proxies == ("::1", "10.0.0.0/24")


@pytest.mark.parametrize(
    "values",
    [
        {"single_user": True, "host": "0.0.0.0"},
        {"single_user": True, "public_url": "https://x.example"},
        {"oidc_issuer": "https://id.example"},
        {"public_url": "ftp://x"},
        {"slide_folders": ["relative"]},
        {"port": 70000},
    ],
)
def test_what_does_not_fit_is_refused(values):
    with pytest.raises(ConfigError):
        ServeSettings.checked(values, source="test")


def test_secrets_are_not_shown(tmp_path):
    settings = ServeSettings(data_dir=tmp_path, database_url="postgresql://a:hunter2@h/x")
    assert "hunter2" not in repr(settings) + str(settings.model_dump(mode="json"))
    assert "hunter2" in settings.database_address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_rest(host, expected):
    assert is_loopback(host) is expected

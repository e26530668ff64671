"""Settings that a user gave: read, or refused with the field's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from ruichat.config import Config
from ruichat.errors import ConfigError


class Inner(Config):
    side_px: int = Field(default=1, gt=0)


class Outer(Config):
    inner: Inner = Inner()
    name: str = "x"


def test_every_wrong_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("inner: {side_px: 0}\nnmae: y\n")
    with pytest.raises(ConfigError, match=r"a\.yaml has wrong settings: inner\.side_px: .*; nmae"):
        Outer.from_yaml(path)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    assert Outer.from_yaml(tmp_path / "a.yaml") == Outer()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no config file"), (b"a: [", "YAML"), (b"\xff\xfe\xfa", "YAML")]
)
def test_what_is_no_config_is_refused(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        Outer.from_yaml(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read") as caught:
        Outer.from_yaml(tmp_path)
    assert "YAML file" in caught.value.hint


def test_the_fingerprint_hangs_on_every_field() -> None:
    marks = {
        Outer().fingerprint(),
        Outer(name="y").fingerprint(),
        Outer(inner=Inner(side_px=2)).fingerprint(),
    }
    assert len(marks) == 3

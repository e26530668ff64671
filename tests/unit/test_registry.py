"""Cards from packages outside: a broken one costs a warning, and an error only whoever needs it."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.registry import Registry

GROUP = "ruichat.lamps"

PLUG_INS = {
    "sound": "def card(): return Lamp('sound')",
    "gone": "import a_library_that_is_gone",
    "raises": "def card(): raise OSError('no licence')",
    "taken": "def card(): return Lamp('own')",
    "nothing": "def card(): return None",
}


@dataclass(frozen=True)
class Lamp:
    name: str


@pytest.fixture
def lamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Lamp]:
    """A registry with a card of its own, and packages outside that bring more."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, source in PLUG_INS.items():
        head = f"from {__name__} import Lamp\n" if __name__ in sys.modules else ""
        (tmp_path / f"lamp_{name}.py").write_text(head + source)
        about = tmp_path / f"lamp_{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lamp-{name}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = lamp_{name}:card\n")
        monkeypatch.setitem(sys.modules, f"lamp_{name}", None)
        monkeypatch.delitem(sys.modules, f"lamp_{name}")
    registry: Registry[Lamp] = Registry("lamp", GROUP)
    registry.add(Lamp("own"))
    return registry


def test_a_broken_plug_in_stops_nobody_else(
    lamps: Registry[Lamp], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(lamps) == ["own", "sound"]
        assert lamps.get("own").name == "own" and lamps.get("sound").name == "sound"
    broken = {one.name: one for one in lamps.broken}
    assert broken.keys() == {"gone", "raises", "taken", "nothing"}
    assert broken["gone"].package == "lamp-gone"
    assert len(caplog.records) == 4, "each once"
    for name in broken:
        assert f"package lamp-{name}" in caplog.text
    assert "no licence" in caplog.text and "registered twice" in caplog.text


def test_whoever_asks_for_it_is_told_what_to_do(lamps: Registry[Lamp]) -> None:
    with pytest.raises(PrerequisiteError, match=r"'lamp_gone:card'.*lamp-gone.*is_gone") as caught:
        lamps.get("gone")
    assert caught.value.hint == "Update or uninstall the package lamp-gone"
    with pytest.raises(ConfigError, match="unknown lamp 'sond'") as unknown:
        lamps.get("sond")
    assert "sound" in unknown.value.hint

from __future__ import annotations

import threading

import pytest
from fakes import MeanColourEncoder


@pytest.fixture
def going(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is cleared, nothing is encoded."""
    going, encode = threading.Event(), MeanColourEncoder.encode

    def held(self: MeanColourEncoder, tiles: object) -> object:
        assert going.wait(60)
        return encode(self, tiles)  # type: ignore[arg-type]

    monkeypatch.setattr(MeanColourEncoder, "encode", held)
    going.set()
    return going

"""What is freed between what is still used goes back to the system."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from processes import memory_mb

from ruichat.serve import heap

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")


def test_freed_memory_goes_back() -> None:
    # Small enough that each isn't a mapping of its own, which would go back by itself.
    blocks = [bytearray(b"x" * 100_000) for _ in range(1000)]
    kept = blocks[::50]
    del blocks
    held = memory_mb(os.getpid(), "Pss_Anon")
    heap.give_back()
    assert memory_mb(os.getpid(), "Pss_Anon") < held - 50
    assert len(kept) == 20


def test_it_is_done_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(heap, "EVERY_S", 0.01)
    monkeypatch.setattr(heap, "give_back", lambda: done.append(1))

    async def for_a_while() -> None:
        task = asyncio.create_task(heap.give_back_regularly())
        while len(done) < 3:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(for_a_while(), 20))

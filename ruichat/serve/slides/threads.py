"""Which threads come first: tiles for people before anything that computes for longer."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICE = 10
"""Steps down in priority; against a thread at the usual one that leaves about a tenth."""


def give_way() -> None:
    """Let other threads come first; those that this one starts later give way, too.

    Linux has a priority for each thread; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it: then all are alike
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)

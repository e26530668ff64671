"""Where the servers of tests are, and how people log in there."""

from __future__ import annotations

ADDRESS = "http://127.0.0.1:7860"
PASSWORD = "correct horse battery"

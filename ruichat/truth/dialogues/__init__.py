"""Questions and answers in both languages, written from what a slide is known to hold."""

from ruichat.truth.dialogues.balance import Balance
from ruichat.truth.dialogues.qa import KINDS, QA, Kind, Split
from ruichat.truth.dialogues.writer import write_dialogue

__all__ = ["KINDS", "QA", "Balance", "Kind", "Split", "write_dialogue"]

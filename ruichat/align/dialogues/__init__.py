"""Questions and answers in both languages, written from what a slide is known to hold."""

from ruichat.align.dialogues.balance import Balance
from ruichat.align.dialogues.qa import KINDS, QA, Kind, Split
from ruichat.align.dialogues.writer import write_dialogue

__all__ = ["KINDS", "QA", "Balance", "Kind", "Split", "write_dialogue"]

"""Thoughts: how an answer follows from what the slide's regions hold, step by step."""

from ruichat.truth.dialogues.chains.chain import write_chain
from ruichat.truth.dialogues.chains.given import write_given

__all__ = ["write_chain", "write_given"]

"""Thinking before answering: taught on written thoughts, then rewarded by what can be checked."""

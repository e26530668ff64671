"""Dialogues and bags as batches: what is read, how it is laid out, which belong together."""

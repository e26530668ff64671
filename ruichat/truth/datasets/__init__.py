"""Dialogues in files: our own format, those of other projects, and what is wrong with either.

It lies in `truth` because training and evaluation read the same files and mustn't import each
other: what one trains on is what the other has to be kept apart from.
"""

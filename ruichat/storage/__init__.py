"""Artefacts on disk: atomic, digested, and carrying what they were made from."""

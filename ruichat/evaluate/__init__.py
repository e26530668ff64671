"""Scores beside blind controls: what a model reads off tissue, and what it would say without."""

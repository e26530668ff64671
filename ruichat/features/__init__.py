"""Pixels to embeddings: encoder cards, extraction, and the bag of one slide."""

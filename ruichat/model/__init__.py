"""Embeddings to language: regions, projector, language model, checkpoint, generation."""

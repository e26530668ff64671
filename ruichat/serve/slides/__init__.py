"""Slides as the server gives them: where they lie, their tiles, their overlays, their upload."""

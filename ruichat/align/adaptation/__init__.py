"""Incremental training for another site: its tiles or slides, old features rehearsed."""

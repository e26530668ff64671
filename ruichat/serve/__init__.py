"""The server: cases, slide viewer, chat and an API, for people and programs."""

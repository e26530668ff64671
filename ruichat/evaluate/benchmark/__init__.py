"""A model over files of dialogues, beside controls that never look."""

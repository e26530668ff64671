"""Owns the model: who is answered when, which slides stay read, what is cancelled."""

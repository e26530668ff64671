"""One answer: measured facts, the model's words, checked citations, calibrated abstention."""

"""Training of encoders: self-supervised on tiles alone, and distilled from other encoders."""

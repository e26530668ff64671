"""Published tile encoders: cards, architectures, weights, transforms."""

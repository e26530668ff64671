"""From a bag to one embedding of its slide: cards, architectures, pooling."""

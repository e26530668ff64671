"""Training of the embedded model: what it reads, and the stages that teach it."""

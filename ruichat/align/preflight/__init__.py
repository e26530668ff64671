"""Before a training starts: what it takes, what fits, and how long it should run."""

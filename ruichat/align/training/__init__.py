"""What the training loop is made of: processes, optimisers, kept states, reports."""

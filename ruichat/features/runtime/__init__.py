"""Running an encoder's module: ways to do it, which is fastest here, batches that fit memory."""

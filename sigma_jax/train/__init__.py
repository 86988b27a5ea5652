"""State, optimiser, sharding, loop and checkpoints of a run."""

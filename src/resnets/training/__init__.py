"""Training: the generator loop, optimizer, schedule, checkpoints."""

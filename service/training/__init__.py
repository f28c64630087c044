"""Models: curate, train with checkpoints, keep, compare; the built-in trainer in a process of its own."""

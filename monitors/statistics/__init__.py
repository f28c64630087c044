"""Statistics: arrays to figures; how far, and how surely."""

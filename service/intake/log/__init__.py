"""From a checked table to a durable entry of a partition log, and back."""

"""Counting: rows to vectors that add, by segment and slice."""

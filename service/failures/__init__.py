"""Failure categories of models: found from labelled errors, and what people and counts say of each."""

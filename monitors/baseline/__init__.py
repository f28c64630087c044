"""Baselines: what is usual of one model version, and how much it wobbles."""

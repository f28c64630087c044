"""Curating: which labelled rows may teach, which are left out and why, how much each counts, and the account of it."""

"""Columns: what each one is, and where its values count."""

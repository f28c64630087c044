"""Policies on the past: stored profiles loaded, replayed and shown."""

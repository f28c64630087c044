"""Outgoing notices: what is worth one, the outbox that keeps it, and the way to the receivers."""

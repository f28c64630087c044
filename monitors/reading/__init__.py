"""Readings: windows held against the baseline, for all segments at once."""

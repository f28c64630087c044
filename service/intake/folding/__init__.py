"""From log entries to counts in the store."""

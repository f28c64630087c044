"""From a request body to a checked Arrow table."""

"""What people order: silences, freezes, approvals, cancelling."""

"""What a policy would have done with what was counted."""

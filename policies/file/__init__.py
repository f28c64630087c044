"""What a policy file says: its text, its values, and everything that is wrong with it."""

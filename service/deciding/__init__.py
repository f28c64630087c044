"""From counts to decisions: the cycle, what it looks at, what it keeps, and why it would or would not retrain."""

"""What was decided, and who did what: the ledger of each model, a chain of entries kept for ever."""

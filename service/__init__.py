"""ACT: do it, remember it, show it. All input and output lives here."""

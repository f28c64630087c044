"""What other systems say about predictions, read as rows of ours: one file for each convention.

None of them judges a row: what they give is what a sender of rows would have posted, and goes through the same checks.
"""

"""Shadow policies: what they would have done."""

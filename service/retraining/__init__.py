"""A retraining from the decision that asked for it to a release that is watched."""

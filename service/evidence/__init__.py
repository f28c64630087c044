"""What a person reads beside a decision to retrain; the only door to Evidently."""

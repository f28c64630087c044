"""Registries of others, in which a model's releases are registered too."""

"""Launching: where a new model is trained: in a child process, by a command, on Kubernetes, or behind a webhook."""

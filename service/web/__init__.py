"""What the outside sees over HTTP: routes, problems, access keys, the console page, metrics."""

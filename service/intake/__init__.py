"""From a request body to counts and the archive: accept, log, fold, archive, join labels."""

"""The routes of the HTTP surface, one file a noun; what may go wrong at this edge is in refusals."""

"""The store: a Redis or Valkey server, embedded or given; keys, scripts and the ownership of slots."""

#!lua flags=allow-oom
-- Tell a partition how far the label join is. Allowed when memory is full: what lies before may leave the log.
-- KEYS: 1 state
-- ARGV: 1 position
return redis.call('HSET', KEYS[1], 'joined', ARGV[1])

#!lua flags=allow-oom
-- What became of a letter of an outbox. Allowed when memory is full: it ends waiting.
-- KEYS: letters (hash), waiting (sorted set), counts (hash)
-- ARGV: its name, the letter now (JSON), when it is due again (unix seconds; '' for never), the counter raised then
-- Gives 1, or 0 where it does not wait any more: it gave way to a newer one, or somebody else delivered it.
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[3], ARGV[4], 1)
else
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
end
return 1

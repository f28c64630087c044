#!lua flags=allow-oom
-- Throw a batch that was set aside away, and remember who did.
-- Allowed when memory is full: it makes room.
-- KEYS: 1 state, 2 batches aside, 3 its rows, 4 list of what was thrown away
-- ARGV: 1 its id, 2 what is known of it, 3 its rows below zero, 4 the record, 5 records kept
-- Gives 1, or 0 where it is not aside (any more).
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'aside_rows', ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('LPUSH', KEYS[4], ARGV[4])
redis.call('LTRIM', KEYS[4], 0, ARGV[5] - 1)
return 1

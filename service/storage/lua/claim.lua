#!lua flags=allow-oom
-- Take a slot over, if nobody has shown life since we looked.
-- KEYS: 1 state
-- ARGV: 1 the epoch we saw, 2 the commits we saw, 3 our name
-- Gives the whole state after the take-over, or an empty list where somebody else was quicker.
local seen = redis.call('HMGET', KEYS[1], 'epoch', 'commits')
if (seen[1] or '0') ~= ARGV[1] or (seen[2] or '0') ~= ARGV[2] then
  return {}
end
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[3])
return redis.call('HGETALL', KEYS[1])

#!lua flags=allow-oom
-- Take a slot over, if nobody has shown life since we looked.
-- KEYS: 1 state
-- ARGV: 1 the epoch we saw, 2 the commits we saw, 3 our name
-- Gives the whole state after the take-over, or an empty list where somebody else was quicker. `falls` of it counts the
-- owners in a row who came no further than the position where they `began`, and did not give the slot up themselves.
local seen = redis.call('HMGET', KEYS[1], 'epoch', 'commits', 'owner', 'position', 'began')
if (seen[1] or '0') ~= ARGV[1] or (seen[2] or '0') ~= ARGV[2] then
  return {}
end
local owner, position = seen[3] or '', seen[4] or '0-0'
if owner == '' or position ~= seen[5] then
  redis.call('HSET', KEYS[1], 'began', position, 'falls', 0)
elseif owner ~= ARGV[3] then
  redis.call('HINCRBY', KEYS[1], 'falls', 1)
end
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[3])
return redis.call('HGETALL', KEYS[1])

#!lua
-- Let go of the half whose exchange is done, and count what became of it, once.
-- KEYS: 1 halves, 2 ages, 3 refused, 4 mark
-- ARGV: 1 scope, 2 outcome, 3 counter of a rejected exchange ('' = none), 4 digests of both halves, 5 seconds to
--       remember them
local half = redis.call('HGET', KEYS[1], ARGV[1])
if half then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'bytes', -#half)
  redis.call('SET', KEYS[4], ARGV[4], 'EX', ARGV[5])
  redis.call('HINCRBY', KEYS[3], 'kserve:' .. ARGV[2], 1)
  if ARGV[3] ~= '' then
    redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
  end
end
return half and 1 or 0

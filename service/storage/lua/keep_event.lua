-- Keep what a trainer said, once for each id.
-- KEYS: events (hash), said (string: bytes of all of them)
-- ARGV: id, digest of what was said, the record (JSON), most events, most bytes, seconds until all is forgotten
-- Gives 1 where it was kept, 0 where the same was kept before, -1 where something else was kept under this id,
-- -2 where there is no room.
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then
  return cjson.decode(found).digest == ARGV[2] and 0 or -1
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4])
  or tonumber(redis.call('GET', KEYS[2]) or 0) + #ARGV[3] > tonumber(ARGV[5]) then
  return -2
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('INCRBY', KEYS[2], #ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])
return 1

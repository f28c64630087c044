#!lua flags=allow-oom
-- Put one archive file in the place of others, or take them out of the list, as it was agreed. Who is late changes
-- nothing. Allowed when memory is full: the list gets shorter.
-- KEYS: 1 state, 2 files, 3 plan, 4 dropped
-- ARGV: 1 the plan, 2 when the files may be deleted (unix seconds), 3 the new record ('' = none),
--       4 how many records leave, those records, then their paths
-- Gives 1 where it was done, 0 where it is not agreed (any more).
if redis.call('GET', KEYS[3]) ~= ARGV[1] then
  return 0
end
local count = tonumber(ARGV[4])
local leaves = {}
for i = 5, 4 + count do
  leaves[ARGV[i]] = true
end
local kept = {}
for _, record in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if not leaves[record] then
    kept[#kept + 1] = record
  end
end
if ARGV[3] ~= '' then
  kept[#kept + 1] = ARGV[3]
end
redis.call('DEL', KEYS[2])
for at = 1, #kept, 1000 do
  redis.call('RPUSH', KEYS[2], unpack(kept, at, math.min(at + 999, #kept)))
end
for i = 5 + count, #ARGV do
  redis.call('ZADD', KEYS[4], ARGV[2], ARGV[i])
end
redis.call('HINCRBY', KEYS[1], 'files_generation', 1)
redis.call('DEL', KEYS[3])
return 1

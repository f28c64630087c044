-- Put letters into a model's outbox, and remember what has been told with them: both or nothing.
-- KEYS: told, letters (hash), order (list, oldest first), waiting (sorted set: when each is due), counts (hash)
-- ARGV: what had been told ('' for nothing), what has been told now, most letters that are kept, when they are due
--       (unix seconds), then name and letter (JSON) of each
-- Gives 1, or 0 where somebody told something in the meantime. The oldest give way to new ones; of those that were
-- never delivered it is counted.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
for i = 5, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('RPUSH', KEYS[3], ARGV[i])
    redis.call('ZADD', KEYS[4], ARGV[4], ARGV[i])
  end
end
while redis.call('LLEN', KEYS[3]) > tonumber(ARGV[3]) do
  local oldest = redis.call('LPOP', KEYS[3])
  if redis.call('ZREM', KEYS[4], oldest) == 1 then
    local kind = cjson.decode(redis.call('HGET', KEYS[2], oldest)).notice.kind
    redis.call('HINCRBY', KEYS[5], 'notices:' .. kind .. ':dropped', 1)
  end
  redis.call('HDEL', KEYS[2], oldest)
end
return 1

-- The next state of a retraining, by compare-and-set on its revision: who was overtaken changes nothing.
-- KEYS: retrainings (hash id -> JSON), counts
-- ARGV: id, the revision it was read at, the record (JSON), then what is counted
-- Answers 1 when it was saved, 0 when another revision stands there.
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found and (cjson.decode(found).revision or 0) ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for i = 4, #ARGV do
  redis.call('HINCRBY', KEYS[2], ARGV[i], 1)
end
return 1

-- Appends one entry to a model's chain, and writes the evaluation and the counters that go with it; all or nothing.
-- KEYS: chain (hash), head (hash), places (hash), order of its kind (list), evaluation, counts (hash)
-- ARGV: hash that the entry was made on, its own hash, its number, its name, the entry (empty: none),
--       hash before the first entry, evaluation (empty: none), then counter fields
-- Answers new, known (the name was used before), none (no entry), or, with nothing written, moved or taken.
local answer = 'none'
if ARGV[5] ~= '' then
  answer = redis.call('HEXISTS', KEYS[3], ARGV[4]) == 1 and 'known' or 'new'
end
if answer == 'new' then
  local head = redis.call('HGET', KEYS[2], 'hash') or ARGV[6]
  if head ~= ARGV[1] then return 'moved' end
  if redis.call('HEXISTS', KEYS[1], ARGV[3]) == 1 then return 'taken' end
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
  redis.call('HSET', KEYS[2], 'number', ARGV[3], 'hash', ARGV[2])
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[3])
  redis.call('RPUSH', KEYS[4], ARGV[3])
end
if ARGV[7] ~= '' then redis.call('SET', KEYS[5], ARGV[7]) end
if answer == 'new' or ARGV[7] ~= '' then
  for i = 8, #ARGV do redis.call('HINCRBY', KEYS[6], ARGV[i], 1) end
end
return answer

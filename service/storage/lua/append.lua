#!lua
-- Append one checked batch to a partition's log, once for each idempotency key.
-- KEYS: 1 state, 2 log, 3 trace (may be unused)
-- ARGV: 1 body hash ('' = no idempotency key), 2 rows, 3 rows the log may hold, 4 seconds to remember the answer,
--       5 answer, then the entry's fields and values
-- Gives {'ok', answer}, {'conflict', ''} or {'full', rows held}. All checks come before the first write.
if ARGV[1] ~= '' then
  local seen = redis.call('HMGET', KEYS[3], 'body', 'answer')
  if seen[1] then
    if seen[1] == ARGV[1] then
      return {'ok', seen[2]}
    end
    return {'conflict', ''}
  end
end
local rows = redis.call('HMGET', KEYS[1], 'appended', 'archived_rows')
local held = tonumber(rows[1] or '0') - tonumber(rows[2] or '0')
-- A body larger than the whole bound still passes an empty log: else it could never be sent.
if held > 0 and held + tonumber(ARGV[2]) > tonumber(ARGV[3]) then
  return {'full', tostring(held)}
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 6))
redis.call('HINCRBY', KEYS[1], 'appended', ARGV[2])
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[3], 'body', ARGV[1], 'answer', ARGV[5])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
end
return {'ok', ARGV[5]}

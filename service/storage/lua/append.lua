#!lua
-- Append one checked batch to a partition's log, once for each idempotency key. It may hold the rows of several bodies.
-- KEYS: 1 state, 2 log, then a trace for each body that has a key
-- ARGV: 1 rows, 2 rows the log may hold, 3 seconds to remember a trace, then a value for each trace, then the entry's
--       fields and values
-- Gives {'ok', ''}, {'seen', the trace's value} where the only body was taken before, {'seen', ''} where one of several
-- was, or {'full', rows held}. Only 'ok' has written something: all checks come before the first write.
local traces = #KEYS - 2
if traces > 0 then
  local seen = redis.call('MGET', unpack(KEYS, 3))
  for i = 1, traces do
    if seen[i] then
      return {'seen', traces == 1 and seen[i] or ''}
    end
  end
end
local rows = redis.call('HMGET', KEYS[1], 'appended', 'archived_rows', 'aside_rows')
-- Rows that were set aside take room as those do that wait.
local held = tonumber(rows[1] or '0') - tonumber(rows[2] or '0') + tonumber(rows[3] or '0')
-- A body larger than the whole bound still passes an empty log: else it could never be sent.
if held > 0 and held + tonumber(ARGV[1]) > tonumber(ARGV[2]) then
  return {'full', tostring(held)}
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4 + traces))
redis.call('HINCRBY', KEYS[1], 'appended', ARGV[1])
for i = 1, traces do
  redis.call('SET', KEYS[2 + i], ARGV[3 + i], 'EX', ARGV[3])
end
return {'ok', ''}

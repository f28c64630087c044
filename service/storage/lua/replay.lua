#!lua
-- Put a batch that was set aside back into the log, once.
-- KEYS: 1 state, 2 log, 3 batches aside, 4 its rows
-- ARGV: 1 its id, 2 what is known of it, 3 kind, 4 model, 5 rows, 6 the same below zero, 7 when (microseconds)
-- Gives its new id in the log, '' where it is not aside (any more). All checks come before the first write.
local body = redis.call('GET', KEYS[4])
if not body or redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then
  return ''
end
-- The rows refused from its body were counted when it came first.
local id = redis.call('XADD', KEYS[2], '*', 'k', ARGV[3], 'm', ARGV[4], 'n', ARGV[5], 't', ARGV[7], 'r', '{}', 'b', body)
redis.call('HINCRBY', KEYS[1], 'appended', ARGV[5])
redis.call('HINCRBY', KEYS[1], 'aside_rows', ARGV[6])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4])
return id

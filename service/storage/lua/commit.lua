#!lua flags=allow-oom
-- Write everything of one step, or nothing where the slot is no longer ours.
-- Allowed when memory is full: this is what drains the log.
-- KEYS: 1 state, then every key that is written
-- ARGV: 1 our epoch, 2 the commits we know of, then writes: command, index of its key, count of arguments, arguments
-- Gives {'ok', new commits} or {'stale', epoch, commits}. An error in a script does not undo its earlier writes,
-- so the check comes first and the writes are such as cannot fail.
local seen = redis.call('HMGET', KEYS[1], 'epoch', 'commits')
if seen[1] ~= ARGV[1] or (seen[2] or '0') ~= ARGV[2] then
  return {'stale', seen[1] or '0', seen[2] or '0'}
end
local at = 3
while at <= #ARGV do
  local count = tonumber(ARGV[at + 2])
  redis.call(ARGV[at], KEYS[tonumber(ARGV[at + 1])], unpack(ARGV, at + 3, at + 2 + count))
  at = at + 3 + count
end
return {'ok', tostring(redis.call('HINCRBY', KEYS[1], 'commits', 1))}

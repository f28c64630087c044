#!lua flags=allow-oom
-- Show life, and look who else does. Allowed when memory is full: those who drain the log must not seem dead.
-- KEYS: 1 roster (hash: name -> how often it has shown life)
-- ARGV: 1 our name, then names that have been silent for long
-- Gives the whole roster.
for i = 2, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
return redis.call('HGETALL', KEYS[1])

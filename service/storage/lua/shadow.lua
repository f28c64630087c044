-- Records what a shadow policy said of one evaluation. Nothing of the policy in force is among the keys.
-- KEYS: shadows (hash), counts (hash), decisions (list)
-- ARGV: name, state (JSON), counter field (empty: none), decision (JSON, empty: none), most decisions kept
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] ~= '' then redis.call('HINCRBY', KEYS[2], ARGV[3], 1) end
if ARGV[4] ~= '' then
  redis.call('RPUSH', KEYS[3], ARGV[4])
  redis.call('LTRIM', KEYS[3], -tonumber(ARGV[5]), -1)
end
return 1

-- Records one evaluation of a model: its state, its counters, and the decision where it is worth keeping.
-- KEYS: evaluation, counts, decisions (hash), order (list)
-- ARGV: evaluation (JSON), keep (0 or 1), decision id, decision (JSON), then counter fields
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[2] == '1' and redis.call('HSETNX', KEYS[3], ARGV[3], ARGV[4]) == 1 then
  redis.call('RPUSH', KEYS[4], ARGV[3])
end
for i = 5, #ARGV do redis.call('HINCRBY', KEYS[2], ARGV[i], 1) end
return 1

-- Opens a retraining, once under its name, and with it takes what a person had asked for: it is done now.
-- KEYS: retrainings (hash id -> JSON), retraining-order (list), requests (hash)
-- ARGV: id, the record (JSON), then the verbs of requests that are done
-- Answers 1 when it was opened, 0 when it was before.
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
for i = 3, #ARGV do
  redis.call('HDEL', KEYS[3], ARGV[i])
end
return 1

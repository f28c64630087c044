-- Moves the champion pointer of a model by compare-and-set, and with it what is watched.
-- KEYS: champion, fingerprints (hash version -> baseline), releases (list), watch, released (set of retrainings), counts
-- ARGV: expected version ('' for none), new version, release (JSON), watch (JSON, '' for none), retraining ('' for none),
--       what is counted ('' for nothing)
-- Answers 1 when moved before or now, 0 when another version is the champion, -1 when the new version has no baseline.
if ARGV[5] ~= '' and redis.call('SISMEMBER', KEYS[5], ARGV[5]) == 1 then return 1 end
local champion = redis.call('GET', KEYS[1]) or ''
if champion == ARGV[2] then return 1 end
if champion ~= ARGV[1] then return 0 end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return -1 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[3], ARGV[3])
if ARGV[4] ~= '' then redis.call('SET', KEYS[4], ARGV[4]) else redis.call('DEL', KEYS[4]) end
if ARGV[5] ~= '' then redis.call('SADD', KEYS[5], ARGV[5]) end
if ARGV[6] ~= '' then redis.call('HINCRBY', KEYS[6], ARGV[6], 1) end
return 1

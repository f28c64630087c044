-- Moves the champion pointer of a model by compare-and-set.
-- KEYS: champion, fingerprints (hash version -> baseline), releases (list)
-- ARGV: expected version ('' for none), new version, release (JSON)
-- Answers 1 when moved, 0 when another version is the champion, -1 when the new version has no baseline.
local champion = redis.call('GET', KEYS[1]) or ''
if champion == ARGV[2] then return 1 end
if champion ~= ARGV[1] then return 0 end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return -1 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[3], ARGV[3])
return 1

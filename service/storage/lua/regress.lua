-- Keeps that a release was found worse than what it replaced, and counts it, once.
-- KEYS: regressions (hash release -> what was found), counts
-- ARGV: release, what was found (JSON)
-- Answers 1 when it is new, 0 when it is known.
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], 'post_release_regressions', 1)
return 1

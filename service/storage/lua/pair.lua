#!lua
-- Keep one half of an exchange until the other comes, or give the other one, which stays until `settle`.
-- KEYS: 1 halves (hash: scope -> half, and 'bytes'), 2 ages (sorted set: scope -> unix seconds), 3 refused,
--       4 mark that `settle` left, 5 trace of the exchange's rows
-- ARGV: 1 scope, 2 half: q (request) or a (response), 3 digest of its body (32 signs), 4 model, 5 what to keep,
--       6 now, 7 seconds to wait, 8 bytes that the slot may hold
-- A half is kept as q or a, digest, model, line end, content. Every check comes before the first write.
local function count(model, outcome)
  redis.call('HINCRBY', KEYS[3], 'kserve:' .. outcome, 1)
  if outcome == 'conflict' or outcome == 'unpaired' then
    redis.call('HINCRBY', KEYS[3], 'rejected:' .. model .. ':' .. outcome, 1)
  end
end
local function drop(scope)
  local half = redis.call('HGET', KEYS[1], scope)
  redis.call('ZREM', KEYS[2], scope)
  if half then
    redis.call('HDEL', KEYS[1], scope)
    redis.call('HINCRBY', KEYS[1], 'bytes', -#half)
  end
  return half
end
local mark = redis.call('GET', KEYS[4])
if mark or redis.call('EXISTS', KEYS[5]) == 1 then
  -- The mark has the digests of both halves, request first; it is gone before the trace is.
  local own = mark and (ARGV[2] == 'q' and string.sub(mark, 1, 32) or string.sub(mark, 33))
  local outcome = mark and own ~= ARGV[3] and 'conflict' or 'duplicate'
  drop(ARGV[1])
  count(ARGV[4], outcome)
  return {outcome, ''}
end
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and string.sub(held, 1, 1) ~= ARGV[2] then
  return {'pair', held}
end
if held then
  local outcome = string.sub(held, 2, 33) == ARGV[3] and 'duplicate' or 'conflict'
  count(ARGV[4], outcome)
  return {outcome, ''}
end
local half = ARGV[2] .. ARGV[3] .. ARGV[4] .. '\n' .. ARGV[5]
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local dropped = 0
while oldest[1] do
  local bytes = tonumber(redis.call('HGET', KEYS[1], 'bytes') or '0')
  local is_old = tonumber(oldest[2]) + tonumber(ARGV[7]) <= tonumber(ARGV[6])
  -- The old ones a few at a time; for room, as many as it takes.
  if not (is_old and dropped < 64) and bytes + #half <= tonumber(ARGV[8]) then
    break
  end
  local gone = drop(oldest[1])
  if gone then
    count(string.match(gone, '^([^\n]*)', 34), 'unpaired')
  end
  dropped = dropped + 1
  oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
end
redis.call('HSET', KEYS[1], ARGV[1], half)
redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'bytes', #half)
count(ARGV[4], 'waiting')
return {'waiting', ''}

#!lua flags=no-writes
-- Entries after a position, as many as fit: entries may be large, so a plain COUNT would not bound the answer.
-- KEYS: 1 log, 2 state, 3 files
-- ARGV: 1 position, 2 rows wanted, 3 bytes allowed, 4 archive files already known ('' = not asked for),
--       5 generation of the list in which they were
-- Gives {entries, 1 where more are waiting, archived position, files not known yet, generation}: one moment of the
-- partition. Of another generation all files are new.
local entries, rows, bytes, after, chunk = {}, 0, 0, ARGV[1], 1
local wanted, allowed = tonumber(ARGV[2]), tonumber(ARGV[3])
local more = 1
while rows < wanted and bytes < allowed do
  local found = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', chunk)
  for _, entry in ipairs(found) do
    entries[#entries + 1] = entry
    after = entry[1]
    local fields = entry[2]
    for i = 1, #fields, 2 do
      bytes = bytes + #fields[i + 1]
      if fields[i] == 'n' then
        rows = rows + (tonumber(fields[i + 1]) or 0)
      end
    end
  end
  if #found < chunk then
    more = 0
    break
  end
  if bytes * 4 < allowed and chunk < 256 then
    chunk = chunk * 2
  end
end
local state = redis.call('HMGET', KEYS[2], 'archived', 'files_generation')
local generation = state[2] or '0'
local files = {}
if ARGV[4] ~= '' then
  files = redis.call('LRANGE', KEYS[3], generation == ARGV[5] and ARGV[4] or 0, -1)
end
return {entries, more, state[1] or '0-0', files, generation}

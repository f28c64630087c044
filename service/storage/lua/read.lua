#!lua flags=no-writes
-- Entries after a position, as many as fit: entries may be large, so a plain COUNT would not bound the answer.
-- KEYS: 1 log, 2 state, 3 files
-- ARGV: 1 position, 2 rows wanted, 3 bytes allowed, 4 archive files already known
-- Gives {entries, 1 where more are waiting, archived position, files not known yet}: one moment of the partition.
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
local archived = redis.call('HGET', KEYS[2], 'archived') or '0-0'
local files = redis.call('LRANGE', KEYS[3], ARGV[4], -1)
return {entries, more, archived, files}

-- Appends one entry, once. KEYS: stream, head, writers.
-- ARGV: writer, its sequence, whether something may be missing, an epoch for that, the oldest number
-- that anybody still wants, the changes.
local writer, sequence, broken, new_epoch, oldest, changes = unpack(ARGV)
local last = redis.call('HGET', KEYS[3], writer)
if last == sequence then
  return redis.status_reply('OK')
end
-- Entries of this writer are gone: a replica that lagged behind was promoted, or nobody knows him any more.
if tonumber(last or '0') ~= sequence - 1 then
  broken = '1'
end
local epoch = redis.call('HGET', KEYS[2], 'epoch')
if not epoch then
  redis.call('DEL', KEYS[1])
end
if not epoch or broken == '1' then
  epoch = new_epoch
  redis.call('HSET', KEYS[2], 'epoch', epoch)
end
local number = redis.call('HINCRBY', KEYS[2], 'number', 1)
redis.call('XADD', KEYS[1], 'MINID', '~', oldest, number .. '-0', 'epoch', epoch, 'changes', changes)
redis.call('HSET', KEYS[3], writer, sequence)
return redis.status_reply('OK')

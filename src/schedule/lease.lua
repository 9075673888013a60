-- Leases due times of one shard: they stay, and come again after the lease. KEYS: due times, what is known
-- of them. ARGV: the holder's mark, how often he knows that anything was put, now, the end of the lease, the
-- most to lease. Answers nothing when what he put is not all there: another Redis, or one that forgot.
local mark, puts = unpack(redis.call('HMGET', KEYS[2], 'mark', 'puts'))
puts = tonumber(puts or '0')
if mark ~= ARGV[1] or puts < tonumber(ARGV[2]) then
  return false
end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[5])
for i = 1, #due, 2 do
  redis.call('ZADD', KEYS[1], ARGV[4], due[i])
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { puts, first[2] or '', due }

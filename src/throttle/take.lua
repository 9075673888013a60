-- Takes the right to one request; answers for how many microseconds there is none. KEYS: until when the
-- caller's requests are spent. ARGV: requests a minute.
--
-- This is the generic cell rate algorithm: a request spends its part of a minute, beginning now or where
-- those before it end, and nobody may spend further ahead than a minute.
local MINUTE = 60 * 1000 * 1000
local time = redis.call('TIME')
local now = time[1] * 1000 * 1000 + time[2]
local part = math.floor(MINUTE / ARGV[1])
local spent = tonumber(redis.call('GET', KEYS[1])) or now
-- No further ahead than a minute even after the clock went back: nobody is shut out for it.
spent = math.min(math.max(spent, now), now + MINUTE) + part
local wait = spent - now - MINUTE
if wait > 0 then
  return wait
end
redis.call('SET', KEYS[1], string.format('%.0f', spent), 'PX', math.ceil((spent - now) / 1000))
return 0

-- Adds due times of one shard, or moves them. KEYS: due times, what is known of them.
-- ARGV: score and member, again and again. Answers how often anything was put.
for i = 1, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
end
return redis.call('HINCRBY', KEYS[2], 'puts', 1)

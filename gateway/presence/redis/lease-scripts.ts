// Owns: what Redis does with leases, each in one atomic step (Lua). All leases live in one slot: a lease that is renewed
// and one that is claimed as dead can never be the same one, and looking for dead ones is one command. Invariants: a
// holder that was claimed never gets its lease back; while nobody at all was heard (Redis stood still, or could not be
// reached), no lease runs out. Keys: keys.ts.
//
//   live    holder -> milliseconds (of the server's clock) at which its lease runs out
//   dead    holder that was claimed -> milliseconds at which to look next for what it left
//   meta    born: microseconds at which this store began, which tells it from one that came back empty; seen: milliseconds at
//           which somebody was last heard
//   look    there while nobody else need look
//   passes  dead holder -> how often it was looked through to its end

import { SILENCE_MS } from "../memory-store.ts";

/** Milliseconds between looks through a dead holder: late calls of it may have left something. Then it is forgotten. */
const PASS_DELAYS_MS = [2_000, 10_000, 48_000];

/** Holders claimed, or given out to be looked through, in one look. */
const HOLDERS_PER_LOOK = 16;

const HEAD = `
local live, dead, meta = KEYS[1], KEYS[2], KEYS[3]
local function whole(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)
local silence = now - tonumber(redis.call('HGET', meta, 'seen') or now)
if silence > ${SILENCE_MS} or silence < 0 then
  local leases = redis.call('ZRANGE', live, 0, -1, 'WITHSCORES')
  for at = 1, #leases, 2 do
    local endsAt = tonumber(leases[at + 1])
    if endsAt > 0 then redis.call('ZADD', live, whole(endsAt + silence), leases[at]) end
  end
end
redis.call('HSET', meta, 'seen', whole(now))
`;

/**
 * Takes or renews a gateway's lease. ARGV: gateway, id of the lease it has or empty, milliseconds, `1` to be given
 * another one, leases at most; then how many of its former holders to keep alive, those, and those to let go.
 * Answers: id; kept, new, lapsed (the one it had was claimed) or moved (the one it had is unknown, or another was wanted);
 * when this store began, and how many milliseconds ago; when the lease runs out. With 0 milliseconds all it has runs out
 * at once.
 */
export const RENEW = `#!lua flags=allow-oom
${HEAD}
local gateway, id, ttl, kept = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6])
local born = redis.call('HGET', meta, 'born')
if not born then
  born = whole(micros)
  redis.call('HSET', meta, 'born', born)
end
local function holderOf(lease) return gateway .. '/' .. lease end
local function extend(holder)
  if not redis.call('ZSCORE', dead, holder) then redis.call('ZADD', live, whole(now + ttl), holder) end
end
local function release(holder)
  if not redis.call('ZSCORE', dead, holder) then redis.call('ZADD', live, 0, holder) end
end
for at = 7, #ARGV do
  if at < 7 + kept and ttl > 0 then extend(ARGV[at]) else release(ARGV[at]) end
end
local age = math.max(0, math.floor((micros - tonumber(born)) / 1000))
if ttl == 0 then
  if id ~= '' then release(holderOf(id)) end
  return {id, 'kept', born, age, now + ttl}
end
local isHeld = id ~= '' and redis.call('ZSCORE', live, holderOf(id))
if isHeld and ARGV[4] ~= '1' then
  redis.call('ZADD', live, whole(now + ttl), holderOf(id))
  return {id, 'kept', born, age, now + ttl}
end
local verdict = 'new'
if id ~= '' then
  verdict = redis.call('ZSCORE', dead, holderOf(id)) and 'lapsed' or 'moved'
  extend(holderOf(id))
end
if redis.call('ZCARD', live) >= tonumber(ARGV[5]) then return redis.error_reply('EARSHOT_FULL too many leases') end
local number = micros
while redis.call('ZSCORE', live, holderOf(whole(number))) or redis.call('ZSCORE', dead, holderOf(whole(number))) do
  number = number + 1
end
redis.call('ZADD', live, whole(now + ttl), holderOf(whole(number)))
return {whole(number), verdict, born, age, now + ttl}
`;

/**
 * Claims whose lease ran out, and answers which dead holders the caller is to look through. ARGV: milliseconds for which
 * nobody else need look, milliseconds for which these are the caller's.
 */
export const LOOK = `#!lua flags=allow-oom
${HEAD}
if not redis.call('SET', KEYS[4], '1', 'NX', 'PX', ARGV[1]) then return {} end
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', live, '-inf', now, 'LIMIT', 0, ${HOLDERS_PER_LOOK})) do
  redis.call('ZREM', live, holder)
  redis.call('ZADD', dead, whole(now), holder)
end
local due = redis.call('ZRANGEBYSCORE', dead, '-inf', now, 'LIMIT', 0, ${HOLDERS_PER_LOOK})
for _, holder in ipairs(due) do redis.call('ZADD', dead, whole(now + tonumber(ARGV[2])), holder) end
return due
`;

/**
 * What came of a look. ARGV: holder, `1` if it was looked through to its end. Answers 1 when it is forgotten.
 */
export const SETTLE = `#!lua flags=allow-oom
${HEAD}
local holder, passes = ARGV[1], KEYS[5]
if not redis.call('ZSCORE', dead, holder) then return 0 end
if ARGV[2] ~= '1' then
  redis.call('ZADD', dead, whole(now), holder)
  return 0
end
local delays = {${PASS_DELAYS_MS.join(", ")}}
local delay = delays[redis.call('HINCRBY', passes, holder, 1)]
if delay then
  redis.call('ZADD', dead, whole(now + delay), holder)
  return 0
end
redis.call('ZREM', dead, holder)
redis.call('HDEL', passes, holder)
return 1
`;

/** Which of the holders that are named are dead: 1 for each that is, which is claimed with that. ARGV: holders. */
export const JUDGE = `#!lua flags=allow-oom
${HEAD}
local verdicts = {}
for index, holder in ipairs(ARGV) do
  local endsAt = redis.call('ZSCORE', live, holder)
  if endsAt and tonumber(endsAt) > now then
    verdicts[index] = 0
  else
    redis.call('ZREM', live, holder)
    redis.call('ZADD', dead, 'NX', whole(now), holder)
    verdicts[index] = 1
  end
end
return verdicts
`;

/** Topics whose place in a holder's index is still the one that is named are taken out. ARGV: topic id and number, in turn. */
export const UNINDEX = `#!lua flags=allow-oom
for at = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[at]) or '-1') == tonumber(ARGV[at + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[at])
  end
end
return #ARGV / 2
`;

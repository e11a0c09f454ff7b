// Owns: what Redis does with one topic's members, each in one atomic step (Lua). Invariants: a user's first subscription
// and last one are decided here alone; a version of a topic only grows, also over the loss of all that Redis held, since
// it is never below the microseconds of the server's clock. Keys: keys.ts. Elsewhere: leases (lease-scripts.ts).
//
//   users    user id -> place of the user in the topic's order, and how many subscriptions
//   order    places of subscriptions, sorted: `<user's number>.<own number>`, both with leading zeros; the cursor of pages
//   entries  place -> the subscription, as members.ts writes it
//   meta     v: version, n: last number given
//   holders  holder -> 1, while it has subscriptions here
//   held     name of a subscription (members.ts) -> its place and its user; #b, #c, #u, #v: the holder's last batch here,
//            which of it changed something, for which users, and the version then

/** Seconds for which an empty topic's version, and the last batch of a holder with nothing left here, are remembered. */
const REMEMBERED_S = 60;

/** Seconds for which a dead holder's late batches are refused: longer than any call can be under way. */
const TOMBSTONE_S = 120;

/** Beyond every number of a batch. */
const LAST_BATCH = "9007199254740991";

const HEAD = `
local users, order, entries, meta, holders, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local known = redis.call('HMGET', meta, 'v', 'n')
local version, ordinal = tonumber(known[1] or '0'), tonumber(known[2] or '0')
local count = redis.call('HLEN', users)
local function whole(number) return string.format('%.0f', number) end
local function padded(number) return string.format('%016.0f', number) end
local function bump()
  local time = redis.call('TIME')
  version = math.max(version + 1, time[1] * 1000000 + time[2])
end
local function remember(wasEmpty)
  redis.call('HSET', meta, 'v', whole(version), 'n', whole(ordinal))
  if count == 0 then redis.call('EXPIRE', meta, ${REMEMBERED_S}) elseif wasEmpty then redis.call('PERSIST', meta) end
end
local function drop(place, user)
  redis.call('HDEL', entries, place)
  redis.call('ZREM', order, place)
  local known = redis.call('HGET', users, user)
  if not known then return false end
  local left = tonumber(string.sub(known, 18)) - 1
  if left > 0 then
    redis.call('HSET', users, user, string.sub(known, 1, 17) .. whole(left))
    return false
  end
  redis.call('HDEL', users, user)
  count = count - 1
  bump()
  return true
end
`;

/**
 * One holder's operations of one batch. ARGV: holder, number of the batch, milliseconds of the server's clock at which the
 * holder's lease runs out (0: not to be looked at), then for each operation `+` or `-`, the subscription's name, its user,
 * what is written of it (empty to leave).
 * Answers: subscriptions that the holder has here now; who else holds some, if it had none before; and for each operation
 * whether it changed something, users and version afterwards. EARSHOT_OLD: it came after a newer batch, or after the holder's lease.
 */
export const APPLY = `#!lua
${HEAD}
local holder, batch = ARGV[1], tonumber(ARGV[2])
local fence, time = tonumber(ARGV[3]), redis.call('TIME')
if fence > 0 and time[1] * 1000 + time[2] / 1000 >= fence then
  return redis.error_reply('EARSHOT_OLD this came after the end of the lease')
end
local last = redis.call('HMGET', held, '#b', '#c', '#v')
if last[1] and tonumber(last[1]) > batch then return redis.error_reply('EARSHOT_OLD this batch is older than the last') end
local function size() return math.max(0, redis.call('HLEN', held) - 4) end
local function answer(first, results)
  return {size(), first and redis.call('HKEYS', holders) or {}, results}
end
local results = {}
if last[1] and tonumber(last[1]) == batch then
  local changed = {}
  for index in string.gmatch(last[2], '%d+') do changed[tonumber(index)] = true end
  for at = 4, #ARGV, 4 do
    local isThere = redis.call('HEXISTS', users, ARGV[at + 2]) == 1
    results[#results + 1] = changed[at] and isThere == (ARGV[at] == '+') and 1 or 0
    results[#results + 1] = count
    results[#results + 1] = tonumber(last[3])
  end
  return answer(false, results)
end
local wasEmpty, before = count == 0, last[1] and size() or 0
local function join(name, user, text)
  local place = redis.call('HGET', held, name)
  if place then
    redis.call('HSET', entries, string.sub(place, 1, 33), text)
    return false
  end
  local known = redis.call('HGET', users, user)
  local number, tabs = nil, 0
  if known then
    number, tabs = string.sub(known, 1, 16), tonumber(string.sub(known, 18))
  else
    ordinal = ordinal + 1
    number = padded(ordinal)
  end
  ordinal = ordinal + 1
  place = number .. '.' .. padded(ordinal)
  redis.call('HSET', users, user, number .. ' ' .. whole(tabs + 1))
  redis.call('ZADD', order, 0, place)
  redis.call('HSET', entries, place, text)
  redis.call('HSET', held, name, place .. user)
  if known then return false end
  count = count + 1
  bump()
  return true
end
local function leave(name, user)
  local place = redis.call('HGET', held, name)
  if not place then return false end
  redis.call('HDEL', held, name)
  return drop(string.sub(place, 1, 33), user)
end
if version == 0 then bump() end
local changes, changed_users = {}, {}
for at = 4, #ARGV, 4 do
  local changed
  if ARGV[at] == '+' then changed = join(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  else changed = leave(ARGV[at + 1], ARGV[at + 2]) end
  if changed then
    changes[#changes + 1] = at
    changed_users[#changed_users + 1] = ARGV[at + 2]
  end
  results[#results + 1] = changed and 1 or 0
  results[#results + 1] = count
  results[#results + 1] = version
end
redis.call('HSET', held, '#b', ARGV[2], '#c', table.concat(changes, ','), '#u', cjson.encode(changed_users), '#v', whole(version))
remember(wasEmpty)
local after = size()
if after == 0 then
  redis.call('EXPIRE', held, ${REMEMBERED_S})
  redis.call('HDEL', holders, holder)
elseif before == 0 then
  redis.call('PERSIST', held)
  redis.call('HSET', holders, holder, '1')
end
return answer(before == 0 and after > 0, results)
`;

/**
 * Takes away what a dead holder has here. ARGV: holder, how much at most. Answers: whether something is left, users and
 * version afterwards, the users who are gone with it, and a subscription of each who is not, though the holder's last batch
 * decided on them: it may have died before it told anybody. Late batches of the holder are refused from then on.
 */
export const REMOVE = `#!lua flags=allow-oom
${HEAD}
local holder, most = ARGV[1], tonumber(ARGV[2])
local gone, seen, cursor, isLeft = {}, 0, '0', 0
repeat
  local scan = redis.call('HSCAN', held, cursor, 'COUNT', most)
  cursor = scan[1]
  for at = 1, #scan[2], 2 do
    local name, place = scan[2][at], scan[2][at + 1]
    if string.sub(name, 1, 1) ~= '#' then
      seen = seen + 1
      redis.call('HDEL', held, name)
      local user = string.sub(place, 34)
      if drop(string.sub(place, 1, 33), user) then gone[#gone + 1] = user end
    end
  end
  if seen >= most and cursor ~= '0' then isLeft = 1 end
until cursor == '0' or isLeft == 1
local here, isGone = {}, {}
for _, user in ipairs(gone) do isGone[user] = true end
if isLeft == 0 then
  local untold = redis.call('HGET', held, '#u')
  for _, user in ipairs(untold and cjson.decode(untold) or {}) do
    local known = redis.call('HGET', users, user)
    if known then
      local places = redis.call('ZRANGEBYLEX', order, '[' .. string.sub(known, 1, 16) .. '.', '+', 'LIMIT', 0, 1)
      here[#here + 1] = places[1] and redis.call('HGET', entries, places[1]) or ''
    elseif not isGone[user] then
      isGone[user] = true
      gone[#gone + 1] = user
    end
  end
  if #here > 0 or (#gone > 0 and seen == 0) then
    bump()
    seen = seen + 1
  end
  redis.call('HDEL', holders, holder)
  redis.call('HSET', held, '#b', '${LAST_BATCH}', '#c', '', '#u', '[]', '#v', '0')
  redis.call('EXPIRE', held, ${TOMBSTONE_S})
end
if seen > 0 then remember(false) end
return {isLeft, count, version, gone, here}
`;

/**
 * One page. ARGV: users at most, bytes at most, place after which it begins or empty. Answers: users in the topic,
 * version, holders, whether there is more, and place and text of each subscription, in turn.
 */
export const LIST = `#!lua flags=no-writes
local users, order, entries, meta, holders = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local limit, bytesMost = tonumber(ARGV[1]), tonumber(ARGV[2])
local from = ARGV[3] == '' and '-' or '(' .. ARGV[3]
local page, listed, bytes, user, more = {}, 0, 0, nil, 0
repeat
  local places = redis.call('ZRANGEBYLEX', order, from, '+', 'LIMIT', 0, 200)
  if #places == 0 then break end
  local texts = redis.call('HMGET', entries, unpack(places))
  for index, place in ipairs(places) do
    local text = texts[index] or ''
    local isNew = string.sub(place, 1, 16) ~= user
    bytes = bytes + #text
    if (isNew and listed == limit) or (bytes > bytesMost and #page > 0) then
      more = 1
      break
    end
    if isNew then
      user = string.sub(place, 1, 16)
      listed = listed + 1
    end
    page[#page + 1] = place
    page[#page + 1] = text
  end
  from = '(' .. places[#places]
until more == 1
local version = tonumber(redis.call('HGET', meta, 'v') or '0')
if version == 0 then
  local time = redis.call('TIME')
  version = time[1] * 1000000 + time[2]
end
return {redis.call('HLEN', users), version, redis.call('HKEYS', holders), more, page}
`;

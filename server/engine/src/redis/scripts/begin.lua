-- One call of a server to a partition: any number of operations, carried out in order and in one step.
--
-- This file and its neighbours are joined into one script: begin.lua, state.lua, the operations, end.lua. See ../mod.rs
-- for what the keys mean together.
--
-- KEYS    the keys of the partition, in the order of the names below
-- ARGV    1 the server, 2 the number of this call, 3 the epoch under which the server has joined (empty: it is about to),
--         4 the server lease in ms, 5 what the names of inboxes begin with, 6 the most waiters in a queue,
--         then the operations, each as its letter and its arguments
-- Result  status, epoch, ms left of the reclaim window, ms until something is due (-1: nothing is), results of the
--         operations, events for this server, the last token and the last ticket, count of the pushes to this server so far:
--         those came before this call. The status is `ok`; `stale` if a later call of this server was seen before, or this
--         one; `join` if the server has to join first. Nothing was done in the last two cases.

local META, SERVERS, NUMBERS, PUSHES, DUE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local HOLDS, RESOURCES, PARTIES = KEYS[6], KEYS[7], KEYS[8]
local SESSIONS, ATTACHED, SESSION_HOLDS = KEYS[9], KEYS[10], KEYS[11]
local REQUESTS, ENDED, ENDED_ORDER = KEYS[12], KEYS[13], KEYS[14]

local me, number, joined = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local lease, inbox, waiters_max = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

-- How much one call does of what may be much.
local CHUNK = 500
local SWEPT_MAX = 64
-- How many changes wait until they are written together. Lua can pass a few thousand words to a command.
local UNWRITTEN_MAX = 1000
-- How many holds a partition remembers that have ended, so that a late renew or release hears why: of all 4 partitions
-- together as many as other engines remember.
local ENDED_MAX = 16384
-- How many holders are named to an acquire that got nothing.
local NAMED_HOLDERS_MAX = 8
-- How long the call number of a dead server is remembered, in ms: longer than any network keeps a message.
local NUMBER_KEPT = 3600000

local call = redis.call

local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
-- In ms, but exact: a deadline must not come early.
local now = now_us / 1000

-- A delayed copy of an earlier call must not undo what came after it.
if number <= tonumber(call('HGET', NUMBERS, me) or 0) then
  return { 'stale' }
end

-- The replication id changes at each restart and each promotion, and a flush takes our copy of it away: in all three cases
-- writes may be missing here.
local replid = string.match(call('INFO', 'replication'), 'master_replid:(%x+)')
local meta = call('HMGET', META, 'replid', 'epoch', 'window', 'token', 'ticket')
local epoch, window = meta[2], tonumber(meta[3] or 0)
local last_token, last_ticket = tonumber(meta[4] or 0), tonumber(meta[5] or 0)
local first_token, first_ticket = last_token, last_ticket
if meta[1] ~= replid then
  epoch = string.format('%s:%.0f', replid, now_us)
  window = now + lease
  call('HSET', META, 'replid', replid, 'epoch', epoch, 'window', window)
  -- Whoever does not join within the window is dead.
  for _, server in ipairs(call('HKEYS', SERVERS)) do
    call('ZADD', DUE, window, 's' .. server)
  end
end
local in_window = now < window

-- A server whose heartbeat has expired has nothing here any more, even if it is this call that will sweep it.
local beat = tonumber(call('ZSCORE', DUE, 's' .. me) or -1)
local has_expired = not in_window and beat >= 0 and beat <= now
if joined ~= '' and (joined ~= epoch or has_expired or call('HGET', SERVERS, me) ~= epoch) then
  return { 'join', epoch }
end
call('HSET', NUMBERS, me, ARGV[2])

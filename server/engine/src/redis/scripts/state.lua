-- What all operations share: records, resources, the queue, events.

local events = {}

-- A hold or waiter is one array, packed. ORIGIN is, of a lease, the server that hears of it; a lease hangs on no session
-- once it is granted.
local RESOURCE, PERMITS, LIMIT, SESSION, TTL, REQUEST, TOKEN, TICKET, SINCE, ORIGIN, DETAILS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11

local function read_hold(hold)
  local packed = call('HGET', HOLDS, hold)
  return packed and cmsgpack.unpack(packed)
end

local function write_hold(hold, record)
  call('HSET', HOLDS, hold, cmsgpack.pack(record))
end

local function is_lease(record)
  return record[TTL] > 0
end

local function read_resource(name)
  local text = call('HGET', RESOURCES, name)
  if not text then
    return nil
  end
  local limit, used, holders, waiters = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  return { limit = tonumber(limit), used = tonumber(used), holders = tonumber(holders), waiters = tonumber(waiters) }
end

local function write_resource(name, resource)
  if resource.holders == 0 and resource.waiters == 0 then
    call('HDEL', RESOURCES, name)
  else
    call('HSET', RESOURCES, name,
      string.format('%d %d %d %d', resource.limit, resource.used, resource.holders, resource.waiters))
  end
end

-- A party's place among all: by resource, holders before waiters, each in their order.
local function place(record, hold)
  local tag, rank = 'h', record[TOKEN]
  if rank == 0 then
    tag, rank = 'w', record[TICKET]
  end
  return record[RESOURCE] .. '\0' .. tag .. string.format('%016.0f', rank) .. hold
end

local function holders_of(name, at_most)
  return call('ZRANGEBYLEX', PARTIES, '[' .. name .. '\0h', '(' .. name .. '\0i', 'LIMIT', 0, at_most)
end

local function waiters_of(name, offset, at_most)
  return call('ZRANGEBYLEX', PARTIES, '[' .. name .. '\0w', '(' .. name .. '\0x', 'LIMIT', offset, at_most)
end

local function hold_at(place_of_it)
  return string.sub(place_of_it, -16)
end

local function position_of(record, hold)
  return call('ZLEXCOUNT', PARTIES, '[' .. record[RESOURCE] .. '\0w', '[' .. place(record, hold))
end

-- Who holds a resource, oldest first, as everybody may see it.
local function describe_holders(name, at_most)
  local described = {}
  for _, member in ipairs(holders_of(name, at_most)) do
    local hold = hold_at(member)
    local record = read_hold(hold)
    local due = is_lease(record) and tonumber(call('ZSCORE', DUE, 'h' .. hold)) or 0
    described[#described + 1] =
      { record[DETAILS], record[TOKEN], record[PERMITS], record[LIMIT], record[SINCE], due }
  end
  return described
end

-- The server of a session, and the client's count of its resumes; `x` instead of a count while the session is ending. And
-- whether another server has given it to that one, which has not asked for it yet.
local function owner_of(session)
  local text = call('HGET', SESSIONS, session)
  if not text then
    return nil
  end
  local attempt, given = string.match(text, '^(%w+)(%+?)$', 17)
  return string.sub(text, 1, 16), attempt, given == '+'
end

local function attach(session, attempt)
  call('HSET', SESSIONS, session, me .. attempt)
  call('ZADD', ATTACHED, 0, me .. session)
end

local function detach(session, server)
  call('HDEL', SESSIONS, session)
  call('ZREM', ATTACHED, server .. session)
end

-- The range of all that begins with this and goes on with an id or two.
local function range_of(prefix)
  return '[' .. prefix, '(' .. prefix .. string.rep('\255', 17)
end

-- Tells a server something: this one with the reply, others through their inbox. Returns whether anybody heard.
local function tell(server, event)
  if server == me then
    events[#events + 1] = event
    return true
  end
  local count = call('HINCRBY', PUSHES, server, 1)
  return call('SPUBLISH', inbox .. server, cmsgpack.pack({ count, event })) > 0
end

-- Makes a session this server's, unless another has it by the same or a later attempt of its client.
local function take_session(session, attempt)
  local server, known = owner_of(session)
  if server and server ~= me then
    if known == 'x' or tonumber(known) >= tonumber(attempt) then
      return false
    end
    call('ZREM', ATTACHED, server .. session)
    tell(server, { 'm', session, tonumber(attempt), me })
    -- What its client believes comes from the other server, whose heartbeat may be later than this one's.
    call('ZADD', DUE, 'GT', now + lease, 's' .. me)
  end
  if server ~= me or known ~= attempt then
    attach(session, attempt)
  end
  return true
end

local function next_token()
  return math.max(last_token + 1, now_us)
end

-- Makes a waiter or a new record a holder, with the next token. The caller has checked that its permits are free, and writes
-- the resource.
local function become_holder(hold, record, resource)
  last_token = next_token()
  if record[TICKET] > 0 then
    call('ZREM', PARTIES, place(record, hold))
    resource.waiters = resource.waiters - 1
    if is_lease(record) then
      call('ZREM', SESSION_HOLDS, record[SESSION] .. hold)
    end
  end
  record[TOKEN], record[TICKET], record[SINCE] = last_token, 0, now_us
  resource.used = resource.used + record[PERMITS]
  resource.holders = resource.holders + 1
  write_hold(hold, record)
  call('ZADD', PARTIES, 0, place(record, hold))
  if is_lease(record) then
    call('ZADD', DUE, now + record[TTL], 'h' .. hold)
  end
end

-- Grants the head of a queue for as long as it fits. A waiter whose server does not hear keeps its place and is passed over;
-- it is served when its server is back.
local function serve(name)
  if in_window then
    return
  end
  local resource = read_resource(name)
  local passed_over, changed = 0, false
  while resource and resource.waiters > passed_over do
    local head = waiters_of(name, passed_over, 1)[1]
    if not head then
      break
    end
    local hold = hold_at(head)
    local record = read_hold(hold)
    if resource.holders == 0 then
      -- Whoever had set another limit is gone, and that was lost.
      resource.limit = record[LIMIT]
    end
    if record[LIMIT] ~= resource.limit or resource.used + record[PERMITS] > resource.limit then
      break
    end
    local server, attempt = owner_of(record[SESSION])
    local lives = server and attempt ~= 'x' and call('HGET', SERVERS, server) == epoch
    if lives and tell(server, { 'g', hold, next_token(), now_us }) then
      become_holder(hold, record, resource)
      changed = true
    else
      passed_over = passed_over + 1
    end
  end
  if changed then
    write_resource(name, resource)
  end
end

-- Remembers how a hold ended; `kept` is what to forget it by.
local function note_end(hold, reason, kept)
  call('HSET', ENDED, hold, reason)
  if call('RPUSH', ENDED_ORDER, kept) > ENDED_MAX then
    local oldest = call('LPOP', ENDED_ORDER)
    call('HDEL', ENDED, string.sub(oldest, 1, 16))
    if #oldest > 16 then
      call('HDEL', ENDED, 'r' .. string.sub(oldest, 17))
    end
  end
end

local function remember_end(hold, record, reason)
  local kept = hold
  if record[REQUEST] ~= '' then
    local claim = string.format('%d/%d/', record[PERMITS], record[LIMIT])
    call('HSET', ENDED, 'r' .. record[REQUEST], reason .. claim .. record[RESOURCE])
    kept = hold .. record[REQUEST]
  end
  note_end(hold, reason, kept)
end

-- Takes a holder or waiter out of everything. The caller serves its resource afterwards.
local function remove(hold, record, reason)
  local resource = read_resource(record[RESOURCE])
  call('HDEL', HOLDS, hold)
  call('ZREM', PARTIES, place(record, hold))
  if record[TOKEN] > 0 then
    resource.used = resource.used - record[PERMITS]
    resource.holders = resource.holders - 1
  else
    resource.waiters = resource.waiters - 1
  end
  write_resource(record[RESOURCE], resource)
  if is_lease(record) then
    call('ZREM', DUE, 'h' .. hold)
    if record[REQUEST] ~= '' then
      call('HDEL', REQUESTS, record[REQUEST])
    end
  end
  if not is_lease(record) or record[TOKEN] == 0 then
    call('ZREM', SESSION_HOLDS, record[SESSION] .. hold)
  end
  if reason and record[TOKEN] > 0 then
    remember_end(hold, record, reason)
  end
end

-- Removes up to CHUNK holds of a session before it serves anybody; its own waiters are not served, for it is ending.
-- Returns whether there are more.
local function clear_session(session)
  local from, to = range_of(session)
  local members = call('ZRANGEBYLEX', SESSION_HOLDS, from, to, 'LIMIT', 0, CHUNK)
  local touched = {}
  for _, member in ipairs(members) do
    local hold = string.sub(member, 17)
    local record = read_hold(hold)
    remove(hold, record, nil)
    touched[record[RESOURCE]] = true
  end
  for name in pairs(touched) do
    serve(name)
  end
  return #members == CHUNK
end

-- A server whose heartbeat has expired has nothing any more. Returns whether that took all there was to do.
local function sweep_server(server)
  call('HDEL', SERVERS, server)
  local budget = SWEPT_MAX
  while budget > 0 do
    local from, to = range_of(server)
    local member = call('ZRANGEBYLEX', ATTACHED, from, to, 'LIMIT', 0, 1)[1]
    if not member then
      call('ZREM', DUE, 's' .. server)
      call('ZADD', DUE, now + NUMBER_KEPT, 'n' .. server)
      return true
    end
    local session = string.sub(member, 17)
    call('HSET', SESSIONS, session, server .. 'x')
    if clear_session(session) then
      return false
    end
    detach(session, server)
    budget = budget - 1
  end
  return false
end

local function sweep()
  for _, member in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, SWEPT_MAX)) do
    local kind, id = string.sub(member, 1, 1), string.sub(member, 2)
    if kind == 'h' then
      local record = read_hold(id)
      remove(id, record, 'E')
      tell(record[ORIGIN], { 'e', id, 'E' })
      serve(record[RESOURCE])
    elseif kind == 's' then
      if not sweep_server(id) then
        return
      end
    else
      call('ZREM', DUE, member)
      call('HDEL', NUMBERS, id)
      call('HDEL', PUSHES, id)
    end
  end
end

-- Reading arguments, one after the other.
local at = 6 -- the operations begin behind this one
local function argument()
  at = at + 1
  return ARGV[at]
end
local function number_argument()
  return tonumber(argument())
end

-- By their letters. What defines them is a function of its own: what that has from here it passes on to the functions it
-- makes, which is much cheaper than for each to be given it anew; and only what is asked for is defined.
local operations = {}

-- What all operations share: records, resources, the queue, events.

local events = {}

-- A hold or waiter is one array, packed. ORIGIN is, of a lease, the server that hears of it; a lease hangs on no session
-- once it is granted.
local RESOURCE, PERMITS, LIMIT, SESSION, TTL, REQUEST, TOKEN, TICKET, SINCE, ORIGIN, DETAILS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11

-- What is read is read once, and what is written goes out in as few commands as can be, at the end or before a range is read
-- that it belongs to: most of what a command costs is the same for one field and for many. `false` stands for what is not there.
local seen = { [HOLDS] = {}, [RESOURCES] = {}, [SESSIONS] = {} }
-- By key: fields of `seen` that are to be written; members to be added (true) or removed (false).
local unwritten = { [HOLDS] = {}, [RESOURCES] = {}, [PARTIES] = {}, [SESSION_HOLDS] = {} }
local unwritten_count = 0

-- A resource as it is kept.
local function as_text(resource)
  return string.format('%d %d %d %d', resource.limit, resource.used, resource.holders, resource.waiters)
end

local function say(command, words, count)
  if count > 1 then
    call(command, unpack(words, 1, count))
  end
end

local function write_fields(key, encode)
  if not next(unwritten[key]) then
    return
  end
  local set, set_count, deleted, deleted_count = { key }, 1, { key }, 1
  for field in pairs(unwritten[key]) do
    local value = seen[key][field]
    if value then
      set[set_count + 1], set[set_count + 2] = field, encode(value)
      set_count = set_count + 2
    else
      deleted_count = deleted_count + 1
      deleted[deleted_count] = field
    end
  end
  unwritten[key] = {}
  say('HSET', set, set_count)
  say('HDEL', deleted, deleted_count)
end

local function write_members(key)
  if not next(unwritten[key]) then
    return
  end
  local added, added_count, removed, removed_count = { key }, 1, { key }, 1
  for member, is_added in pairs(unwritten[key]) do
    if is_added then
      added[added_count + 1], added[added_count + 2] = '0', member
      added_count = added_count + 2
    else
      removed_count = removed_count + 1
      removed[removed_count] = member
    end
  end
  unwritten[key] = {}
  say('ZADD', added, added_count)
  say('ZREM', removed, removed_count)
end

local function write_all()
  write_fields(HOLDS, cmsgpack.pack)
  write_fields(RESOURCES, as_text)
  write_members(PARTIES)
  write_members(SESSION_HOLDS)
  unwritten_count = 0
end

local function note(key, field, is_there)
  unwritten[key][field] = is_there
  unwritten_count = unwritten_count + 1
  if unwritten_count == UNWRITTEN_MAX then
    write_all()
  end
end

-- Members of PARTIES or SESSION_HOLDS, in order.
local function members_of(key, from, to, offset, at_most)
  write_members(key)
  return call('ZRANGEBYLEX', key, from, to, 'LIMIT', offset, at_most)
end

-- Whoever changes a record writes it, too. What goes into a result is a copy, since the record may change again in this call.
local function read_hold(hold)
  local record = seen[HOLDS][hold]
  if record == nil then
    local packed = call('HGET', HOLDS, hold)
    record = packed and cmsgpack.unpack(packed)
    seen[HOLDS][hold] = record
  end
  return record
end

local function write_hold(hold, record)
  seen[HOLDS][hold] = record
  note(HOLDS, hold, true)
end

local function copy_of(record)
  return { unpack(record) }
end

local function is_lease(record)
  return record[TTL] > 0
end

local function read_resource(name)
  local resource = seen[RESOURCES][name]
  if resource == nil then
    local text = call('HGET', RESOURCES, name)
    if text then
      local limit, used, holders, waiters = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
      resource =
        { limit = tonumber(limit), used = tonumber(used), holders = tonumber(holders), waiters = tonumber(waiters) }
    end
    seen[RESOURCES][name] = resource or false
  end
  return resource
end

local function write_resource(name, resource)
  seen[RESOURCES][name] = (resource.holders > 0 or resource.waiters > 0) and resource
  note(RESOURCES, name, true)
end

-- A party's place among all: by resource, holders before waiters, each in their order.
local function place(record, hold)
  local tag, rank = 'h', record[TOKEN]
  if rank == 0 then
    tag, rank = 'w', record[TICKET]
  end
  return record[RESOURCE] .. '\0' .. tag .. string.format('%016d', rank) .. hold
end

local function holders_of(name, at_most)
  return members_of(PARTIES, '[' .. name .. '\0h', '(' .. name .. '\0i', '0', at_most)
end

local function waiters_of(name, offset, at_most)
  return members_of(PARTIES, '[' .. name .. '\0w', '(' .. name .. '\0x', offset, at_most)
end

local function hold_at(place_of_it)
  return string.sub(place_of_it, -16)
end

local function position_of(record, hold)
  write_members(PARTIES)
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
  local text = seen[SESSIONS][session]
  if text == nil then
    text = call('HGET', SESSIONS, session)
    seen[SESSIONS][session] = text
  end
  if not text then
    return nil
  end
  local attempt, given = string.match(text, '^(%w+)(%+?)$', 17)
  return string.sub(text, 1, 16), attempt, given == '+'
end

local function set_owner(session, text)
  seen[SESSIONS][session] = text
  call('HSET', SESSIONS, session, text)
end

local function attach(session, attempt)
  set_owner(session, me .. attempt)
  call('ZADD', ATTACHED, 0, me .. session)
end

local function detach(session, server)
  seen[SESSIONS][session] = false
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
    note(PARTIES, place(record, hold), false)
    resource.waiters = resource.waiters - 1
    if is_lease(record) then
      note(SESSION_HOLDS, record[SESSION] .. hold, false)
    end
  end
  record[TOKEN], record[TICKET], record[SINCE] = last_token, 0, now_us
  resource.used = resource.used + record[PERMITS]
  resource.holders = resource.holders + 1
  write_hold(hold, record)
  note(PARTIES, place(record, hold), true)
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
    -- Without holders, whoever had set another limit is gone, and that was lost.
    local limit = resource.holders == 0 and record[LIMIT] or resource.limit
    if record[LIMIT] ~= limit or resource.used + record[PERMITS] > limit then
      break
    end
    local server, attempt = owner_of(record[SESSION])
    local lives = server and attempt ~= 'x' and call('HGET', SERVERS, server) == epoch
    if lives and tell(server, { 'g', hold, next_token(), now_us }) then
      resource.limit = limit
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
  write_hold(hold, false)
  note(PARTIES, place(record, hold), false)
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
    note(SESSION_HOLDS, record[SESSION] .. hold, false)
  end
  if reason and record[TOKEN] > 0 then
    remember_end(hold, record, reason)
  end
end

-- Removes up to CHUNK holds of a session before it serves anybody; its own waiters are not served, for it is ending.
-- Returns whether there are more.
local function clear_session(session)
  local from, to = range_of(session)
  local members = members_of(SESSION_HOLDS, from, to, '0', CHUNK)
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
    set_owner(session, server .. 'x')
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

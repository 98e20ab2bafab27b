-- How a server joins a partition, moves sessions to itself, and stays alive.

local function define_joining()
  -- S: where to go on (empty: at the beginning). What is here under the server's name. Result: where to go on (empty: that was
  -- all), then session, attempt and an array of holds with their records, again and again. A session with many holds comes in
  -- several parts.
  operations.S = function()
    local from, to = range_of(me)
    local after = argument()
    -- A member of ATTACHED, and behind it the hold after which to go on within that session.
    local within = string.sub(after, 33)
    if after ~= '' then
      from = (within == '' and '(' or '[') .. string.sub(after, 1, 32)
    end
    local shown, room = { '' }, CHUNK
    local members = call('ZRANGEBYLEX', ATTACHED, from, to, 'LIMIT', 0, CHUNK)
    for index, member in ipairs(members) do
      local session = string.sub(member, 17)
      local _, attempt = owner_of(session)
      local first, last = range_of(session)
      if within ~= '' then
        first, within = '(' .. session .. within, ''
      end
      local found, holds = members_of(SESSION_HOLDS, first, last, '0', room), {}
      for _, of_session in ipairs(found) do
        local hold = string.sub(of_session, 17)
        holds[#holds + 1] = { hold, copy_of(read_hold(hold)) }
      end
      shown[#shown + 1], shown[#shown + 2], shown[#shown + 3] = session, attempt, holds
      if #found == room then
        shown[1] = member .. holds[room][1]
        return shown
      end
      room = room - #found - 1
      if room <= 0 and index < #members then
        shown[1] = member
        return shown
      end
    end
    if #members == CHUNK then
      shown[1] = members[CHUNK]
    end
    return shown
  end

  -- Z: session, attempt. The server has it. Result: Z, 1, or 0 if another server has it by a later attempt.
  operations.Z = function()
    local session, attempt = argument(), argument()
    return { 'Z', take_session(session, attempt) and 1 or 0 }
  end

  -- Of two holds that do not fit beside each other the later grant is right: the other had ended by then, which is what was lost.
  -- Returns false if the record is the earlier one.
  local function outlast(hold, record)
    local earlier = {}
    for _, member in ipairs(holders_of(record[RESOURCE], CHUNK)) do
      local other = hold_at(member)
      local known = read_hold(other)
      if other ~= hold and known[PERMITS] + record[PERMITS] > record[LIMIT] then
        if known[TOKEN] > record[TOKEN] then
          return false
        end
        earlier[other] = known
      end
    end
    for other, known in pairs(earlier) do
      remove(other, known, 'B')
      tell(is_lease(known) and known[ORIGIN] or owner_of(known[SESSION]) or me, { 'e', other, 'B' })
    end
    return true
  end

  -- Makes the record what the server says. With those who may have gone meanwhile it can be more than the limit: in the window
  -- that does no harm, for nothing is granted, and their servers will say.
  local function restore(record)
    local resource = read_resource(record[RESOURCE])
      or { limit = record[LIMIT], used = 0, holders = 0, waiters = 0 }
    if record[TOKEN] > 0 then
      resource.limit = record[LIMIT]
      resource.used = resource.used + record[PERMITS]
      resource.holders = resource.holders + 1
    else
      resource.waiters = resource.waiters + 1
    end
    write_resource(record[RESOURCE], resource)
  end

  -- Y: hold, resource, permits, limit, session, ttl in ms, request id, token, ticket, since, details, ms left of a lease.
  -- The server has this. Result: Y | G token since (it has been granted meanwhile) | N (it is over) | X (another server
  -- answers for it).
  operations.Y = function()
    local hold = argument()
    local record = { argument(), number_argument(), number_argument(), argument(), number_argument(), argument(),
      number_argument(), number_argument(), number_argument(), me, argument() }
    local left = number_argument()
    if not is_lease(record) and owner_of(record[SESSION]) ~= me then
      -- It has moved.
      return { 'N', '', 0 }
    end
    local known = read_hold(hold)
    last_token, last_ticket = math.max(last_token, record[TOKEN]), math.max(last_ticket, record[TICKET])
    if known and known[TOKEN] > 0 then
      if record[TOKEN] == 0 then
        return { 'G', known[TOKEN], known[SINCE] }
      end
      if is_lease(known) and not in_window and known[ORIGIN] ~= me then
        return { 'X' }
      elseif is_lease(known) then
        -- It may have been renewed, and the clock here may be another one than it was counted on.
        known[TTL], known[ORIGIN] = record[TTL], me
        write_hold(hold, known)
        call('ZADD', DUE, 'GT', now + left, 'h' .. hold)
      end
      return known[TOKEN] == record[TOKEN] and { 'Y' } or { 'N', '', 0 }
    elseif known and record[TOKEN] == 0 then
      return { 'Y' }
    end
    local ended = record[TOKEN] > 0 and call('HGET', ENDED, hold)
    if ended or (record[TOKEN] > 0 and not in_window) then
      return { 'N', ended or '', 0 }
    end
    if record[TOKEN] > 0 and not outlast(hold, record) then
      return { 'N', '', 0 }
    end
    local asked = not known and record[TOKEN] == 0 and record[REQUEST] ~= '' and call('HGET', REQUESTS, record[REQUEST])
    if asked and asked ~= hold then
      -- It was repeated elsewhere, and waits there.
      return { 'X' }
    end
    if known then
      -- It was granted, and that is what was lost.
      remove(hold, known, nil)
    end
    restore(record)
    write_hold(hold, record)
    note(PARTIES, place(record, hold), true)
    if is_lease(record) and record[TOKEN] > 0 then
      call('ZADD', DUE, now + left, 'h' .. hold)
      note(SESSION_HOLDS, record[SESSION] .. hold, false)
    else
      note(SESSION_HOLDS, record[SESSION] .. hold, true)
    end
    if record[REQUEST] ~= '' then
      call('HSET', REQUESTS, record[REQUEST], hold)
    end
    return { 'Y' }
  end

  -- K: epoch, partitions, a key, whether it was in force already (1) or is a proposal (0). The server has said all it has under
  -- this epoch, and has joined. Result: K, partitions, server lease in ms and key in force; or F if the epoch is another one
  -- by now, or if the server was swept since it began to join, so that what it was shown is not true any more.
  operations.K = function()
    local expected, partitions, key, was_in_force = argument(), argument(), argument(), argument() == '1'
    if expected ~= epoch or not call('HGET', SERVERS, me) then
      return { 'F' }
    end
    call('HSETNX', META, 'partitions', partitions)
    call('HSETNX', META, 'lease', ARGV[4])
    -- What was lost may be another one than a newcomer has proposed since, and sessions are known by it.
    call(was_in_force and 'HSET' or 'HSETNX', META, 'key', key)
    call('HSET', SERVERS, me, epoch)
    call('ZADD', DUE, now + lease, 's' .. me)
    call('ZREM', DUE, 'n' .. me)
    local agreed = call('HMGET', META, 'partitions', 'lease', 'key')
    return { 'K', agreed[1], agreed[2], agreed[3] }
  end

  -- L: the last token and ticket that the server has heard of. Begins to join: until it has joined, nobody grants anything to
  -- this server. If it never does, it is swept with all that it has said by then. Result: L, partitions and server lease in ms
  -- that all servers have agreed on; empty where nothing is agreed yet.
  operations.L = function()
    -- Data may be lost, and the clock here may be behind the one that was here before.
    last_token, last_ticket = math.max(last_token, number_argument()), math.max(last_ticket, number_argument())
    call('HSET', SERVERS, me, 'joining')
    call('ZADD', DUE, 'NX', now + lease, 's' .. me)
    local agreed = call('HMGET', META, 'partitions', 'lease')
    return { 'L', agreed[1] or '', agreed[2] or '' }
  end

  -- B: the heartbeat. Result: B.
  operations.B = function()
    call('ZADD', DUE, now + lease, 's' .. me)
    return { 'B' }
  end

  -- T: resource. Serves its queue. Result: T.
  operations.T = function()
    serve(argument())
    return { 'T' }
  end

  -- V: session, attempt, the hold after which to go on (or empty). Makes another server's session this one's. Result: V, whether
  -- another server had it, the hold after which to go on (empty: that was all), holds with their records; or F if a later
  -- attempt has it.
  operations.V = function()
    local session, attempt, after = argument(), argument(), argument()
    local server, known, was_given = owner_of(session)
    if not server or known == 'x' then
      return { 'V', 1, '', {} }
    elseif not take_session(session, attempt) then
      return { 'F' }
    end
    local was_elsewhere = server ~= me or was_given
    if was_given then
      attach(session, attempt)
    end
    local from, to = range_of(session)
    local members = members_of(SESSION_HOLDS, after == '' and from or '(' .. session .. after, to, '0', CHUNK)
    local holds = {}
    for _, member in ipairs(members) do
      local hold = string.sub(member, 17)
      local record = read_hold(hold)
      if record[TOKEN] == 0 then
        -- Its turn may have come while its server could not hear of it.
        serve(record[RESOURCE])
        record = read_hold(hold)
      end
      holds[#holds + 1] = { hold, copy_of(record) }
    end
    return { 'V', was_elsewhere and 1 or 0, #members == CHUNK and holds[CHUNK][1] or '', holds }
  end

  -- F: session, attempt, server. That server has taken the session in elsewhere by this attempt, and may not come to do so here:
  -- it has it now, and ends it if need be. If it lives no more, it is swept with the session. Result: F.
  operations.F = function()
    local session, attempt, server = argument(), argument(), argument()
    local owner, known = owner_of(session)
    if owner == me and known ~= 'x' and tonumber(known) < tonumber(attempt) then
      detach(session, me)
      set_owner(session, server .. attempt .. '+')
      call('ZADD', ATTACHED, 0, server .. session)
      call('ZADD', DUE, 'GT', now + lease, 's' .. server)
    end
    return { 'F' }
  end
end

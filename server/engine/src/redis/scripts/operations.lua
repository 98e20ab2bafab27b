-- Acquire, release, renew, cancel, and the end of a session.

local function define_usual()
  -- A hold that was granted before.
  local function granted(letter, hold, record)
    local left = is_lease(record) and tonumber(call('ZSCORE', DUE, 'h' .. hold)) - now or 0
    return { letter, hold, record[TOKEN], record[SINCE], math.floor(left), record[TTL] }
  end

  -- A lease is this server's from now on; whoever had it is told.
  local function take_lease(hold, record)
    if record[ORIGIN] ~= me then
      tell(record[ORIGIN], { 'x', hold })
      record[ORIGIN] = me
      write_hold(hold, record)
    end
  end

  -- The answer to a request id that was seen before.
  local function repeat_request(hold, earlier, record, wanted, may_queue)
    local same = record[RESOURCE] == wanted[RESOURCE] and record[PERMITS] == wanted[PERMITS]
      and record[LIMIT] == wanted[LIMIT] and record[DETAILS] == wanted[DETAILS]
    if not same then
      return { 'E', 'reused', 0 }
    end
    if record[TOKEN] > 0 then
      -- Who asks again, here, has it; on the other server it can't be given back any more.
      take_lease(earlier, record)
      return granted('O', earlier, record)
    end
    if not may_queue then
      return { 'H', describe_holders(record[RESOURCE], NAMED_HOLDERS_MAX) }
    end
    if earlier ~= hold then
      -- It came again by another server, or under another name: the place in the queue goes over to the new one.
      local old_place, old_server = place(record, earlier), owner_of(record[SESSION])
      note(PARTIES, old_place, false)
      write_hold(earlier, false)
      note(SESSION_HOLDS, record[SESSION] .. earlier, false)
      tell(old_server, { 'x', earlier })
      record[SESSION], record[ORIGIN] = wanted[SESSION], me
      write_hold(hold, record)
      note(PARTIES, place(record, hold), true)
      note(SESSION_HOLDS, record[SESSION] .. hold, true)
      call('HSET', REQUESTS, record[REQUEST], hold)
    end
    local answer = { 'Q', position_of(record, hold), record[TICKET] }
    -- Its turn may have come while its server could not hear of it.
    serve(record[RESOURCE])
    return answer
  end

  -- A: hold, resource, permits, limit, session, attempt, ttl in ms (0: no lease), request id, whether to queue, details.
  -- Result: G token since | Q position ticket | O hold token since left ttl (it was granted before) | H holders |
  -- E reason figure | M (the session is another server's) | U (nothing is granted now).
  local function acquire(again)
    local hold, name, permits, limit = argument(), argument(), number_argument(), number_argument()
    local session, attempt, ttl, request = argument(), argument(), number_argument(), argument()
    local may_queue, details = argument() == '1', argument()
    if not take_session(session, attempt) then
      return { 'M' }
    end
    local known = again and read_hold(hold)
    if known and known[TOKEN] == 0 then
      return { 'Q', position_of(known, hold), known[TICKET] }
    elseif known then
      return granted('O', hold, known)
    end
    local record = { name, permits, limit, session, ttl, request, 0, 0, now_us, me, details }
    if request ~= '' then
      local earlier = call('HGET', REQUESTS, request)
      if earlier then
        return repeat_request(hold, earlier, read_hold(earlier), record, may_queue)
      end
      local ended = call('HGET', ENDED, 'r' .. request)
      if ended then
        local claim = string.format('%d/%d/', permits, limit) .. name
        return string.sub(ended, 2) == claim and { 'E', 'ended', string.byte(ended) } or { 'E', 'reused', 0 }
      end
    end
    local resource = read_resource(name) or { limit = limit, used = 0, holders = 0, waiters = 0 }
    if resource.limit ~= limit then
      return { 'E', 'limit', resource.limit }
    end
    if not in_window and resource.waiters == 0 and resource.used + permits <= limit then
      become_holder(hold, record, resource)
      write_resource(name, resource)
    elseif not may_queue then
      return in_window and resource.holders == 0 and { 'U' } or { 'H', describe_holders(name, NAMED_HOLDERS_MAX) }
    elseif resource.waiters >= waiters_max then
      return { 'E', 'full', 0 }
    else
      last_ticket = math.max(last_ticket + 1, now_us)
      record[TICKET] = last_ticket
      resource.waiters = resource.waiters + 1
      write_hold(hold, record)
      note(PARTIES, place(record, hold), true)
      write_resource(name, resource)
    end
    if request ~= '' then
      call('HSET', REQUESTS, request, hold)
    end
    if ttl == 0 or record[TOKEN] == 0 then
      note(SESSION_HOLDS, session .. hold, true)
    end
    if record[TOKEN] > 0 then
      return { 'G', record[TOKEN], record[SINCE] }
    end
    return { 'Q', resource.waiters, record[TICKET] }
  end

  operations.A = function()
    return acquire(false)
  end

  -- The same, sent again because nobody knows what became of it.
  operations.a = function()
    return acquire(true)
  end

  -- O: hold. What is left of a lease that was granted out of the queue. Result: O … as above | N (it is over).
  operations.O = function()
    local hold = argument()
    local record = read_hold(hold)
    return record and record[TOKEN] > 0 and granted('O', hold, record) or { 'N' }
  end

  -- Why a call that names this hold can't be carried out.
  local function not_held(hold, name)
    local resource = name ~= '' and read_resource(name)
    return { 'N', call('HGET', ENDED, hold) or '', resource and resource.holders > 0 and 1 or 0 }
  end

  -- Whether a hold may be one that its server has yet to say again.
  local function may_come_back(hold, record)
    return in_window and not record and not call('HGET', ENDED, hold)
  end

  -- R: hold, resource (empty: its own session says so). Result: R | N how-it-ended whether-others-hold.
  operations.R = function()
    local hold, name = argument(), argument()
    local record = read_hold(hold)
    if name ~= '' and may_come_back(hold, record) then
      -- Then it is refused.
      note_end(hold, 'R', hold)
      return { 'R' }
    end
    local has_moved = name == '' and record and owner_of(record[SESSION]) ~= me
    if not record or record[TOKEN] == 0 or has_moved or (name ~= '' and record[RESOURCE] ~= name) then
      return not_held(hold, name)
    end
    local by_bearer = name ~= ''
    remove(hold, record, (by_bearer or is_lease(record)) and 'R' or nil)
    if by_bearer and not (is_lease(record) and record[ORIGIN] == me) then
      tell(is_lease(record) and record[ORIGIN] or owner_of(record[SESSION]), { 'e', hold, 'R' })
    end
    serve(record[RESOURCE])
    return { 'R' }
  end

  -- W: hold, resource, ttl in ms (0: as before). Result: W and the record | N … | E lease 0 | U (it can't be told yet).
  operations.W = function()
    local hold, name, ttl = argument(), argument(), number_argument()
    local record = read_hold(hold)
    if may_come_back(hold, record) then
      return { 'U' }
    elseif not record or record[RESOURCE] ~= name then
      return not_held(hold, name)
    elseif record[TOKEN] == 0 then
      return { 'N', '', 0 }
    elseif not is_lease(record) then
      return { 'E', 'lease', 0 }
    end
    take_lease(hold, record)
    record[TTL] = ttl > 0 and ttl or record[TTL]
    write_hold(hold, record)
    call('ZADD', DUE, now + record[TTL], 'h' .. hold)
    return { 'W', copy_of(record) }
  end

  -- C: hold, whether to give it back if it is held. Result: X holders (it waited) | K hold token since left ttl (it is
  -- held and stays) | B (it was held and is given back) | N (nobody knows it, or it is another server's, which answers for it
  -- now).
  operations.C = function()
    local hold, give_back = argument(), argument() == '1'
    local record = read_hold(hold)
    if not record or (is_lease(record) and record[ORIGIN] or owner_of(record[SESSION])) ~= me then
      return { 'N', '', 0 }
    elseif record[TOKEN] > 0 and not give_back then
      return granted('K', hold, record)
    end
    remove(hold, record, nil)
    serve(record[RESOURCE])
    return record[TOKEN] > 0 and { 'B' } or { 'X', describe_holders(record[RESOURCE], NAMED_HOLDERS_MAX) }
  end

  -- D: session, attempt. Ends it with all it has, unless another server has it by the same or a later attempt. (By an earlier
  -- one: on its way here it came only so far.) Result: D, whether there is more to do (by the same operation again).
  operations.D = function()
    local session, attempt = argument(), argument()
    local server = owner_of(session)
    if not server or (server ~= me and not take_session(session, attempt)) then
      return { 'D', 0 }
    end
    set_owner(session, me .. 'x')
    if clear_session(session) then
      return { 'D', 1 }
    end
    detach(session, me)
    return { 'D', 0 }
  end
end

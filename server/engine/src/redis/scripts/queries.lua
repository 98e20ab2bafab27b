-- What operators ask.

local function define_queries()
  local function describe(name, at_most)
    local resource = read_resource(name) or { limit = 0, used = 0, holders = 0, waiters = 0 }
    local waiters = {}
    for _, member in ipairs(waiters_of(name, 0, at_most)) do
      local record = read_hold(hold_at(member))
      waiters[#waiters + 1] = { record[DETAILS], record[PERMITS], record[LIMIT], record[SINCE] }
    end
    return { name, resource.limit, resource.holders, resource.waiters, describe_holders(name, at_most), waiters }
  end

  -- Q: resource, most parties described. Result: the resource.
  operations.Q = function()
    local name, at_most = argument(), number_argument()
    return describe(name, at_most)
  end

  -- I: what the resources begin with, the resource after which to begin (or empty), how many at most, most parties
  -- described, about how many bytes at most. Result: resources in order.
  operations.I = function()
    local prefix, after, at_most, parties, bytes = argument(), argument(), number_argument(), number_argument(), number_argument()
    local found, size = {}, 0
    local from = after == '' and '[' .. prefix or '(' .. after .. '\1'
    while #found < at_most and size < bytes do
      local member = members_of(PARTIES, from, '+', '0', 1)[1]
      if not member or string.sub(member, 1, #prefix) ~= prefix then
        break
      end
      -- What comes after the name: a zero, a letter, sixteen digits, sixteen bytes.
      local name = string.sub(member, 1, -35)
      found[#found + 1] = describe(name, parties)
      size = size + 200
      for _, of_one_kind in ipairs({ found[#found][5], found[#found][6] }) do
        for _, party in ipairs(of_one_kind) do
          size = size + 200 + #party[1]
        end
      end
      from = '(' .. name .. '\1'
    end
    return found
  end

  -- P: hold. Result: its position in its queue, 0 if it is in none.
  operations.P = function()
    local hold = argument()
    local record = read_hold(hold)
    return { record and record[TOKEN] == 0 and position_of(record, hold) or 0 }
  end
end

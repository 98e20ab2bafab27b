-- Carries the operations out.

if not in_window then
  sweep()
end
define_usual()
local results = {}
while at < #ARGV do
  local letter = argument()
  if not operations[letter] then
    define_queries()
    define_joining()
  end
  results[#results + 1] = operations[letter]()
end
write_all()
if last_token ~= first_token or last_ticket ~= first_ticket then
  call('HSET', META, 'token', string.format('%.0f', last_token), 'ticket', string.format('%.0f', last_ticket))
end
local next_due = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2]
return {
  'ok', epoch, math.ceil(math.max(window - now, 0)), next_due and math.ceil(math.max(tonumber(next_due) - now, 0)) or -1,
  results, events, last_token, last_ticket, tonumber(call('HGET', PUSHES, me) or 0),
}

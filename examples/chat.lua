-- SPDX-License-Identifier: MIT
-- chat: what one says, all others read. The first line is one's name; talk to it with
-- `nc localhost 7000`. Whoever reads too slowly is shown the door, and holds up nobody.

local fern = require "fern"
local net = require "fern.net"

local USAGE <const> = [[
usage: lua5.4 examples/chat.lua [HOST] PORT
  HOST        the address to listen at (default 127.0.0.1; "*": all)
  PORT        0: any
]]
local BEHIND <const> = 100      -- lines that somebody may be behind

local function leave(file, code, text)
  file:write(text, USAGE)
  os.exit(code, true)
end

if arg[1] == "--help" or arg[1] == "-h" then leave(io.stdout, 0, "") end
local port = math.tointeger(tonumber(arg[#arg]))
if not port or port < 0 or port > 65535 or #arg > 2 then leave(io.stderr, 2, "no port\n") end
local host = arg[2] and arg[1] or "127.0.0.1"

local people = {}               -- name -> { connection =, outbox = }

-- Closing the connection ends both threads of it.
local function tell_others(name, line)
  for other, person in pairs(people) do
    if other ~= name and not person.outbox:put(line .. "\n", 0) then person.connection:close() end
  end
end

-- One thread reads, this one writes.
local function deliver(person)
  for line in person.outbox:iter() do
    if not person.connection:write(line) then break end
  end
  person.connection:close()
end

local function ask_name(connection)
  connection:write("Who are you?\n")
  local name = (connection:read("l", 60) or ""):gsub("%c", "")
  if name ~= "" and not people[name] then return name end
  connection:write("Somebody else, please.\n")
end

local function chat(connection)
  connection:max_line(1000)
  local name = ask_name(connection)
  if not name then return end
  local person = { connection = connection, outbox = fern.queue(BEHIND) }
  people[name] = person
  local _ <close> = setmetatable({}, { __close = function()
    people[name] = nil
    tell_others(name, name .. " has left")
  end })
  local _ <close> = fern.spawn(deliver, person)
  tell_others(name, name .. " is here")
  for line in connection:lines() do tell_others(name, name .. ": " .. line:gsub("%c", "")) end
end

local listener, problem = net.listen(host, port)
if not listener then leave(io.stderr, 1, ("%s: %s\n"):format(host, problem)) end
print(("listening at %s, port %d"):format(listener:address()))
io.stdout:flush()
net.serve(listener, chat)

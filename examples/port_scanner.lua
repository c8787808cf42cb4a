-- SPDX-License-Identifier: MIT
-- port_scanner: which TCP ports of a host are open? Tries many at once, prints those that
-- take a connection, in order, and what they say first. Scan what is yours.

local fern = require "fern"
local net = require "fern.net"

local USAGE <const> = [[
usage: lua5.4 examples/port_scanner.lua [-n AT_ONCE] [-t SECONDS] HOST [PORTS]...
  PORTS       a port, or the first and the last: 8000-8100 (default 1-1024)
  -n AT_ONCE  so many at the same time (default 200)
  -t SECONDS  for each of them (default 1)
]]

local function leave(file, code, text)
  file:write(text, USAGE)
  os.exit(code, true)
end

local options, words = { n = 200, t = 1 }, {}
local i = 1
while arg[i] do
  local option = arg[i]:match("^%-([nt])$")
  if arg[i] == "--help" or arg[i] == "-h" then leave(io.stdout, 0, "") end
  if option then
    i = i + 1
    options[option] = tonumber(arg[i])
    if not options[option] or options[option] <= 0 or (option == "n" and options.n % 1 ~= 0) then
      leave(io.stderr, 2, ("-%s needs a %snumber above 0\n"):format(option, option == "n" and "whole " or ""))
    end
  else
    words[#words + 1] = arg[i]
  end
  i = i + 1
end
local host = table.remove(words, 1) or leave(io.stderr, 2, "no host\n")
if #words == 0 then words = { "1-1024" } end

local ports = {}
for _, word in ipairs(words) do
  local first, last = word:match("^(%d+)%-?(%d*)$")
  first = math.tointeger(tonumber(first))
  last = math.tointeger(tonumber(last)) or first
  if not first or first < 1 or last > 65535 or first > last then
    leave(io.stderr, 2, ("'%s' is no port\n"):format(word))
  end
  for port = first, last do ports[#ports + 1] = port end
end

-- The name is looked up once.
local addresses, problem = net.resolve(host, { timeout = 10 })
if not addresses then leave(io.stderr, 2, ("%s: %s\n"):format(host, problem)) end
local address = addresses[1].addr

-- What a service says of itself, if it speaks first.
local function try(port)
  local connection <close> = net.connect(address, port, { timeout = options.t })
  if not connection then return port, false end
  local greeting = connection:read_some(200, 0.1) or ""
  return port, true, greeting:gsub("[\r\n].*", ""):gsub("%c", ".")
end

local began, open = fern.now(), 0
for port, is_open, greeting in fern.pool(options.n):imap(try, ports) do
  if is_open then
    open = open + 1
    print(("%5d open  %s"):format(port, greeting))
  end
end
print(("%d of %d ports of %s are open, in %.2f s"):format(open, #ports, address, fern.now() - began))

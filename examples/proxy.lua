-- SPDX-License-Identifier: MIT
-- proxy: takes connections, makes one to somewhere else for each, and passes on what
-- either side says, until both have said all. An end of one direction is passed on too.

local fern = require "fern"
local net = require "fern.net"

local USAGE <const> = [[
usage: lua5.4 examples/proxy.lua [-m MAX] PORT HOST PORT
  PORT        listen there, at 127.0.0.1; 0: any
  HOST PORT   pass on to there
  -m MAX      so many at the same time (default 1000); others wait
]]

local function leave(file, code, text)
  file:write(text, USAGE)
  os.exit(code, true)
end

local words, max = { table.unpack(arg) }, 1000
if words[1] == "--help" or words[1] == "-h" then leave(io.stdout, 0, "") end
if words[1] == "-m" then
  max = math.tointeger(tonumber(words[2])) or leave(io.stderr, 2, "-m needs a number\n")
  words = { table.unpack(words, 3) }
end
local port = math.tointeger(tonumber(words[1]))
if #words ~= 3 or not port or port < 0 or port > 65535 then leave(io.stderr, 2, "") end
local to_host, to_port = words[2], words[3]

-- When one side is broken, the other one shall know.
local function pass(from, to)
  if from:copy_to(to) then
    to:shutdown("write")
  else
    from:close()
    to:close()
  end
end

local function handle(client)
  local upstream <close>, problem = net.connect(to_host, to_port, { timeout = 10 })
  if not upstream then
    io.stderr:write(("%s %s: %s\n"):format(to_host, to_port, problem))
    return
  end
  local up <close> = fern.spawn(pass, client, upstream)
  pass(upstream, client)
  up:join()
end

local listener, problem = net.listen("127.0.0.1", port)
if not listener then leave(io.stderr, 1, problem .. "\n") end
print(("127.0.0.1, port %d, to %s, port %s"):format(select(2, listener:address()), to_host, to_port))
io.stdout:flush()
net.serve(listener, handle, { max = max })

-- SPDX-License-Identifier: MIT
-- The server of echo_ev.c in Lua, a green thread a connection. A first message
-- that begins with "?" is answered with the memory of the process, in bytes.
--
--     lua5.4 bench/echo.lua [echo|sink|source]
local fern = require "fern"
local net = require "fern.net"

local GIGABYTE <const> = 1 << 30

local function memory()
  collectgarbage()
  collectgarbage()
  local status = assert(io.open("/proc/self/status")):read("a")
  return (tonumber(status:match("VmRSS:%s*(%d+)")) + tonumber(status:match("VmPTE:%s*(%d+)"))) * 1024
end

local serve = {}

function serve.echo(connection)
  local data = connection:read_some()
  if data and data:sub(1, 1) == "?" then data = ("%-64d"):format(memory()) end
  while data do
    connection:write(data)
    data = connection:read_some()
  end
end

function serve.sink(connection)
  repeat local data = connection:read_some() until not data
  connection:write("x")
end

function serve.source(connection)
  local piece = ("x"):rep(64 * 1024)
  for _ = 1, GIGABYTE // #piece do
    if not connection:write(piece) then break end
  end
end

local body = serve[arg[1] or "echo"]

local function handle(connection)
  body(connection)
  connection:close()
end

local listener = assert(net.listen("127.0.0.1", 0))
local _, port = listener:address()
print(port, io.open("/proc/self/stat"):read("n"))
io.stdout:flush()
while true do fern.spawn(handle, assert(listener:accept())) end

-- SPDX-License-Identifier: MIT
-- The server of tls_ev.c in Lua, a green thread a connection.
--
--     lua5.4 bench/tls_echo.lua CERTIFICATE KEY
local fern = require "fern"
local tls = require "fern.tls"

local function handle(stream)
  local data = stream:read_some()
  while data do
    stream:write(data)
    data = stream:read_some()
  end
  stream:close()
end

local listener = assert(tls.listen("127.0.0.1", 0, { certificate = arg[1], key = arg[2] }))
local _, port = listener:address()
print(port, io.open("/proc/self/stat"):read("n"))
io.stdout:flush()
while true do fern.spawn(handle, assert(listener:accept())) end

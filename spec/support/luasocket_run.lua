-- SPDX-License-Identifier: MIT
-- luasocket_run real|fern [name]: runs luasocket_programs with LuaSocket or with fern's,
-- and prints what each shows.
local which, only = ...
local socket, unix
if which == "real" then
  socket, unix = require "socket", require "socket.unix"
else
  socket, unix = require "fern.socket", require "fern.socket.unix"
end

-- Each run has its own ports and addresses: the first port is PORT1, and so on.
local ports, count

local function port_name(number)
  if not ports[number] then
    count = count + 1
    ports[number] = "PORT" .. count
  end
  return ports[number]
end

local function text_of(value)
  if type(value) == "number" then
    local integral = math.tointeger(value)
    if integral and integral > 20000 and integral < 65536 then return port_name(integral) end
    return ("%.14g"):format(value)
  elseif type(value) == "string" then
    -- Lua names a function after any place of it in package.loaded
    local text = value:gsub("0x%x+", "0x"):gsub("fern%.socket", "socket"):gsub("socket%.core", "socket")
      :gsub("^[^%s:]*programs%.lua", "programs")
    return ("%q"):format(#text > 300 and text:sub(1, 300) .. ("... %d"):format(#text) or text)
  elseif type(value) == "table" then
    local parts = {}
    for key, item in pairs(value) do parts[#parts + 1] = text_of(key) .. "=" .. text_of(item) end
    table.sort(parts)
    return "{" .. table.concat(parts, ", ") .. "}"
  elseif type(value) == "userdata" or type(value) == "function" then
    return type(value)
  end
  return tostring(value)
end

local function show(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = text_of((select(i, ...))) end
  print("  " .. table.concat(parts, " "))
end

for _, program in ipairs(require "spec.support.luasocket_programs") do
  if not only or program.name == only then
    ports, count = {}, 0
    print(program.name)
    local ok, err = xpcall(program.fn, debug.traceback, socket, show, unix)
    if not ok then print("  failed: " .. tostring(err)) end
  end
end

-- SPDX-License-Identifier: MIT
-- stdin: Lua's functions for reading from standard input, over fern.fs: who reads parks
-- its thread. For fern.patch { "io" }: io.stdin, io.read, io.lines and io.input, which
-- do for other files what they did before.

local fs = require "fern.fs"
local failure = require("fern.core").process.failure

local stdin = {}
local real = { stdin = io.stdin, read = io.read, lines = io.lines, input = io.input, type = io.type }

-- ---- the object in the place of io.stdin ----

local file = { __name = "FILE*" }
file.__index = file

local object = setmetatable({}, file)

-- Up to the first that fails; the end is a nil with no message, as in Lua.
local function read_each(stream, format, ...)
  local value, _, code = stream:read(format, nil)
  if value == nil then
    if code == nil or code == "EPIPE" then return nil end
    return failure(code)
  end
  if select("#", ...) == 0 then return value end
  return value, read_each(stream, ...)
end

function file.read(_, ...)
  local stream, _, code = fs.stdin()
  if not stream then return failure(code) end
  if select("#", ...) == 0 then return read_each(stream, "l") end
  return read_each(stream, ...)
end

function file.lines(_, ...)
  local formats = table.pack(...)
  return function()
    local values = table.pack(object:read(table.unpack(formats, 1, formats.n)))
    if values[1] == nil and values[2] then error(values[2], 2) end
    return table.unpack(values, 1, values.n)
  end
end

-- What does not read is C's.
for _, name in ipairs { "close", "flush", "seek", "setvbuf", "write" } do
  file[name] = function(_, ...) return real.stdin[name](real.stdin, ...) end
end

function file.__tostring() return tostring(real.stdin) end

-- ---- functions of io ----

stdin.stdin = object

local function is_default() return real.input() == real.stdin end

function stdin.read(...)
  if is_default() then return object:read(...) end
  return real.read(...)
end

function stdin.lines(name, ...)
  if name == nil and is_default() then return object:lines(...) end
  return real.lines(name, ...)
end

function stdin.input(...)
  if select("#", ...) > 0 and rawequal((...), object) then
    real.input(real.stdin)
    return object
  end
  local found = real.input(...)
  return found == real.stdin and object or found
end

function stdin.type(value)
  if rawequal(value, object) then return real.type(real.stdin) end
  return real.type(value)
end

return stdin

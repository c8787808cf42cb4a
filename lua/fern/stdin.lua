-- SPDX-License-Identifier: MIT
-- stdin: Lua's functions for reading from standard input, over fern.fs: who reads parks
-- its thread. For fern.patch { "io" }: io.stdin, io.read, io.lines and io.input, which
-- also take what io.popen gives then, and do for other files what they did before.

local fs = require "fern.fs"
local process = require "fern.process"
local core = require("fern.core").process

local stdin = {}
local real = {
  stdin = io.stdin, read = io.read, lines = io.lines, input = io.input, type = io.type, close = io.close,
}

-- ---- the object in the place of io.stdin ----

local file = { __name = "FILE*" }
file.__index = file

local object = setmetatable({ stream = real.stdin }, file)

function file.read(_, ...)
  local stream, _, code = fs.stdin()
  if not stream then return core.failure(code) end
  return core.read_as_file(stream, ...)
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

local function is_popens(value) return getmetatable(value) == process.file end

local default                           -- one of those, which io.input was given

local function source()
  return default or (real.input() == real.stdin and object)
end

function stdin.read(...)
  local from = source()
  if from then return from:read(...) end
  return real.read(...)
end

function stdin.lines(name, ...)
  local from = name == nil and source()
  if from then return from:lines(...) end
  return real.lines(name, ...)
end

function stdin.input(...)
  local given = ...
  if is_popens(given) then
    default = given
  elseif given == nil and default then
    return default
  elseif rawequal(given, object) then
    real.input(real.stdin)
    default = nil
  else
    local found = real.input(...)
    default = nil
    return found == real.stdin and object or found
  end
  return given
end

function stdin.type(value)
  if rawequal(value, object) then return real.type(real.stdin) end
  if is_popens(value) then return value.stream and "file" or "closed file" end
  return real.type(value)
end

function stdin.close(...)
  local given = ...
  if is_popens(given) or rawequal(given, object) then return given:close() end
  return real.close(...)
end

return stdin

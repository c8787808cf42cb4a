-- SPDX-License-Identifier: MIT
-- run: calls what a person has written, and tells of its errors as the interpreter
-- does: "fern: message", and a traceback without any function of the command.

local core = require "fern.core"

local run = {}

-- A script may take away whatever is global, and then fail.
local type, tostring, select = type, tostring, select
local getmetatable, setmetatable, rawget, rawset, pcall, xpcall = getmetatable, setmetatable, rawget, rawset, pcall, xpcall
local load, loadfile, require, globals = load, loadfile, require, _G
local stderr, stdout, traceback = io.stderr, io.stdout, debug.traceback
local pack, unpack, get_meta = table.pack, table.unpack, debug.getmetatable

-- What the handler makes of an error: `trace` still has our own functions at its end.
local failure = {}

-- The text of an error, and whether a traceback belongs to it.
local function text_of(err)
  if type(err) == "string" or type(err) == "number" then return tostring(err), true end
  local meta = get_meta(err)
  local to_string = meta and rawget(meta, "__tostring")
  if to_string then
    local ok, text = pcall(to_string, err)
    if type(text) == "string" then return text, not ok end
  end
  return ("(error object is a %s value)"):format(type(err)), true
end

-- Little is done here: the stack may be full.
local function handle(err)
  local text, traced = text_of(err)
  return setmetatable({ text = text, trace = traced and traceback("", 2) }, failure)
end

local function count_lines(text) return select(2, text:gsub("\n", "")) end

local function drop_last(text, lines)
  for _ = 1, lines do text = text:match("^(.*)\n[^\n]*$") end
  return text
end

-- The message, with `lines` of its traceback, which are ours, replaced by the line
-- that stands for the program in the traceback of a plain `lua`.
local function tell(err, lines)
  if getmetatable(err) ~= failure then return tostring(err) end     -- no memory, or no stack
  if not err.trace then return err.text end
  return err.text .. drop_last(err.trace, lines) .. "\n\t[C]: in ?"
end

local function results(lines, ok, ...)
  if ok then return true, ... end
  return false, tell((...), lines)
end

-- true and what fn(...) returns, or false and a text for people. The lines: the
-- title for xpcall, which stands above us, and one for each function below.
function run.call(fn, ...)
  local lines <const> = count_lines(traceback("", 1))
  core.command.stand_here()
  return results(lines, xpcall(fn, handle, ...))
end

function run.complain(message)
  stdout:flush()
  stderr:write("fern: ", message, "\n")
  stderr:flush()
end

-- The same for what is to print its own errors: true and results, or false.
local function call_or_complain(fn, ...)
  local results_of = pack(run.call(fn, ...))
  if not results_of[1] then run.complain(results_of[2]) end
  return unpack(results_of, 1, results_of.n)
end

-- Of load and its kin: a chunk, or nil and what is wrong with it.
local function run_chunk(chunk, message, ...)
  if not chunk then
    run.complain(message)
    return false
  end
  return (call_or_complain(chunk, ...))
end

function run.code(text)
  local chunk, message = load(text, "=(command line)")
  return run_chunk(chunk, message)
end

-- "-" is what comes from stdin, as it is for a plain `lua`.
function run.script(name, ...)
  local chunk, message
  if name == "-" then chunk, message = loadfile() else chunk, message = loadfile(name) end
  return run_chunk(chunk, message, ...)
end

-- -l name, or global=name. Of a name with a "-", what follows belongs to a version.
function run.library(text)
  local global, name = text:match("^(.-)=(.*)$")
  if not global then global, name = text:match("^[^-]*"), text end
  local ok, module = call_or_complain(require, name)
  if ok then rawset(globals, global, module) end
  return ok
end

return run

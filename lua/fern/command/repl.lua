-- SPDX-License-Identifier: MIT
-- repl: reads a line, runs it in the main green thread, prints what it gave, and so
-- on, as the interpreter does. Threads run while it waits for lines.

local core = require "fern.core"
local reader = require "fern.command.reader"
local run = require "fern.command.run"

local function prompt(name, otherwise)
  local own = rawget(_G, name)
  return own == nil and otherwise or tostring(own)
end

local function say(text)
  io.stdout:flush()
  io.stderr:write(text, "\n")
  io.stderr:flush()
end

local function is_incomplete(message) return message:sub(-5) == "<eof>" end

-- Further lines until what was typed is a chunk, or can become none: the chunk, or
-- nil, message; nothing if the person wants none of it any more.
local function read_chunk(lines, text)
  local chunk = load("return " .. text, "=stdin")
  if chunk then return chunk, nil, true end
  local message
  repeat
    chunk, message = load(text, "=stdin")
    if chunk or not is_incomplete(message) then return chunk, message end
    local line, _, code = lines.read(prompt("_PROMPT2", ">> "))
    if not line and code == "EINTR" then return nil end
    if line then text = text .. "\n" .. line end
  until not line
  return nil, message
end

-- `_` is the last value that was printed.
local function print_values(is_expression, ok, ...)
  if not ok then return say((...)) end
  if select("#", ...) == 0 then return end
  if is_expression then rawset(_G, "_", (...)) end
  local printed, message = pcall(print, ...)
  if not printed then say(("error calling 'print' (%s)"):format(message)) end
end

local function evaluate(lines, text)
  local chunk, message, is_expression = read_chunk(lines, text)
  if chunk then
    print_values(is_expression, run.call(chunk))
  elseif message then
    say(message)
  end
end

-- True until the end of input.
local function step(lines)
  core.command.rearm()
  local line, message, code = lines.read(prompt("_PROMPT", "> "))
  if line then
    evaluate(lines, line)
  elseif code == "EINTR" then
    say ""
  elseif code then
    say("fern: " .. message)
    return false
  end
  return line or code == "EINTR"
end

-- The same, whenever Ctrl-C comes: what has been typed is dropped.
local function step_or_drop(lines)
  local ok, more = pcall(step, lines)
  if ok then return more end
  if not tostring(more):find("interrupted!", 1, true) then error(more, 0) end
  say ""
  return true
end

-- Errors that nobody has asked for are told above the line that is being typed.
local function tell_error(err, traceback, thread)
  local who = thread and tostring(thread):gsub("^fern%.thread", "green thread"):gsub(" %(%w+%)$", "") or "a green thread"
  io.stderr:write(("fern: %s failed: %s\n%s\n"):format(who, tostring(err), traceback or ""))
end

return function()
  local lines = reader.open()
  core.on_error(tell_error)
  if lines.edits then print "Tab completes, Ctrl-C interrupts, Ctrl-D ends" end
  while step_or_drop(lines) do end
  io.stdout:write "\n"
  io.stdout:flush()
  return true
end

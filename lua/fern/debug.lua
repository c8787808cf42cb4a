-- SPDX-License-Identifier: MIT
-- debug: what there is on the hub, for people: its threads, timers, listeners,
-- and who made them; who holds it; and every line that runs. Loading it makes
-- SIGUSR1 print it all, unless the program has a use for that signal.

require "fern"

local core = require("fern.core").debug
local lua = _G.debug

local debug = {
  format_hub_timers = core.format_hub_timers,
  format_hub_listeners = core.format_hub_listeners,
  hub_timer_stacks = core.hub_timer_stacks,
  hub_listener_stacks = core.hub_listener_stacks,
  hub_exceptions = core.hub_exceptions,
  hub_blocking_detection = core.hub_blocking_detection,
  thread_accounting = core.thread_accounting,
  threads = core.threads,
  timers = core.timers,
  listeners = core.listeners,
  stats = core.stats,
}

local function write_to(file, text)
  local ok, message = file:write(text)
  if not ok and message then return nil, message end
  return true
end

local function can_write(file)
  local ok, write = pcall(function() return file.write end)
  return ok and write ~= nil
end

-- All of it, to an open file (stderr), or appended to the one of that name.
function debug.dump(file)
  file = file == nil and io.stderr or file
  if type(file) ~= "string" then
    if not can_write(file) then
      error("bad argument #1 to 'fern.debug.dump' (file or its name expected, got " .. type(file) .. ")", 2)
    end
    return write_to(file, core.format() .. "\n")
  end
  local opened <close>, message = io.open(file, "a")
  if not opened then return nil, message end
  opened:setvbuf("no")      -- so that what cannot be written is known here
  return write_to(opened, core.format() .. "\n")
end

-- ---- every line that runs ----

local sources = {}      -- file name -> its lines

local function lines_of(source)
  local lines = sources[source]
  if lines then return lines end
  lines = {}
  sources[source] = lines
  local file <close> = source:sub(1, 1) == "@" and io.open(source:sub(2)) or nil
  for line in (file and file:lines() or function() end) do
    lines[#lines + 1] = line:match("^%s*(.-)%s*$")
  end
  return lines
end

local function wanted(source, names)
  if not names then return true end
  for _, name in ipairs(names) do
    if source:find(name, 1, true) then return true end
  end
  return false
end

-- The locals of the function that runs whose names the line has.
local function values(text)
  local found = {}
  for i = 1, math.huge do
    local name, value = lua.getlocal(3, i)
    if not name then break end
    if text:find("%f[%w_]" .. name:gsub("%W", "%%%0") .. "%f[^%w_]") then
      found[#found + 1] = ("%s=%s"):format(name, tostring(value))
    end
  end
  return table.concat(found, " ")
end

local function tracer(names, show_values)
  return function(_, line)
    local info = lua.getinfo(2, "S")
    if not wanted(info.short_src, names) then return end
    local text = lines_of(info.source)[line] or ""
    io.stderr:write(("%s:%d: %s\n"):format(info.short_src, line, text))
    local shown = show_values and values(text) or ""
    if shown ~= "" then io.stderr:write("    ", shown, "\n") end
  end
end

local function hook_all(hook)
  for _, state in ipairs(core.states()) do
    if hook then lua.sethook(state, hook, "l") else lua.sethook(state) end
  end
end

-- Print every line that runs in any green thread, those to come included; only
-- of sources whose name contains one of `names`, and with the values of the
-- locals that stand in it.
function debug.spew(names, show_values)
  if names ~= nil and type(names) ~= "table" then error("bad argument #1 to 'spew' (table expected)", 2) end
  hook_all(tracer(names, show_values))
end

function debug.unspew() hook_all(nil) end

core.begin()

return debug

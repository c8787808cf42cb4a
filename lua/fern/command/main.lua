-- SPDX-License-Identifier: MIT
-- main: what `fern` does with its arguments, in the order in which the interpreter
-- would. Parts that few runs need are loaded when they are.

local core = require "fern.core"
local options = require "fern.command.options"
local run = require "fern.command.run"

local OK <const>, FAILED <const> = 0, 1

local function tell_version()
  io.stdout:write(("fern %s, %s\n"):format(core.command.version, _VERSION))
  io.stdout:flush()
end

-- The global `arg` of the interpreter, moved so that the script's name, if there is
-- one, stands at 0 and all that led to it below.
local function new_arg(old, script)
  local first = 0
  while old[first - 1] do first = first - 1 end
  local moved = {}
  for i = first, #old do moved[i - (script or 0)] = old[i] end
  return moved
end

local before = {
  ["-e"] = run.code,
  ["-l"] = run.library,
  ["-W"] = function()
    warn "@on"
    return true
  end,
}

local function run_before(plan)
  for _, step in ipairs(plan) do
    if not before[step.option](step.value) then return false end
  end
  return true
end

local function is_terminal() return core.command.is_terminal(0) end

-- What is run when there is neither a script nor code.
local function run_stdin()
  if is_terminal() then
    tell_version()
    return require "fern.command.repl" ()
  end
  return run.script "-"
end

local function run_plan(plan)
  local words <const> = arg
  rawset(_G, "arg", new_arg(words, plan.script))
  if plan.typed or not (plan.script or plan.runs) then rawset(_G, "fern", require "fern") end
  if plan.version then tell_version() end
  if not run_before(plan) then return false end
  if plan.script and not run.script(words[plan.script], table.unpack(arg)) then return false end
  if plan.interactive then return require "fern.command.repl" () end
  if plan.script or plan.runs then return true end
  return run_stdin()
end

local function run_tests(plan)
  return require "fern.command.test" (arg, plan.test)
end

-- Threads are unwound here, while all that they may need is there.
local function run_to_end(plan)
  local stats = plan.stats and require "fern.command.stats"
  if stats then stats.begin() end
  local ok = (plan.test and run_tests or run_plan)(plan)
  core.close()
  if stats then stats.write() end
  return ok and OK or FAILED
end

-- Returns the status that the process is to end with.
return function()
  local plan, message = options.read(arg)
  if not plan then
    run.complain(message .. "\n" .. options.USAGE .. "\n`fern --help` tells more")
    return FAILED
  elseif plan.only == "help" then
    io.stdout:write(options.HELP)
    return OK
  elseif plan.only == "version" then
    tell_version()
    return OK
  end
  core.command.begin()
  return run_to_end(plan)
end

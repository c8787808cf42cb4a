-- SPDX-License-Identifier: MIT
-- limit: what a spec may take, from its first before_each to its last after_each. Then
-- all threads are shown, and it gets a timeout where it waits, or an error where it
-- computes. If it swallows those, the whole run ends.

local core = require "fern.core"

local limit = { seconds = nil }         -- none

local PATIENCE <const> = 5              -- seconds for what has got its timeout
local EVERY <const> = 1000000           -- instructions between looks at the clock
local BEFORE <const> = 0.001            -- seconds from our clock to main's deadline

local expired, shown = false, false
local deadline, clock, ends_at, name

local function show()
  if shown then return end
  shown, expired = true, true
  io.stdout:flush()
  io.stderr:write(("\nfern test: '%s' has run for %g s:\n"):format(name(), limit.seconds), core.debug.format(), "\n")
end

local function give_up()
  io.stderr:write(("\nfern test: '%s' does not end even so\n"):format(name()))
  os.exit(1)
end

-- Runs just before main's deadline, so that main is shown where it waits. Who waits for
-- main is nobody that a spec's `fern.waitall` would wait for.
local function watch(main)
  main:join(ends_at - core.now())
  show()
  core.sleep(PATIENCE)
  give_up()
end

-- For who computes, and never lets the others run.
local function look_at_clock()
  local late = core.now() - ends_at
  if late > PATIENCE then give_up() end
  if late > 0 and not expired then
    show()
    error(("it computes for more than %g s"):format(limit.seconds), 2)
  end
end

-- `get_name` tells how the spec is called.
function limit.begin(get_name)
  if not limit.seconds then return end
  name, expired, shown = get_name, false, false
  ends_at = core.now() + limit.seconds
  clock = core.spawn(watch, core.current())
  clock:name "fern test's limit"
  core.sleep(0)                         -- until it waits
  deadline = core.deadline(ends_at + BEFORE - core.now())
  if not debug.gethook() then debug.sethook(look_at_clock, "", EVERY) end
end

-- Returns true if it has taken too long.
function limit.finish()
  if not deadline then return false end
  if debug.gethook() == look_at_clock then debug.sethook() end
  deadline:close()
  deadline = nil
  clock:kill()
  return expired
end

return limit

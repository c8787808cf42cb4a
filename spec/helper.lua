-- SPDX-License-Identifier: MIT
-- helper: busted runs this once, before the specs. A spec that leaves a thread
-- alive, a descriptor waited for, or an error that nobody asked for, fails.
local busted = require "busted"
local core = require "fern.core"

local PATIENCE = 1                      -- seconds for a spec's threads to end
local before = { alive = 0, listeners = 0, unasked = 0 }
local reported = {}                     -- errors told since the spec began
local running = "?"                     -- its name

local function count()
  local alive, listeners, unasked = core.alive()
  return { alive = alive, listeners = listeners, unasked = unasked }
end

local function hear(err, traceback, thread)
  reported[#reported + 1] = ("%s: %s\n%s"):format(thread or "somebody", tostring(err), traceback or "")
end

-- Threads that are about to end get the time for it.
local function settle()
  local now, limit = count(), core.now() + PATIENCE
  while (now.alive > before.alive or now.listeners > before.listeners) and core.now() < limit do
    core.sleep(core.now() < limit - PATIENCE / 2 and 0 or 0.001)
    now = count()
  end
  return now
end

-- Errors are told a second after they came: wait for those of this spec here,
-- or they would be held against the next one.
local function hear_the_rest()
  local limit = core.now() + 3 * PATIENCE
  while count().unasked > 0 and core.now() < limit do core.sleep(0.01) end
  core.sleep(0.01)
end

busted.subscribe({ "test", "start" }, function(element)
  running = element.name
  return nil, true
end)

busted.before_each(function()
  reported = {}
  core.on_error(hear)
  before = count()
end)

busted.after_each(function()
  core.on_error(hear)
  local now = settle()
  if now.unasked > before.unasked then hear_the_rest() end
  local left = {}
  for what, much in pairs { alive = "threads alive", listeners = "threads that wait for descriptors" } do
    if now[what] > before[what] then left[#left + 1] = ("%d %s"):format(now[what] - before[what], much) end
  end
  for _, err in ipairs(reported) do left[#left + 1] = "an error that nobody asked for: " .. err end
  if #left > 0 then error(("'%s' leaves behind:\n  %s"):format(running, table.concat(left, "\n  ")), 0) end
end)

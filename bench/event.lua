-- SPDX-License-Identifier: MIT
-- What it costs to wake all waiters of an event: from its send until the last
-- of them has run. Ten times as many should cost ten times as much.
--
--     lua5.4 bench/event.lua
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local FEW <const>, MANY <const> = 1000, 10000

-- Microseconds for `count` waiters; that they end is not counted.
local function wake(count, times)
  local event, last, woken = fern.event(), fern.event(), 0
  local function wait()
    for _ = 1, times do
      event:wait()
      woken = woken + 1
      if woken % count == 0 then last:send() end
      fern.sleep(0)
    end
  end
  for _ = 1, count do fern.spawn(wait) end
  local spent = 0
  for _ = 1, times do
    fern.sleep(0)
    fern.sleep(0)
    local start = os.clock()
    event:send(true)
    last:wait()
    spent = spent + os.clock() - start
    event:reset()
    last:reset()
  end
  fern.waitall()
  return spent / times * 1e6
end

local value, baseline = measure.compare(5, function() return wake(MANY, 3) end,
  function() return wake(FEW, 30) end)
measure.row { figure = "waking all waiters of an event, beside 1,000", threads = MANY, value = value, unit = "us",
  baseline = baseline, limit = 12, aim = 10 }

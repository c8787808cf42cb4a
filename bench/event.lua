-- SPDX-License-Identifier: MIT
-- What it costs to wake all waiters of an event: from its send until the last
-- of them has run, on its way to wait for the next one. Ten times as many should
-- cost ten times as much.
--
--     lua5.4 bench/event.lua
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local FEW <const>, MANY <const>, ROUNDS <const> = 1000, 10000, 15

-- Microseconds for `count` waiters: the median round, and the first.
local function wake(count)
  local events, times, woken, ended = {}, {}, 0, nil
  for i = 1, ROUNDS + 1 do events[i] = fern.event() end
  local function wait()
    for i = 1, ROUNDS do
      events[i]:wait()
      woken = woken + 1
      if woken == count then ended = os.clock() end
    end
    events[ROUNDS + 1]:wait()
  end
  for _ = 1, count do fern.spawn(wait) end
  for i = 1, ROUNDS do
    fern.sleep(0)
    woken = 0
    local start = os.clock()
    events[i]:send(true)
    while woken < count do fern.sleep(0) end
    times[i] = (ended - start) * 1e6
  end
  events[ROUNDS + 1]:send(true)
  fern.waitall()
  return measure.median(times), times[1]
end

local function row(figure, which, limit)
  local value, baseline = measure.compare(5,
    function() return (select(which, wake(MANY))) end, function() return (select(which, wake(FEW))) end)
  measure.row { figure = figure, threads = MANY, value = value, unit = "us",
    baseline = baseline, limit = limit, aim = limit and 10 }
end

row("waking all waiters of an event, beside 1,000", 1, 12)
row("waking them for the first time, beside 1,000", 2)

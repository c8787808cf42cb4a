-- SPDX-License-Identifier: MIT
-- The same few things in fern, in eventlet with futurist, and in gevent, as far
-- as those are installed (Debian: python3-eventlet, python3-futurist,
-- python3-gevent). The baseline is theirs; the languages differ, too.
--
--     lua5.4 bench/beside.lua
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")
local fern = require "fern"

local function same(item) return item end

local function join_all(threads)
  for i = 1, #threads do threads[i]:join() end
end

local function switch(count)
  local threads, sleep = {}, fern.sleep
  for i = 1, 100 do
    threads[i] = fern.spawn(function()
      for _ = 1, count // 100 do sleep(0) end
    end)
  end
  join_all(threads)
end

local function spawn_join(count)
  local spawn = fern.spawn
  for _ = 1, count do spawn(same, 1):join() end
end

local function channel(count)
  local there, back = fern.queue(0), fern.queue(0)
  local answerer = fern.spawn(function()
    for _ = 1, count do back:put(there:get()) end
  end)
  for i = 1, count do
    there:put(i)
    back:get()
  end
  answerer:join()
end

local function semaphore(count)
  local one = fern.semaphore(1)
  for _ = 1, count do
    one:acquire()
    one:release()
  end
end

local function wake(count)
  local event, waiters = fern.event(), {}
  for i = 1, count do waiters[i] = fern.spawn(event.wait, event) end
  fern.sleep(0)
  event:send(1)
  join_all(waiters)
end

local function imap(count)
  local list = {}
  for i = 1, count do list[i] = i end
  for _ in fern.pool(100):imap(same, list) do end                                       -- luacheck: ignore 542
end

local function submit(count)
  local executor <close> = fern.executor { max_workers = 100 }
  for i = 1, count do executor:submit(same, i):result() end
end

local figures = {
  { name = "switch", threads = 100, count = 1000000, what = "a switch", switch },
  { name = "spawn and join", threads = 1, count = 100000, what = "spawn and join", spawn_join },
  { name = "channel", threads = 2, count = 100000, what = "there and back through channels", channel },
  { name = "semaphore", threads = 1, count = 1000000, what = "acquire and release", semaphore },
  { name = "wake", threads = 1000, count = 1000, what = "spawn, wait for an event, be woken", wake },
  { name = "imap", threads = 100, count = 100000, what = "pool:imap, an item", imap },
  { name = "executor", threads = 1, count = 100000, what = "submit and result", submit },
}

local function ours(figure)
  local rounds = {}
  for round = 1, 5 do
    collectgarbage()
    rounds[round] = measure.each(figure.count, figure[1], figure.count)
  end
  return measure.median(rounds)
end

-- Of the first python3 that has the library: name -> nanoseconds.
local function theirs(library)
  local costs = {}
  for _, python in ipairs { "python3", "/usr/bin/python3" } do
    local pipe <close> = io.popen(("timeout 120 %s %sbeside.py %s 2>/dev/null"):format(python, here, library))
    for line in pipe:lines() do
      local name, cost = line:match("^(.-)\t(.+)$")
      if name then costs[name] = tonumber(cost) end
    end
    if next(costs) then return costs end
  end
end

for _, library in ipairs { "eventlet", "gevent" } do
  local costs = theirs(library)
  if not costs then io.stderr:write("    ", library, " is not installed\n") end
  for _, figure in ipairs(costs and figures or {}) do
    measure.row { figure = figure.what .. ", beside " .. library, threads = figure.threads, value = ours(figure),
      unit = "ns", baseline = costs[figure.name] }
  end
end

-- SPDX-License-Identifier: MIT
-- What it costs to hand a value over through a channel to another thread and
-- another one back, beside one resume and yield of a coroutine; and what a put
-- and a get cost that nobody waits for.
--
--     lua5.4 bench/queue.lua
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local function ping(there, back, rounds)
  for i = 1, rounds do
    there:put(i)
    back:get()
  end
end

local function pong(there, back, rounds)
  for _ = 1, rounds do
    there:get()
    back:put(true)
  end
end

-- The main thread only waits: it is no green thread like others.
local function round_trips(rounds)
  local there, back = fern.queue(0), fern.queue(0)
  local a, b = fern.spawn(ping, there, back, rounds), fern.spawn(pong, there, back, rounds)
  assert(a:join())
  assert(b:join())
end

local function through_buffer(queue, rounds)
  for i = 1, rounds do
    queue:put(i)
    queue:get()
  end
end

local function in_thread(fn, ...)
  assert(fern.spawn(fn, ...):join())
end

local COUNT = 500000

local function bench(figure, fn, limit)
  local value, baseline = measure.compare(9, function() return measure.each(COUNT, fn, COUNT) end, measure.pair)
  measure.row { figure = figure, threads = 2, value = value, unit = "ns", baseline = baseline, limit = limit,
    aim = limit and limit / 2 }
end

bench("a value through a channel and one back", round_trips, 1.0)
bench("put and get, buffered", function(count) in_thread(through_buffer, fern.queue(), count) end)
bench("put and get, by priority", function(count) in_thread(through_buffer, fern.priority_queue(), count) end)

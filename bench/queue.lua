-- SPDX-License-Identifier: MIT
-- What it costs to hand a value over through a channel to another thread and
-- another one back, beside one resume and yield of a coroutine: with methods, as
-- programs write it, and with put and get in locals, as the baseline has resume.
-- And what a put and a get cost that nobody waits for.
--
--     lua5.4 bench/queue.lua
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local COUNT = 500000

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

local put, get
do
  local queue <close> = fern.queue()
  put, get = queue.put, queue.get
end

local function local_ping(there, back, rounds)
  for i = 1, rounds do
    put(there, i)
    get(back)
  end
end

local function local_pong(there, back, rounds)
  for _ = 1, rounds do
    get(there)
    put(back, true)
  end
end

-- The main thread only waits: it is no green thread like others.
local function round_trips(there_and_back, back_and_there)
  local there, back = fern.queue(0), fern.queue(0)
  local a = fern.spawn(there_and_back, there, back, COUNT)
  local b = fern.spawn(back_and_there, there, back, COUNT)
  assert(a:join())
  assert(b:join())
end

local function buffered(queue)
  for i = 1, COUNT do
    queue:put(i)
    queue:get()
  end
end

local function in_thread(new)
  assert(fern.spawn(buffered, new()):join())
end

local function bench(figure, threads, limit, fn, ...)
  local arguments = table.pack(...)
  local value, baseline = measure.compare(9,
    function() return measure.each(COUNT, fn, table.unpack(arguments)) end, measure.pair)
  measure.row { figure = figure, threads = threads, value = value, unit = "ns", baseline = baseline,
    limit = limit, aim = limit and limit / 2 }
end

bench("a value through a channel and one back", 2, 1.0, round_trips, ping, pong)
bench("the same with put and get in locals", 2, nil, round_trips, local_ping, local_pong)
bench("queue:put and get, buffered", 1, nil, in_thread, fern.queue)
bench("priority_queue:put and get", 1, nil, in_thread, fern.priority_queue)

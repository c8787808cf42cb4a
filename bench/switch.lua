-- SPDX-License-Identifier: MIT
-- What a switch between green threads costs that do nothing but
-- fern.sleep(0), beside as many coroutines that do the same under resume and
-- yield, round robin. The shapes differ in where the threads stand when they
-- park: return addresses that do not match what the processor predicts are
-- the dearer part of a switch.
--
--     lua5.4 bench/switch.lua [shape [threads...]]
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local sleep, yield = fern.sleep, coroutine.yield
local resume, pcall = coroutine.resume, pcall

-- Every shape is the same work written twice: what thread number k does
-- `rounds` times, with sleep and with yield.
local shapes = {}

shapes.same = {
  name = "sleep(0) at the same place",
  green = function(_, rounds)
    for _ = 1, rounds do sleep(0) end
  end,
  coroutine = function(_, rounds)
    for _ = 1, rounds do yield() end
  end,
}

local function sleep_below(depth)
  if depth == 0 then sleep(0) else sleep_below(depth - 1) end
end

local function yield_below(depth)
  if depth == 0 then yield() else yield_below(depth - 1) end
end

shapes.depths = {
  name = "sleep(0) below 0 to 7 functions",
  green = function(k, rounds)
    for _ = 1, rounds do sleep_below(k % 8) end
  end,
  coroutine = function(k, rounds)
    for _ = 1, rounds do yield_below(k % 8) end
  end,
}

local function sleep_protected(depth)
  if depth == 0 then sleep(0) else pcall(sleep_protected, depth - 1) end
end

local function yield_protected(depth)
  if depth == 0 then yield() else pcall(yield_protected, depth - 1) end
end

shapes.protected = {
  name = "sleep(0) below 0 to 3 pcalls",
  green = function(k, rounds)
    for _ = 1, rounds do sleep_protected(k % 4) end
  end,
  coroutine = function(k, rounds)
    for _ = 1, rounds do yield_protected(k % 4) end
  end,
}

shapes.pcall = {
  name = "pcall(sleep, 0)",
  green = function(_, rounds)
    for _ = 1, rounds do pcall(sleep, 0) end
  end,
  coroutine = function(_, rounds)
    for _ = 1, rounds do pcall(yield) end
  end,
}

local sleepy = setmetatable({}, { __index = function() sleep(0) end })
local yieldy = setmetatable({}, { __index = function() yield() end })

shapes.index = {
  name = "sleep(0) in __index",
  green = function(_, rounds)
    for _ = 1, rounds do local _ = sleepy.field end
  end,
  coroutine = function(_, rounds)
    for _ = 1, rounds do local _ = yieldy.field end
  end,
}

local turns = { [0] = shapes.same, shapes.depths, shapes.pcall, shapes.index }

shapes.mixed = {
  name = "sleep(0) at all of these places",
  green = function(k, rounds) turns[k % 4].green(k, rounds) end,
  coroutine = function(k, rounds) turns[k % 4].coroutine(k, rounds) end,
}

-- The first thread reads the clock: the queue is first-in first-out, so
-- between its two looks every thread has parked `rounds` times.
local function green(body, n, rounds)
  local start, stop
  local function run(k)
    body(k, 1)              -- until everybody has begun
    if k == 1 then start = os.clock() end
    body(k, rounds)
    if k == 1 then stop = os.clock() end
  end
  local threads = {}
  for k = 1, n do threads[k] = fern.spawn(run, k) end
  for k = 1, n do assert(threads[k]:join()) end
  return (stop - start) / (n * rounds) * 1e9
end

local function coroutines(body, n, rounds)
  local list = {}
  for k = 1, n do
    list[k] = coroutine.create(function()
      body(k, 1)
      body(k, rounds)
    end)
    assert(resume(list[k]))
  end
  return measure.each(n * rounds, function()
    for _ = 1, rounds do
      for k = 1, n do resume(list[k]) end
    end
  end)
end

local function limit(shape, n)
  if n > 1000 then return nil end
  if shape ~= shapes.same then return 1.0 end
  return n <= 10 and 0.25 or 0.5
end

local function bench(shape, n)
  local rounds = math.max(10, 500000 // n)
  local value, baseline = measure.compare(n > 1000 and 3 or 9,
    function() return green(shape.green, n, rounds) end,
    function() return coroutines(shape.coroutine, n, rounds) end)
  local most = limit(shape, n)
  measure.row { figure = shape.name, threads = n, value = value, unit = "ns", baseline = baseline,
    limit = most, aim = most and most / 2 }
end

local shape = shapes[arg[1] or "same"]
if not shape then error("no such shape: " .. arg[1]) end
for _, n in ipairs(#arg > 1 and measure.arguments(2) or { 2, table.unpack(measure.sizes) }) do
  bench(shape, n)
end

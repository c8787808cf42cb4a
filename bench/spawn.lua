-- SPDX-License-Identifier: MIT
-- What a green thread costs from its spawn to its end: spawned (its place
-- recorded), run, joined, gone; beside a coroutine made by coroutine.wrap and
-- run to its end. First one after the other, then as many at once as said.
--
--     lua5.4 bench/spawn.lua [threads...]
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local function nothing() end

local function threads(batches, n)
  local spawn, list = fern.spawn, {}
  if n == 1 then
    for _ = 1, batches do spawn(nothing):join() end
    return
  end
  for _ = 1, batches do
    for i = 1, n do list[i] = spawn(nothing) end
    for i = 1, n do list[i]:join() end
  end
end

local function coroutines(batches, n)
  local wrap, list = coroutine.wrap, {}
  if n == 1 then
    for _ = 1, batches do wrap(nothing)() end
    return
  end
  for _ = 1, batches do
    for i = 1, n do list[i] = wrap(nothing) end
    for i = 1, n do list[i]() end
  end
end

for _, n in ipairs(#arg > 0 and measure.arguments(1) or { 1, table.unpack(measure.sizes) }) do
  local batches = math.max(1, 200000 // n)
  local value, baseline = measure.compare(n > 1000 and 5 or 9,
    function() return measure.each(batches * n, threads, batches, n) end,
    function() return measure.each(batches * n, coroutines, batches, n) end)
  measure.row { figure = "spawn, run and join", threads = n, value = value, unit = "ns", baseline = baseline,
    limit = n == 1 and 2.0 or nil, aim = n == 1 and 1.3 or nil }
end

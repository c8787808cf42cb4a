-- SPDX-License-Identifier: MIT
-- What executor:submit and future:result cost together when the function does
-- nothing, statistics included, beside one resume and yield of a coroutine:
-- first one after the other, then as many submitted at once as said.
--
--     lua5.4 bench/executor.lua [futures at once...]
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local function same(item) return item end

local function work(executor, batches, n)
  local futures = {}
  for _ = 1, batches do
    for i = 1, n do futures[i] = executor:submit(same, i) end
    for i = 1, n do assert(futures[i]:result() == i) end
  end
end

for _, n in ipairs(#arg > 0 and measure.arguments(1) or { 1, table.unpack(measure.sizes) }) do
  local executor = fern.executor { max_workers = 1000 }
  local batches = math.max(1, 200000 // n)
  local value, baseline = measure.compare(n > 1000 and 3 or 5,
    function() return measure.each(batches * n, work, executor, batches, n) end, measure.pair)
  local most = n <= 1000 and 3.5 or nil
  measure.row { figure = "executor:submit and result, an item", threads = n, value = value, unit = "ns",
    baseline = baseline, limit = most, aim = most and most / 2 }
  executor:shutdown()
end

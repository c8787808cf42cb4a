-- SPDX-License-Identifier: MIT
-- What an item of pool:imap costs when the function does nothing, beside one
-- resume and yield of a coroutine, for pools of different sizes.
--
--     lua5.4 bench/imap.lua [size of the pool...]
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local items = {}
for i = 1, 200000 do items[i] = i end

local function same(item) return item end

local function consume(pool)
  local sum = 0
  for item in pool:imap(same, items) do sum = sum + item end
  assert(sum == #items * (#items + 1) // 2)
end

for _, size in ipairs(measure.arguments(1)) do
  local pool = fern.pool(size)
  local value, baseline = measure.compare(size > 1000 and 3 or 5,
    function() return measure.each(#items, consume, pool) end, measure.pair)
  local most = size <= 1000 and 3.5 or nil
  measure.row { figure = "pool:imap, an item", threads = size, value = value, unit = "ns", baseline = baseline,
    limit = most, aim = most and most / 2 }
end

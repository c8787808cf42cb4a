-- SPDX-License-Identifier: MIT
-- What it costs to take a free unit of a semaphore, or a free lock, and to give it
-- back, beside one resume and yield of a coroutine: as methods, which Lua has
-- to find first, and as functions.
--
--     lua5.4 bench/semaphore.lua
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local COUNT <const> = 1000000

local function methods(object)
  for _ = 1, COUNT do
    object:acquire()
    object:release()
  end
end

local function functions(object)
  local acquire, release = object.acquire, object.release
  for _ = 1, COUNT do
    acquire(object)
    release(object)
  end
end

local function row(figure, fn, object)
  local value, baseline = measure.compare(7, function() return measure.each(COUNT, fn, object) end, measure.pair)
  measure.row { figure = figure, threads = 1, value = value, unit = "ns", baseline = baseline, limit = 0.35, aim = 0.3 }
end

row("semaphore:acquire and release", methods, fern.semaphore(1))
row("the same as functions", functions, fern.semaphore(1))
row("lock:acquire and release", methods, fern.lock())
row("the lock's as functions", functions, fern.lock())

-- SPDX-License-Identifier: MIT
-- Threads that each sleep for a random time of up to a second: how long after
-- the last spawn the last one ends, and, apart from that, the time it took
-- to spawn them and the CPU time of it all.
--
--     lua5.4 bench/sleepers.lua [threads]
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local n = measure.arguments(1)[1]
math.randomseed(42)

local ended = 0
local function doze(seconds)
  fern.sleep(seconds)
  ended = ended + 1
end

local cpu, start = os.clock(), fern.now()
for _ = 1, n do fern.spawn(doze, math.random()) end
local spawned = fern.now()
fern.waitall()
local stop = fern.now()
assert(ended == n, "a thread is missing")

measure.row { figure = "random sleeps up to 1 s: last spawn to end", threads = n, value = stop - spawned, unit = "s",
  limit = n == 100000 and 1.1 or nil }
measure.row { figure = "random sleeps up to 1 s: spawning", threads = n, value = spawned - start, unit = "s" }
measure.row { figure = "random sleeps up to 1 s: CPU time", threads = n, value = os.clock() - cpu, unit = "s" }

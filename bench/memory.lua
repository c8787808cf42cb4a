-- SPDX-License-Identifier: MIT
-- What a green thread weighs that sleeps for an hour: resident memory and
-- page tables of the process, after minus before, shared among the threads;
-- and how many mappings the process has then.
--
--     lua5.4 bench/memory.lua [threads]
local measure = dofile((arg[0]:match("^.*/") or "") .. "measure.lua")
local fern = require "fern"

local n = measure.arguments(1)[1]

local function bytes()
  collectgarbage()
  collectgarbage()
  local status = assert(io.open("/proc/self/status")):read("a")
  local resident = status:match("VmRSS:%s*(%d+) kB")
  local tables = status:match("VmPTE:%s*(%d+) kB")
  return (tonumber(resident) + tonumber(tables)) * 1024
end

local function mappings()
  local count = 0
  for _ in io.lines("/proc/self/maps") do count = count + 1 end
  return count
end

local function doze() fern.sleep(3600) end

fern.spawn(fern.sleep, 0):join()    -- what the first thread brings is not the others'
local before = bytes()
for _ = 1, n do fern.spawn(doze) end
fern.sleep(0.1)                     -- now they all have begun
local each = (bytes() - before) / n
local big = n == 100000

measure.row { figure = "memory of a sleeping Lua thread", threads = n, value = each, unit = "B",
  limit = big and 7000 or nil, aim = big and 6500 or nil }
measure.row { figure = "mappings of the process", threads = n, value = mappings(), unit = "",
  limit = big and 250 or nil }
io.stdout:flush()
os.exit(0)                          -- without waking them

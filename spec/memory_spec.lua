-- SPDX-License-Identifier: MIT
-- memory: a script that runs out of address space gets an error where it
-- asked for more, and what it has goes on. (That every single allocation may
-- fail is the matter of spec/embed/test_memory.c and test_memory_lua.c.)

local script = require "spec.support.script"

-- A sanitizer's shadow memory needs all the address space there is.
local flavour = os.getenv "FLAVOUR"
local may_limit = not (flavour == "asan" or flavour == "tsan" or flavour == "valgrind")
local it_limited = may_limit and it or pending

local BEFORE = [[
local fern = require "fern"
local unix = require "spec.support.unix"
local ticks, closed, opened = 0, 0, 0
fern.spawn(function() while true do ticks = ticks + 1 fern.sleep(0) end end)
fern.sleep(0)

local meta = { __close = function() closed = closed + 1 end }
local function closing()
  local value = setmetatable({}, meta)
  opened = opened + 1
  return value
end

local function check_goes_on()
  local before = ticks
  print(fern.spawn(function() fern.sleep(0.001) return "goes on" end):wait(), ticks > before, closed == opened)
end

unix.limit("memory", 300 << 20)
]]

local function run(text)
  return script.run_text("", BEFORE .. text)
end

local GOES_ON = "goes on\ttrue\ttrue\n"

describe("without memory", function()
  it_limited("a spawn raises, and what there is goes on", function()
    local output, code = run [[
      local threads = {}
      local ok, err = pcall(function()
        while true do
          local thread = fern.spawn(function() local _ <close> = closing() fern.sleep(1e9) end)
          threads[#threads + 1] = thread
        end
      end)
      print(ok, err:match "not enough memory", #threads > 100)
      fern.sleep(0)
      for _, thread in ipairs(threads) do thread:kill() end
      for _, thread in ipairs(threads) do thread:join() end
      threads = nil
      check_goes_on()
    ]]
    assert.are.equal("false\tnot enough memory\ttrue\n" .. GOES_ON, output)
    assert.are.equal(0, code)
  end)

  it_limited("a thread fails alone", function()
    local output, code = run [[
      local function grow()
        local _ <close> = closing()
        local all = {}
        while true do
          all[#all + 1] = ("x"):rep(1 << 20) .. #all
          fern.sleep(0)
        end
      end
      local first, second = fern.spawn(grow), fern.spawn(grow)
      local asked = fern.spawn(first.join, first)       -- else it is told that nobody has, a second later
      print(second:join())
      print(asked:wait())
      check_goes_on()
    ]]
    assert.are.equal("false\tnot enough memory\nfalse\tnot enough memory\n" .. GOES_ON, output)
    assert.are.equal(0, code)
  end)

  it_limited("pools and executors raise, and go on with less", function()
    local output, code = run [[
      local pool, executor = fern.pool(1e9), fern.executor { max_workers = 1e9 }
      local spawned, submitted = {}, {}
      local function park() local _ <close> = closing() fern.sleep(1e9) end
      print(pcall(function() while true do spawned[#spawned + 1] = pool:spawn(park) end end))
      for _, thread in ipairs(spawned) do thread:kill() end
      pool:waitall()
      print(pool:free() == 1e9)
      print(pcall(function() while true do submitted[#submitted + 1] = executor:submit(park) end end))
      fern.sleep(0)
      executor:shutdown { cancel_pending = true, wait = false }
      submitted, spawned = nil, nil
    ]]
    assert.is_truthy(output:find "^false\t[^\n]*not enough memory\ntrue\nfalse\t[^\n]*not enough memory\n", output)
    assert.are.equal(0, code)
  end)

  it_limited("the script's end still unwinds", function()
    local output, code = run [[
      last = setmetatable({}, { __gc = function() print(opened > 100, closed == opened) end })
      for _ = 1, 100 do fern.spawn(function() local _ <close> = closing() fern.sleep(1e9) end) end
      fern.sleep(0)
      while true do
        fern.spawn(function() local _ <close> = closing() fern.sleep(1e9) end)
        fern.sleep(0)
      end
    ]]
    assert.is_truthy(output:find "not enough memory\nstack traceback", output)
    assert.is_truthy(output:find "true\ttrue\n", output)
    assert.are.equal(1, code)
  end)
end)

-- SPDX-License-Identifier: MIT
-- loading: modules that park while they are loaded are still loaded once, and
-- the module itself survives being required again.
local fern = require "fern"
local support = require "spec.support.threads"

local let_run, new_log, killed_join = support.let_run, support.new_log, support.killed_join
local run = support.run

-- Defines modules for a block: name -> loader.
local function modules(loaders)
  for name, loader in pairs(loaders) do package.preload[name] = loader end
  return support.closing(function()
    for name in pairs(loaders) do
      package.preload[name], package.loaded[name] = nil, nil
    end
  end)
end

describe("two threads that require a module", function()
  it("load it once, and both get it", function()
    local loads, value = 0, {}
    local _ <close> = modules { shared = function()
      loads = loads + 1
      fern.sleep(0.002)
      return value
    end }
    local threads = {}
    for i = 1, 10 do threads[i] = fern.spawn(function() return (require "shared") end) end
    for i = 1, 10 do assert.is_true(rawequal(value, (threads[i]:wait()))) end
    assert.are.equal(1, loads)
    assert.is_true(rawequal(value, require "shared"))
  end)

  it("do not hinder threads that load others", function()
    local log, note = new_log()
    local _ <close> = modules {
      slow = function() fern.sleep(0.005) note("slow") return 1 end,
      fast = function() fern.sleep(0.001) note("fast") return 2 end,
    }
    fern.spawn(require, "slow")
    fern.spawn(require, "slow")
    fern.spawn(require, "fast")
    fern.waitall()
    assert.are.same({ "fast", "slow" }, log)
  end)

  it("get true from a module that returns nothing, and false from one that does", function()
    local _ <close> = modules {
      nothing = function() fern.sleep(0.001) end,
      falsehood = function() fern.sleep(0.001) return false end,
    }
    local a, b = fern.spawn(require, "nothing"), fern.spawn(require, "nothing")
    assert.are.equal(true, (a:wait()))
    assert.are.equal(true, (b:wait()))
    a, b = fern.spawn(require, "falsehood"), fern.spawn(require, "falsehood")
    assert.are.equal(false, (a:wait()))
    assert.are.equal(false, (b:wait()))
  end)

  it("get what it put into package.loaded itself", function()
    local _ <close> = modules { own = function(name)
      package.loaded[name] = "its own"
      fern.sleep(0.001)
    end }
    local a, b = fern.spawn(require, "own"), fern.spawn(require, "own")
    assert.are.equal("its own", (a:wait()))
    assert.are.equal("its own", (b:wait()))
  end)

  it("each try if the other failed", function()
    local tries = 0
    local _ <close> = modules { fragile = function()
      tries = tries + 1
      fern.sleep(0.001)
      if tries < 3 then error("try " .. tries, 0) end
      return "at last"
    end }
    local threads = {}
    for i = 1, 5 do threads[i] = fern.spawn(require, "fragile") end
    assert.are.same({ false, "try 1" }, { threads[1]:join() })
    assert.are.same({ false, "try 2" }, { threads[2]:join() })
    for i = 3, 5 do assert.are.equal("at last", (threads[i]:wait())) end
    assert.are.equal(3, tries)
  end)

  it("go on if the one that loads is killed", function()
    local loads = 0
    local _ <close> = modules { deadly = function()
      loads = loads + 1
      fern.sleep(loads == 1 and math.huge or 0)
      return loads
    end }
    local first, second = fern.spawn(require, "deadly"), fern.spawn(require, "deadly")
    let_run()
    first:kill()
    assert.are.equal(2, (second:wait()))
    killed_join(first)
  end)

  it("go on if one that waits is killed", function()
    local _ <close> = modules { awaited = function() fern.sleep(0.003) return 1 end }
    local first = fern.spawn(require, "awaited")
    local second, third = fern.spawn(require, "awaited"), fern.spawn(require, "awaited")
    let_run()
    second:kill("impatient")
    assert.are.equal("impatient", killed_join(second).reason)
    assert.are.equal(1, (first:wait()))
    assert.are.equal(1, (third:wait()))
  end)

  it("may have limits on it", function()
    local _ <close> = modules { slow = function() fern.sleep(0.01) return "loaded" end }
    local first = fern.spawn(require, "slow")
    let_run()
    assert.are.same({ n = 3, nil, "timeout", "ETIMEDOUT" }, table.pack(fern.timeout(0.001, require, "slow")))
    assert.are.equal("loaded", (first:wait()))
  end)

  it("may be found by a searcher that asks all others, as LuaRocks' does", function()
    local loads = 0
    local _ <close> = modules { asked = function()
      loads = loads + 1
      fern.sleep(0.001)
      return "found"
    end }
    local function asker(name)
      if name ~= "asked" then return nil end
      for _, searcher in ipairs(package.searchers) do
        local loader, extra
        if searcher ~= asker then loader, extra = searcher(name) end
        if type(loader) == "function" then return loader, extra end
      end
    end
    for _, place in ipairs { 1, 2, #package.searchers + 1 } do
      table.insert(package.searchers, place, asker)
      local _ <close> = support.closing(function() table.remove(package.searchers, place) end)
      package.loaded.asked = nil
      local a, b = fern.spawn(require, "asked"), fern.spawn(require, "asked")
      assert.are.equal("found", (a:wait()))
      assert.are.equal("found", (b:wait()))
    end
    assert.are.equal(3, loads)
  end)

  it("may be stopped while a searcher searches", function()
    local function searcher(name)
      if name == "sought" then
        fern.sleep(0.003)
        return function(_, where) return where end, "somewhere"
      end
    end
    table.insert(package.searchers, searcher)
    local _ <close> = support.closing(function()
      table.remove(package.searchers)
      package.loaded.sought = nil
    end)
    local first, second = fern.spawn(require, "sought"), fern.spawn(require, "sought")
    let_run()
    first:kill()
    assert.are.equal("somewhere", (second:wait()))
    killed_join(first)
  end)
end)

describe("modules that require each other", function()
  it("in one thread get an error that names them", function()
    local _ <close> = modules {
      one = function() fern.sleep(0) require "two" end,
      two = function() fern.sleep(0) require "one" end,
    }
    local ok, e = pcall(require, "one")
    assert.is_false(ok)
    assert.matches("loop", e)
    assert.matches("'one'", e)
  end)

  it("that require themselves too", function()
    local _ <close> = modules { narcissus = function() require "narcissus" end }
    local ok, e = pcall(require, "narcissus")
    assert.is_false(ok)
    assert.matches("loop: 'narcissus'", e)
  end)

  it("across two threads get an error instead of a deadlock", function()
    local _ <close> = modules {
      one = function() fern.sleep(0.001) return require "two" end,
      two = function() fern.sleep(0.001) return require "one" end,
    }
    local a, b = fern.spawn(require, "one"), fern.spawn(require, "two")
    local _, e_a = a:join()
    local ok_b, e_b = b:join()
    assert.is_false(ok_b)       -- the second to wait closes the ring
    assert.matches("loop: 'one' needs 'two'", e_b)
    assert.matches("loop: 'one'", e_a)
  end)

  it("across three threads as well", function()
    local _ <close> = modules {
      one = function() fern.sleep(0.001) return require "two" end,
      two = function() fern.sleep(0.001) return require "three" end,
      three = function() fern.sleep(0.001) return require "one" end,
    }
    local threads = { fern.spawn(require, "one"), fern.spawn(require, "two"), fern.spawn(require, "three") }
    local failed = 0
    for _, thread in ipairs(threads) do
      local ok, e = thread:join()
      if not ok then
        failed = failed + 1
        assert.matches("loop", e)
      end
    end
    assert.is_true(failed > 0)
  end)

  it("and can be required again after that", function()
    local ready = false
    local _ <close> = modules {
      one = function() if not ready then require "two" end return 1 end,
      two = function() fern.sleep(0) require "one" return 2 end,
    }
    assert.is_false((pcall(require, "one")))
    ready = true
    assert.are.equal(1, (require "one"))
    assert.are.equal(2, (require "two"))
  end)
end)

describe("a module that cannot be loaded", function()
  it("says so as Lua does, once", function()
    local ok, e = pcall(require, "no.such.module")
    assert.is_false(ok)
    assert.matches("^module 'no%.such%.module' not found:\n", e)
    local _, times = e:gsub("no field package%.preload%['no%.such%.module'%]", "")
    assert.are.equal(1, times)
  end)

  it("passes its error on", function()
    local value = {}
    local _ <close> = modules { broken = function() error(value) end }
    local ok, e = pcall(require, "broken")
    assert.is_false(ok)
    assert.is_true(rawequal(value, e))
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write("this is no Lua")
    file:close()
    local path <const> = package.path
    local _ <close> = support.closing(function() package.path = path os.remove(name) end)
    package.path = name
    ok, e = pcall(require, "unreadable")
    assert.is_false(ok)
    assert.matches("^error loading module 'unreadable' from file", e)
  end)
end)

describe("the module itself", function()
  it("may be required again, and is the same runtime", function()
    local searchers = #package.searchers
    local thread = fern.spawn(function() fern.sleep(0.001) return "old" end)
    for _, name in ipairs { "fern", "fern.core", "fern.loading" } do package.loaded[name] = nil end
    local again = require "fern"
    assert.are.equal(fern.spawn, again.spawn)
    assert.is_true(rawequal(fern.current(), again.current()))
    assert.are.equal(searchers, #package.searchers)
    assert.is_true(again.waitall())
    assert.are.equal("old", thread:wait())
    local _ <close> = modules { shared = function() again.sleep(0.001) return {} end }
    local a, b = again.spawn(require, "shared"), again.spawn(require, "shared")
    assert.is_true(rawequal((a:wait()), (b:wait())))
  end)

  it("names its functions in errors as one writes them, every time", function()
    for _ = 1, 8 do
      local text = run [[
        local fern = require "fern"
        print(select(2, pcall(fern.sleep, {})))]]
      assert.are.equal("bad argument #1 to 'fern.sleep' (number expected, got table)\n", text)
    end
  end)

  it("has no fields that it does not have", function()
    assert.is_nil(fern.nonsense)
    assert.is_nil(fern[1])
  end)

  it("makes no globals", function()
    local output = run [[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      local fern = require "fern"
      fern.spawn(function() fern.sleep(0) end):wait()
      for name in pairs(_G) do
        if not before[name] then print(name) end
      end
    ]]
    assert.are.equal("", output)
  end)

  it("loads its parts when they are first used", function()
    local output = run [[
      local fern = require "fern"
      print(package.loaded["fern.net"])
      local net = fern.net
      print(net == package.loaded["fern.net"], net == require "fern.net")
    ]]
    assert.are.equal("nil\ntrue\ttrue\n", output)
  end)

  it("may be required first inside a coroutine, or a thread of nobody's", function()
    local output, code = run [[
      local fern = coroutine.wrap(function() return (require "fern") end)()
      print(fern.current():name(), fern.spawn(function() fern.sleep(0.001) return 42 end):wait())
    ]]
    assert.are.equal("main\t42\n", output)
    assert.are.equal(0, code)
  end)
end)

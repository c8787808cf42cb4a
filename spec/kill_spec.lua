-- SPDX-License-Identifier: MIT
-- kill: in every state, with every kind of clean-up, and of those who will not
-- hear of it.
local fern = require "fern"
local support = require "spec.support.threads"

local NEVER = math.huge
local let_run, new_log, closing = support.let_run, support.new_log, support.closing
local killed_join, fails_with, run = support.killed_join, support.fails_with, support.run

describe("kill", function()
  it("of a new thread sees that its body never runs", function()
    local ran
    local thread = fern.spawn(function() ran = true end)
    assert.is_true(thread:kill("early"))
    assert.is_true(thread:done())
    assert.are.equal("killed", thread:status())
    local e = killed_join(thread)
    assert.are.equal("early", e.reason)
    let_run()
    assert.is_nil(ran)
  end)

  it("of a parked thread unwinds it, and returns at once", function()
    local log, note = new_log()
    local thread = fern.spawn(function()
      local _ <close> = closing(function() note("outer") end)
      local _ <close> = closing(function(e) note("inner", e.code) end)
      fern.sleep(NEVER)
    end)
    let_run()
    assert.is_true(thread:kill())
    note("killer")
    killed_join(thread)
    assert.are.same({ "killer", "inner ECANCELED", "outer" }, log)
  end)

  it("of a ready thread reaches it when it runs", function()
    local log, note = new_log()
    local thread = fern.spawn(function()
      local _ <close> = closing(function() note("closed") end)
      fern.sleep(0)
      note("never")
    end)
    fern.sleep(0)
    assert.are.equal("ready", thread:status())
    thread:kill()
    killed_join(thread)
    assert.are.same({ "closed" }, log)
  end)

  it("of a finished thread changes nothing", function()
    local thread, failed = fern.spawn(function() return 7 end), fern.spawn(error, "x", 0)
    thread:join()
    failed:join()
    assert.is_false(thread:kill("late"))
    assert.is_false(failed:kill("late"))
    assert.are.equal(7, thread:wait())
    assert.are.same({ false, "x" }, { failed:join() })
  end)

  it("of oneself is raised by the next call that parks", function()
    local log, note = new_log()
    local thread = fern.spawn(function()
      fern.current():kill("self")
      note("still here")
      fern.sleep(0)
      note("never")
    end)
    assert.are.equal("self", killed_join(thread).reason)
    assert.are.same({ "still here" }, log)
  end)

  it("of oneself does not harm a body that returns without parking", function()
    local thread = fern.spawn(function() fern.current():kill() return 3 end)
    assert.are.equal(3, thread:wait())
    assert.are.equal("done", thread:status())
  end)

  it("of one's parent may be followed by waiting for it", function()
    local child
    local parent = fern.spawn(function()
      local me = fern.current()
      child = fern.spawn(function()
        me:kill("by child")
        return me:join()
      end)
      child:wait()
    end)
    assert.are.equal("by child", killed_join(parent).reason)
    local _, ok, e = child:join()
    assert.is_false(ok)
    assert.are.equal("by child", e.reason)
  end)

  it("of the main thread ends the script with the reason", function()
    local output, code = run [[
      local fern = require "fern"
      local main = fern.current()
      local other = fern.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() print("other unwound") end })
        fern.sleep(math.huge)
      end)
      fern.spawn(function() main:kill("by a thread") end)
      local _ <close> = setmetatable({}, { __close = function() print("main unwound") end })
      fern.sleep(100)
      print("never")
    ]]
    assert.matches("^main unwound\n", output)
    assert.matches("by a thread", output, 1, true)
    assert.matches("other unwound", output, 1, true)
    assert.is_nil(output:find("never", 1, true))
    assert.are.equal(1, code)
  end)

  it("carries any reason", function()
    local object = setmetatable({}, { __tostring = function() return "an object" end })
    for _, reason in ipairs { "text", 42, false, object } do
      local thread = fern.spawn(fern.sleep, NEVER)
      let_run()
      thread:kill(reason)
      local e = killed_join(thread)
      assert.is_true(rawequal(reason, e.reason))
      assert.are.equal("ECANCELED", e.code)
      assert.matches(tostring(reason), tostring(e), 1, true)
      assert.is_true(fern.is_killed(e))
      assert.is_false(fern.is_timeout(e))
    end
    local thread = fern.spawn(fern.sleep, NEVER)
    thread:kill()
    assert.is_nil(killed_join(thread).reason)
  end)

  it("shows a reason that is a kill itself, however often, once", function()
    local err = "the first"
    for _ = 1, 1000 do
      local t = fern.spawn(fern.sleep, 100)
      t:kill(err)
      err = killed_join(t)
    end
    assert.equal("killed: the first", tostring(err))
    local late = fern.spawn(fern.sleep, 100)
    local _, timeout = pcall(late.wait, late, 0)
    late:kill(timeout)
    assert.equal("killed: timeout", tostring(killed_join(late)))
  end)

  it("shows the same object to its <close>, its waiters and itself", function()
    local seen = {}
    local thread = fern.spawn(function()
      local _ <close> = closing(function(e) seen[1] = e end)
      local ok, e = pcall(fern.sleep, NEVER)
      seen[2] = e
      assert(not ok)
      error(e, 0)
    end)
    let_run()
    thread:kill("one")
    local _, e = thread:join()
    assert.is_true(rawequal(e, seen[1]))
    assert.is_true(rawequal(e, seen[2]))
    assert.is_true(rawequal(e, select(2, pcall(thread.wait, thread))))
  end)

  it("a second time changes neither outcome nor reason", function()
    local thread = fern.spawn(fern.sleep, NEVER)
    let_run()
    assert.is_true(thread:kill("first"))
    assert.is_false(thread:kill("second"))
    assert.are.equal("first", killed_join(thread).reason)
    assert.is_false(thread:kill("third"))
    assert.are.equal("first", killed_join(thread).reason)
  end)

  it("that is swallowed leaves the outcome to the body", function()
    local thread = fern.spawn(function()
      pcall(fern.sleep, NEVER)
      return "I stayed"
    end)
    let_run()
    thread:kill()
    assert.are.equal("I stayed", thread:wait())
    assert.are.equal("done", thread:status())
  end)

  it("that ends in another error still counts as killed, and the error is told", function()
    local heard
    fern.on_error(function(err) heard = err end)
    local thread = fern.spawn(function()
      local _ <close> = closing(function() error("while closing", 0) end)
      fern.sleep(NEVER)
    end)
    let_run()
    thread:kill("why")
    assert.are.equal("why", killed_join(thread).reason)
    let_run()
    assert.are.equal("while closing", heard)
  end)

  it("in a message handler still counts as killed", function()
    local thread = fern.spawn(function()
      return xpcall(error, function() fern.sleep(NEVER) end)
    end)
    let_run()
    thread:kill("why")
    local ok, e = thread:join()
    assert(ok or e.reason == "why")     -- xpcall returned, or passed it on
    assert.is_true(thread:done())
  end)

  it("unlinks a waiter when it is called", function()
    local thread = fern.spawn(function() fern.sleep(0.002) return 1 end)
    local waiter = fern.spawn(function() return thread:wait() end)
    let_run()
    waiter:kill()
    assert.are.equal("ready", waiter:status())
    assert.are.equal(1, thread:wait())
    killed_join(waiter)
  end)

  it("lets clean-up park, and say goodbye", function()
    local log, note = new_log()
    local peer = fern.spawn(function() fern.sleep(0.004) return "goodbye" end)
    local thread = fern.spawn(function()
      local _ <close> = closing(function() note(peer:wait()) end)
      local _ <close> = closing(function() fern.sleep(0.001) note("slept") end)
      fern.sleep(NEVER)
    end)
    let_run()
    thread:kill()
    killed_join(thread)
    assert.are.same({ "slept", "goodbye" }, log)
  end)

  it("cuts clean-up that parks for ever", function()
    local log, note = new_log()
    local thread = fern.spawn(function()
      local _ <close> = closing(function(e) note("last", tostring(fern.is_killed(e))) end)
      local _ <close> = closing(function() fern.sleep(NEVER) end)
      fern.sleep(NEVER)
    end)
    let_run()
    thread:kill()
    killed_join(thread)
    assert.are.same({ "last true" }, log)
  end)

  -- Bodies that keep every error to themselves, for ever.
  local swallowers = {
    ["a loop of pcall"] = function() while true do pcall(fern.sleep, 1) end end,
    ["a loop of pcall that takes turns"] = function() while true do pcall(fern.sleep, 0) end end,
    ["a loop of xpcall with a handler that parks"] = function()
      while true do xpcall(fern.sleep, function() fern.sleep(1) end, 1) end
    end,
    ["pcalls inside each other"] = function()
      while true do pcall(pcall, pcall, pcall, function() while true do pcall(fern.sleep, 1) end end) end
    end,
    ["a repeat until that never comes"] = function()
      repeat local ok = pcall(fern.sleep, 1) until ok
    end,
    ["a tail call without end"] = function()
      local function again() pcall(fern.sleep, 1) return again() end
      return again()
    end,
    ["waiting for a thread that does not end"] = function()
      local other <close> = fern.spawn(fern.sleep, NEVER)
      while true do pcall(other.wait, other) end
    end,
    ["a coroutine made anew each time"] = function()
      while true do coroutine.resume(coroutine.create(function() fern.sleep(1) end)) end
    end,
    ["a loop inside a coroutine"] = function()
      coroutine.wrap(function() while true do pcall(fern.sleep, 1) end end)()
    end,
    ["a loop inside a coroutine that hands its maker on"] = function()
      local maker = coroutine.running()
      coroutine.wrap(function() while true do pcall(fern.sleep, 1, maker) end end)()
    end,
    ["coroutines in coroutines"] = function()
      coroutine.wrap(function()
        while true do
          pcall(coroutine.wrap(function()
            coroutine.resume(coroutine.create(function() fern.sleep(1) end))
            fern.sleep(1)
          end))
        end
      end)()
    end,
    ["a coroutine that yields to a loop"] = function()
      local co = coroutine.wrap(function()
        while true do pcall(fern.sleep, 1) coroutine.yield() end
      end)
      while true do pcall(co) end
    end,
    ["a string.gsub callback"] = function()
      while true do (("x"):rep(100)):gsub(".", function() pcall(fern.sleep, 1) end) end
    end,
    ["a table.sort comparator"] = function()
      while true do
        pcall(table.sort, { 3, 1, 2 }, function(a, b) pcall(fern.sleep, 1) return a < b end)
      end
    end,
    ["a metamethod"] = function()
      local t = setmetatable({}, { __index = function() pcall(fern.sleep, 1) end })
      while true do local _ = t.x end
    end,
    ["a __close that loops"] = function()
      local _ <close> = closing(function() while true do pcall(fern.sleep, 1) end end)
      fern.sleep(1)
    end,
    ["a __close in a __close"] = function()
      local function again()
        local _ <close> = closing(again)
        pcall(fern.sleep, 1)
      end
      while true do pcall(again) end
    end,
    ["a loop that takes hooks away"] = function()
      while true do pcall(fern.sleep, 1) debug.sethook() end
    end,
    ["a timeout around each try"] = function()
      while true do pcall(fern.timeout, 0.001, fern.sleep, 1) end
    end,
  }

  it("ends every body that swallows it, while others go on", function()
    local threads, names = {}, {}
    for name, body in pairs(swallowers) do
      names[#names + 1] = name
      threads[name] = fern.spawn(body)
    end
    let_run()
    local turns, stop = 0, false
    local other = fern.spawn(function() while not stop do turns = turns + 1 fern.sleep(0) end end)
    for _, name in ipairs(names) do threads[name]:kill(name) end
    for _, name in ipairs(names) do
      local before = turns
      local ok, e, code = threads[name]:join(5)
      assert(ok == false, name .. ": " .. tostring(code))
      assert(fern.is_killed(e) and e.reason == name, name)
      assert(turns > before or threads[name]:done())
    end
    stop = true
    other:wait()
    assert.is_true(turns > 100)
  end)

  it("may be called from a link, a __close, a sort and a coroutine", function()
    local threads = {}
    for i = 1, 4 do threads[i] = fern.spawn(fern.sleep, NEVER) end
    let_run()
    local first = fern.spawn(function() end)
    first:link(function() threads[1]:kill() end)
    do local _ <close> = closing(function() threads[2]:kill() end) end
    table.sort({ 1, 2 }, function() threads[3]:kill() end)
    coroutine.wrap(function() threads[4]:kill() end)()
    for i = 1, 4 do killed_join(threads[i]) end
  end)

  it("raises for what is no thread", function()
    fails_with("fern.thread expected", fern.current().kill, {})
  end)

  it("is not reported as an error", function()
    local thread = fern.spawn(fern.sleep, NEVER)
    let_run()
    thread:kill()       -- and nobody asks: the helper listens
    let_run()
    assert.are.equal("killed", thread:status())
  end)

  it("ends thousands of threads in every state, closing all that is open", function()
    local opened, closed = 0, 0
    local function open()
      opened = opened + 1
      return closing(function() closed = closed + 1 end)
    end
    local stone = fern.spawn(fern.sleep, NEVER)
    local bodies = {
      function() local _ <close> = open() fern.sleep(NEVER) end,
      function() local _ <close> = open() fern.sleep(3600) end,
      function() local _ <close> = open() stone:wait() end,
      function() local _ <close> = open() while true do fern.sleep(0) end end,
      function() local _ <close> = open() fern.timeout(3600, fern.sleep, NEVER) end,
      function() coroutine.wrap(function() local _ <close> = open() fern.sleep(NEVER) end)() end,
      function() ("x"):gsub(".", function() local _ <close> = open() fern.sleep(NEVER) end) end,
      function() local _ <close> = closing(function() fern.sleep(0.001) closed = closed + 1 end)
        opened = opened + 1
        fern.sleep(NEVER)
      end,
      function() local _ <close> = open() pcall(fern.sleep, NEVER) return "stayed" end,
      function() local _ <close> = open() end,
      function() local _ <close> = open() fern.current():kill() fern.sleep(0) end,
    }
    local threads = {}
    local function spawn_all(from, to)
      for i = from, to do
        threads[i] = i % 13 == 0 and fern.spawn_after(3600, open) or fern.spawn(bodies[i % #bodies + 1])
      end
    end
    local all = support.MANY
    spawn_all(1, all // 2)
    let_run()
    spawn_all(all // 2 + 1, all * 3 // 4)
    fern.sleep(0)
    spawn_all(all * 3 // 4 + 1, all)
    for i = 1, all do threads[i]:kill() end
    for i = 1, all do
      threads[i]:join()
      assert(threads[i]:done())
    end
    stone:kill()
    assert.are.equal(opened, closed)
    assert.is_true(opened > all // 2)
  end)
end)

describe("a thread in a <close> variable", function()
  it("is killed and has ended when the block is left", function()
    local log, note = new_log()
    local function body(name)
      local _ <close> = closing(function() fern.sleep(0.001) note(name, "closed") end)
      fern.sleep(NEVER)
    end
    local a, b
    do
      local first <close> = fern.spawn(body, "a")
      local second <close> = fern.spawn(body, "b")
      a, b = first, second
      let_run()
      note("leaving")
    end
    assert.are.same({ "leaving", "b closed", "a closed" }, log)
    assert.are.same({ "killed", "killed" }, { a:status(), b:status() })
  end)

  it("is killed on an error, which goes on unchanged", function()
    local thread
    local ok, e = pcall(function()
      local t <close> = fern.spawn(fern.sleep, NEVER)
      thread = t
      let_run()
      error("mine", 0)
    end)
    assert.are.same({ false, "mine" }, { ok, e })
    assert.are.equal("killed", thread:status())
  end)

  it("is left alone if it has ended", function()
    local thread
    do
      local t <close> = fern.spawn(function() return 42 end)
      let_run()
      thread = t
    end
    assert.are.equal(42, thread:wait())
  end)

  it("is killed with its owner, and both are gone", function()
    local inner
    local outer = fern.spawn(function()
      local t <close> = fern.spawn(fern.sleep, NEVER)
      inner = t
      t:wait()
    end)
    let_run()
    outer:kill()
    killed_join(outer)
    assert.are.equal("killed", inner:status())
  end)

  it("may be oneself", function()
    local thread = fern.spawn(function()
      do local _ <close> = fern.current() end
      return "still here"
    end)
    assert.are.equal("still here", thread:wait())
  end)
end)

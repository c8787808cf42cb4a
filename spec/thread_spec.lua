-- SPDX-License-Identifier: MIT
-- thread: spawn, wait, join and all else that one may ask of a green thread.
local fern = require "fern"
local support = require "spec.support.threads"

local NEVER = math.huge
local let_run, new_log, closing = support.let_run, support.new_log, support.closing
local killed_join, fails_with = support.killed_join, support.fails_with

describe("spawn", function()
  it("hands arguments and results on, nils and all", function()
    local thread = fern.spawn(function(...) return select("#", ...), ... end, 1, nil, "x", nil)
    assert.are.same({ n = 5, 4, 1, nil, "x", nil }, table.pack(thread:wait()))
    assert.are.equal(0, select("#", fern.spawn(function() end):wait()))
  end)

  it("hands thousands of values on", function()
    local values = {}
    for i = 1, 5000 do values[i] = i end
    local thread = fern.spawn(function(...) return ... end, table.unpack(values))
    assert.are.same(values, { thread:wait() })
  end)

  it("leaves its caller running", function()
    local log, note = new_log()
    local thread = fern.spawn(note, "body")
    note("caller")
    thread:wait()
    assert.are.same({ "caller", "body" }, log)
  end)

  it("begins threads in the order of their spawn", function()
    local log, note = new_log()
    for i = 1, 100 do fern.spawn(note, i) end
    fern.sleep(0)
    for i = 1, 100 do assert.are.equal(tostring(i), log[i]) end
  end)

  it("puts a new thread behind those that are ready", function()
    local log, note = new_log()
    fern.spawn(function()
      note("a")
      fern.spawn(note, "child of a")
    end)
    fern.spawn(note, "b")
    let_run()
    assert.are.same({ "a", "b", "child of a" }, log)
  end)

  it("takes turns strictly", function()
    local log, note = new_log()
    for _, name in ipairs { "a", "b", "c" } do
      fern.spawn(function()
        for i = 1, 3 do note(name .. i) fern.sleep(0) end
      end)
    end
    fern.waitall()
    assert.are.equal("a1 b1 c1 a2 b2 c2 a3 b3 c3", table.concat(log, " "))
  end)

  it("takes what can be called", function()
    local callable = setmetatable({}, { __call = function(_, x) return x + 1 end })
    assert.are.equal(42, fern.spawn(callable, 41):wait())
    assert.are.equal(1, fern.spawn(math.abs, -1):wait())
  end)

  it("raises for what cannot", function()
    for _, bad in ipairs { 42, "f", {}, true, io.stdout } do
      fails_with("function expected", fern.spawn, bad)
    end
    fails_with("function expected", fern.spawn, nil)
    fails_with("function expected", fern.spawn)
  end)

  it("makes threads that outlive their spawner", function()
    local child
    local parent = fern.spawn(function()
      child = fern.spawn(function() fern.sleep(0.002) return "child" end)
    end)
    parent:wait()
    collectgarbage()
    assert.are.equal("child", child:wait())
  end)

  it("gives every thread a Lua state that nobody had before", function()
    local seen = {}
    for _ = 1, 300 do
      fern.spawn(function()
        local state, is_main = coroutine.running()
        assert(not is_main and not seen[state])
        seen[state] = true
      end):wait()
    end
  end)

  it("keeps plain coroutines plain", function()
    fern.spawn(function()
      assert.is_false(coroutine.isyieldable())
      fails_with("attempt to yield", coroutine.yield, 1)
      local co = coroutine.wrap(function(a)
        fern.sleep(0)
        local b = coroutine.yield(a + 1)
        fern.sleep(0)
        return b + 1
      end)
      assert.are.equal(2, co(1))
      assert.are.equal(11, co(10))
    end):wait()
  end)

  it("lets nobody resume or close another's state", function()
    local state
    local thread = fern.spawn(function()
      state = coroutine.running()
      fern.sleep(0.002)
      return "unharmed"
    end)
    fern.sleep(0)
    assert.is_false((coroutine.resume(state)))
    assert.is_false((pcall(coroutine.close, state)))
    assert.are.equal("unharmed", thread:wait())
  end)

  it("lets two threads share a coroutine one after the other", function()
    local counter = coroutine.wrap(function()
      for i = 1, 100 do fern.sleep(0) coroutine.yield(i) end
    end)
    local first = fern.spawn(function() return counter() end)
    let_run()
    local second = fern.spawn(function() return counter() end)
    assert.are.equal(1, first:wait())
    assert.are.equal(2, second:wait())
  end)

  it("gives a clear error if two use a coroutine at a time", function()
    local co = coroutine.create(function() fern.sleep(0.002) return "mine" end)
    local first = fern.spawn(function() return select(2, coroutine.resume(co)) end)
    fern.sleep(0)
    local ok, message = coroutine.resume(co)
    assert.is_false(ok)
    assert.matches("cannot resume non%-suspended coroutine", message)
    assert.are.equal("mine", first:wait())
  end)

  it("runs thousands of threads that sleep", function()
    local sum = 0
    for i = 1, support.MANY do
      fern.spawn(function()
        fern.sleep(i % 10 * 0.001)
        sum = sum + i
      end)
    end
    assert.is_true(fern.waitall())
    assert.are.equal(support.MANY * (support.MANY + 1) // 2, sum)
  end)
end)

describe("current", function()
  it("is the thread that runs, the same object each time", function()
    local inside
    local thread = fern.spawn(function()
      inside = fern.current()
      fern.sleep(0)
      assert(inside == fern.current())
      coroutine.wrap(function() assert(inside == fern.current()) end)()
    end)
    thread:wait()
    assert.is_true(rawequal(thread, inside))
    assert.is_true(rawequal(fern.current(), fern.current()))
  end)

  it("is main at the top, which is a thread like others", function()
    local main = fern.current()
    assert.are.equal("main", main:name())
    assert.are.equal("running", main:status())
    assert.is_false(main:done())
    assert.is_false(main:cancel())
    assert.are.equal("waiting", fern.spawn(function()
      fern.sleep(0)
      return main:status()
    end):wait())
  end)
end)

describe("wait", function()
  it("gives the result as often as asked, to any number of threads", function()
    local log, note = new_log()
    local thread = fern.spawn(function() fern.sleep(0.002) return "x", 2 end)
    for i = 1, 5 do fern.spawn(function() note(i, thread:wait()) end) end
    assert.are.same({ "x", 2 }, { thread:wait() })
    assert.are.same({ "x", 2 }, { thread:wait(0) })
    fern.waitall()
    assert.are.same({ "1 x 2", "2 x 2", "3 x 2", "4 x 2", "5 x 2" }, log)
  end)

  it("raises the very value that was raised, each time", function()
    local object = setmetatable({}, { __tostring = function() return "object" end })
    for _, value in ipairs { "text", "line:1: text", 42, true, false, object, {}, print, coroutine.create(print) } do
      local thread = fern.spawn(error, value, 0)
      for _ = 1, 2 do
        local ok, e = pcall(thread.wait, thread)
        assert.is_false(ok)
        assert.is_true(rawequal(value, e))
      end
      assert.are.equal("failed", thread:status())
    end
  end)

  it("raises nil, too", function()
    local thread = fern.spawn(error)
    assert.are.same({ n = 2, false, nil }, table.pack(pcall(thread.wait, thread)))
    assert.are.same({ n = 2, false, nil }, table.pack(thread:join()))
  end)

  it("adds nothing to a message but what Lua did", function()
    local thread = fern.spawn(function() error("here") end)
    local ok, e = pcall(thread.wait, thread)
    assert.is_false(ok)
    assert.matches("^[^\n]*thread_spec%.lua:%d+: here$", e)
  end)

  it("times out with an object that says so, and may be tried again", function()
    local thread = fern.spawn(function() fern.sleep(0.005) return "late" end)
    for _, timeout in ipairs { 0, -1, -NEVER, 0.001 } do
      local ok, e = pcall(thread.wait, thread, timeout)
      assert.is_false(ok)
      assert.are.equal("ETIMEDOUT", e.code)
      assert.is_true(fern.is_timeout(e))
      assert.is_false(fern.is_killed(e))
      assert.matches("timeout", tostring(e))
    end
    assert.are.equal("late", thread:wait(NEVER))
    assert.are.equal("late", thread:wait(nil))
    assert.are.equal("late", thread:wait(0))
  end)

  it("raises for what is no time", function()
    local thread = fern.spawn(function() end)
    fails_with("NaN", thread.wait, thread, 0 / 0)
    fails_with("number expected", thread.wait, thread, "soon")
    fails_with("number expected", thread.wait, thread, {})
    thread:wait()
  end)

  it("raises for what is no thread", function()
    local wait = fern.current().wait
    for _, bad in ipairs { 42, {}, io.stdout } do fails_with("fern.thread expected", wait, bad) end
    fails_with("fern.thread expected", wait)
  end)

  it("cannot wait for itself, main neither", function()
    local thread = fern.spawn(function() fern.current():wait() end)
    fails_with("cannot wait for itself", thread.wait, thread)
    fails_with("cannot wait for itself", fern.current().wait, fern.current())
    fails_with("cannot wait for itself", fern.current().join, fern.current(), 1)
  end)

  it("that is killed leaves the others waiting", function()
    local may_end = false
    local thread = fern.spawn(function()
      while not may_end do fern.sleep(0) end
      return 1
    end)
    local first, second = fern.spawn(thread.wait, thread), fern.spawn(thread.wait, thread)
    let_run()
    first:kill()
    killed_join(first)
    may_end = true
    assert.are.equal(1, second:wait())
  end)
end)

describe("join", function()
  it("never raises what happened to the thread", function()
    assert.are.same({ n = 3, true, nil, 2 }, table.pack(fern.spawn(function() return nil, 2 end):join()))
    assert.are.same({ n = 1, true }, table.pack(fern.spawn(function() end):join()))
    local value = {}
    local failed = fern.spawn(error, value)
    local ok, e = failed:join()
    assert.is_false(ok)
    assert.is_true(rawequal(value, e))
    local thread <close> = fern.spawn(fern.sleep, NEVER)
    for _, timeout in ipairs { 0, -1, 0.001 } do
      assert.are.same({ n = 3, nil, "timeout", "ETIMEDOUT" }, table.pack(thread:join(timeout)))
    end
  end)

  it("works a thousand times on one thread", function()
    local thread = fern.spawn(function() fern.sleep(0.001) return 7 end)
    for _ = 1, 1000 do assert(select(2, thread:join()) == 7) end
  end)
end)

describe("status, done, name, tostring and locals", function()
  it("tells each state", function()
    local thread = fern.spawn(function()
      fern.sleep(0)
      fern.sleep(NEVER)
    end)
    local states = { thread:status() }
    fern.sleep(0)
    states[2] = thread:status()
    fern.sleep(0)
    states[3] = thread:status()
    thread:kill()
    states[4] = thread:status()
    assert.is_false(thread:done())
    thread:join()
    states[5] = thread:status()
    assert.is_true(thread:done())
    assert.are.same({ "new", "ready", "waiting", "ready", "killed" }, states)
    local failed = fern.spawn(error)
    failed:join()
    assert.are.equal("failed", failed:status())
    local fine = fern.spawn(function() return fern.current():status() end)
    assert.are.equal("running", fine:wait())
    assert.are.equal("done", fine:status())
  end)

  it("keeps a name and shows it", function()
    local thread = fern.spawn(fern.sleep, NEVER)
    assert.is_nil(thread:name())
    assert.matches("^fern%.thread #%d+ %(new%)$", tostring(thread))
    assert.are.equal("worker", thread:name("worker"))
    assert.are.equal("worker", thread:name())
    fern.sleep(0)
    assert.matches("^fern%.thread #%d+ 'worker' %(waiting%)$", tostring(thread))
    thread:kill()
    thread:join()
    assert.are.equal("worker", thread:name())
    assert.matches("^fern%.thread #%d+ 'worker' %(killed%)$", tostring(thread))
    fails_with("string expected", thread.name, thread, {})
  end)

  it("has a type's name", function()
    assert.are.equal("fern.thread", getmetatable(fern.current()).__name)
  end)

  it("keeps locals apart, and after the end", function()
    local function body(n)
      local here = fern.current().locals
      assert(here.n == nil)
      here.n = n
      fern.sleep(0.001)
      return fern.current().locals.n
    end
    local a, b = fern.spawn(body, "a"), fern.spawn(body, "b")
    a.locals.from_outside = true
    assert.are.same({ "a", "b" }, { a:wait(), b:wait() })
    collectgarbage()
    assert.are.same({ n = "a", from_outside = true }, a.locals)
    assert.are.same({ n = "b" }, b.locals)
    assert.are.equal(a.locals, a.locals)
  end)

  it("knows no other fields", function()
    assert.is_nil(fern.current().nonsense)
    assert.is_nil(fern.current()[1])
    assert.is_false(pcall(function() fern.current().locals = 1 end))
  end)
end)

describe("traceback", function()
  it("of a failed thread tells where it was, and counts as asking", function()
    local function culprit() error("boom") end
    local thread = fern.spawn(function() culprit() end)
    let_run()
    local text = thread:traceback()
    assert.matches("stack traceback", text)
    assert.matches("thread_spec%.lua:%d+: in upvalue 'culprit'", text)
    assert.are.equal(text, thread:traceback())
    thread:join()
    assert.are.equal(text, thread:traceback())
  end)

  it("is kept beside an error that is no text", function()
    local thread = fern.spawn(function() error({}) end)
    thread:join()
    assert.matches("thread_spec%.lua:%d+", thread:traceback())
  end)

  it("of a thread that ran out of time tells where it waited", function()
    local sleeper <close> = fern.spawn(fern.sleep, NEVER)
    local function culprit() fern.sleep(NEVER) end
    local late = fern.spawn(function()
      local _ <close> = fern.deadline(0.001)
      culprit()
    end)
    local impatient = fern.spawn(function() return (sleeper:wait(0.001)) end)
    assert.is_true(fern.is_timeout(select(2, late:join())))
    assert.matches("culprit", late:traceback(), 1, true)
    assert.is_true(fern.is_timeout(select(2, impatient:join())))
    assert.matches("'wait'", impatient:traceback(), 1, true)
  end)

  it("of a living thread tells where it is parked", function()
    local thread <close> = fern.spawn(function() table.sort({ 1, 2 }, function() fern.sleep(NEVER) end) end)
    let_run()
    local text = thread:traceback()
    assert.matches("in function '[%w.]+%.sleep'", text)
    assert.matches("in function 'table.sort'", text, 1, true)
  end)

  it("of a living thread goes through its coroutines", function()
    local thread <close> = fern.spawn(function()
      local function outer()
        coroutine.wrap(function() fern.sleep(NEVER) end)()
      end
      outer()
    end)
    let_run()
    assert.matches("in function '[%w.]+%.sleep'", thread:traceback())
    assert.matches("outer", thread:traceback(), 1, true)
  end)

  it("of oneself is where one is", function()
    local function here() return fern.current():traceback() end
    assert.matches("here", here())
    assert.matches("here", fern.spawn(function() return (here()) end):wait())
  end)

  it("is nil when all went well", function()
    local thread = fern.spawn(function() pcall(error, "caught") end)
    thread:wait()
    assert.is_nil(thread:traceback())
  end)
end)

describe("cancel", function()
  it("is true of a thread that had not begun, once", function()
    local ran
    local thread = fern.spawn(function() ran = true end)
    assert.is_true(thread:cancel())
    assert.is_false(thread:cancel())
    killed_join(thread)
    let_run()
    assert.is_nil(ran)
  end)

  it("does nothing to one that has begun or ended", function()
    local thread = fern.spawn(function() fern.sleep(0.001) return 1 end)
    fern.sleep(0)
    assert.is_false(thread:cancel())
    assert.are.equal(1, thread:wait())
    assert.is_false(thread:cancel())
    assert.are.equal(1, thread:wait())
  end)
end)

describe("waitall", function()
  it("waits for all, and those that they spawn", function()
    local log, note = new_log()
    fern.spawn(function()
      fern.sleep(0.001)
      fern.spawn(function()
        fern.sleep(0.001)
        fern.spawn_after(0.001, note, "grandchild")
      end)
    end)
    assert.is_true(fern.waitall())
    assert.are.same({ "grandchild" }, log)
    assert.is_true(fern.waitall())
    assert.is_true(fern.waitall(0))
  end)

  it("says that its time is over", function()
    local thread = fern.spawn(fern.sleep, NEVER)
    for _, timeout in ipairs { 0, -1, 0.002 } do
      assert.are.same({ n = 3, nil, "timeout", "ETIMEDOUT" }, table.pack(fern.waitall(timeout)))
    end
    fails_with("NaN", fern.waitall, 0 / 0)
    thread:kill()
    assert.is_true(fern.waitall())
  end)

  it("waits neither for main nor for those that wait for the caller", function()
    local log, note = new_log()
    local thread = fern.spawn(function()
      local me = fern.current()
      fern.spawn(function() me:join() note("joined") end)
      fern.spawn(function() fern.sleep(0.003) note("slept") end)
      fern.sleep(0)
      assert(fern.waitall())
      note("all")
    end)
    thread:wait()       -- main waits for it, too
    fern.waitall()
    assert.are.same({ "slept", "all", "joined" }, log)
  end)

  it("may be called by many at once", function()
    local threads, slept = {}, false
    for i = 1, 10 do threads[i] = fern.spawn(fern.waitall) end
    fern.spawn(function() fern.sleep(0.002) slept = true end)
    for i = 1, 10 do assert.is_true(threads[i]:wait()) end
    assert.is_true(slept)
  end)

  it("does not raise what the threads raised", function()
    local thread = fern.spawn(error, "theirs", 0)
    assert.is_true(fern.waitall())
    assert.are.same({ false, "theirs" }, { thread:join() })
  end)
end)

describe("a debug hook", function()
  -- Lines seen, as a coverage tool would count them.
  local function covering(f)
    local lines = {}
    local function hook(_, line) lines[line] = (lines[line] or 0) + 1 end
    debug.sethook(hook, "l")
    local _ <close> = closing(function() debug.sethook() end)
    f(hook)
    return lines
  end

  it("of the spawner sees a new thread's lines", function()
    local line
    local lines = covering(function()
      fern.spawn(function()
        line = debug.getinfo(1, "l").currentline
        fern.sleep(0)
        line = debug.getinfo(1, "l").currentline
      end):wait()
    end)
    assert.are.equal(1, lines[line])
    assert.are.equal(1, lines[line - 2])
  end)

  it("goes on to threads spawned by threads, and is the same function", function()
    local line, same
    local lines = covering(function(hook)
      fern.spawn(function()
        fern.spawn(function()
          same = rawequal(hook, (debug.gethook()))
          line = debug.getinfo(1, "l").currentline
        end):wait()
      end):wait()
    end)
    assert.is_true(same)
    assert.are.equal(1, lines[line])
  end)

  it("is not inherited where there is none", function()
    assert.is_nil((fern.spawn(function() return (debug.gethook()) end):wait()))
    local thread = fern.spawn(function()
      debug.sethook(function() end, "l")
      fern.sleep(0.001)
    end)
    fern.sleep(0)
    assert.is_nil((fern.spawn(function() return (debug.gethook()) end):wait()))
    thread:wait()
  end)
end)

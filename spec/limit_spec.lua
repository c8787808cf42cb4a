-- SPDX-License-Identifier: MIT
-- limit: timeouts and deadlines that nest, in coroutines too, and shields
-- that hold them and kills off for a while.
local fern = require "fern"
local support = require "spec.support.threads"

local NEVER = math.huge
local let_run, new_log, closing = support.let_run, support.new_log, support.closing
local killed_join, fails_with = support.killed_join, support.fails_with

-- Time passes, and nobody parks.
local function spin(seconds)
  local limit = fern.now() + seconds
  while fern.now() < limit do end
end

-- `f` must be interrupted by a deadline; returns the error.
local function timed_out(f, ...)
  local ok, e = pcall(f, ...)
  assert.is_false(ok)
  assert.is_true(fern.is_timeout(e))
  assert.are.equal("ETIMEDOUT", e.code)
  return e
end

local TIMEOUT = { n = 3, nil, "timeout", "ETIMEDOUT" }

local function same_timeout(...)
  assert.are.same(TIMEOUT, table.pack(...))
end

describe("timeout", function()
  it("returns what the function returns, nils and all", function()
    local function f(...) fern.sleep(0) return select("#", ...), ... end
    assert.are.same({ n = 4, 3, nil, "x", nil }, table.pack(fern.timeout(5, f, nil, "x", nil)))
    assert.are.equal(0, select("#", fern.timeout(5, function() end)))
  end)

  it("gives nil, a message and a code when its time is over", function()
    same_timeout(fern.timeout(0.001, fern.sleep, 5))
    same_timeout(fern.timeout(0.001, fern.sleep, NEVER))
    same_timeout(fern.spawn(fern.timeout, 0.001, fern.sleep, 5):wait())
  end)

  it("unwinds the function, which sees why", function()
    local log, note = new_log()
    same_timeout(fern.timeout(0.001, function()
      local _ <close> = closing(function() note("outer") end)
      local _ <close> = closing(function(e) note("inner", e.code, tostring(fern.is_timeout(e))) end)
      fern.sleep(5)
    end))
    assert.are.same({ "inner ETIMEDOUT true", "outer" }, log)
  end)

  it("lets errors through unchanged", function()
    local value = {}
    local ok, e = pcall(fern.timeout, 5, error, value)
    assert.is_false(ok)
    assert.is_true(rawequal(value, e))
  end)

  it("is a look, not a wait, when it is zero or less", function()
    for _, seconds in ipairs { 0, -1, -NEVER } do
      same_timeout(fern.timeout(seconds, fern.sleep, 5))
      same_timeout(fern.timeout(seconds, fern.sleep, 0))
      assert.are.equal(42, fern.timeout(seconds, function() return 42 end))
    end
  end)

  it("is none at all when it is nil or math.huge", function()
    for _, seconds in ipairs { false, NEVER } do
      assert.are.equal(42, fern.timeout(seconds or nil, function()
        fern.sleep(0.002)
        return 42
      end))
    end
  end)

  it("is over with the function", function()
    fern.timeout(0.001, function() end)
    fern.sleep(0.003)
    pcall(fern.timeout, 0.001, error)
    fern.sleep(0.003)
    fern.timeout(0.001, fern.sleep, 5)
    fern.sleep(0.003)
  end)

  it("that is swallowed leaves the result to the function", function()
    assert.are.equal("stayed", fern.timeout(0.001, function()
      pcall(fern.sleep, 5)
      return "stayed"
    end))
  end)

  it("lets clean-up park, which is not another timeout", function()
    local log, note = new_log()
    same_timeout(fern.timeout(0.001, function()
      local _ <close> = closing(function() fern.sleep(0.003) note("said goodbye") end)
      fern.sleep(5)
    end))
    assert.are.same({ "said goodbye" }, log)
  end)

  it("cuts clean-up that parks for ever", function()
    same_timeout(fern.timeout(0.001, function()
      local _ <close> = closing(function() fern.sleep(NEVER) end)
      fern.sleep(5)
    end))
  end)

  it("an outer one passes through an inner one", function()
    local log, note = new_log()
    same_timeout(fern.timeout(0.002, function()
      note("got", tostring(fern.timeout(5, function()
        local _ <close> = closing(function() note("unwound") end)
        fern.sleep(5)
      end)))
    end))
    assert.are.same({ "unwound" }, log)
  end)

  it("an inner one leaves the outer one in force", function()
    local inner
    same_timeout(fern.timeout(0.005, function()
      inner = table.pack(fern.timeout(0.001, fern.sleep, 5))
      fern.sleep(5)
    end))
    assert.are.same(TIMEOUT, inner)
  end)

  it("of two that have passed, the inner one is first", function()
    local log, note = new_log()
    same_timeout(fern.timeout(0.001, function()
      note("inner", select(3, fern.timeout(0.002, function()
        spin(0.004)
        fern.sleep(5)
      end)))
      fern.sleep(0)
      note("never")
    end))
    assert.are.same({ "inner ETIMEDOUT" }, log)
  end)

  it("nests a hundred deep, and only the one that passed is raised", function()
    local function nest(depth)
      if depth == 0 then return fern.sleep(5) end
      local ok, message = fern.timeout(depth == 50 and 0.002 or 5, nest, depth - 1)
      assert(depth <= 50 or ok == depth - 1, depth)
      if ok == nil then
        assert(depth == 50 and message == "timeout")
      end
      return depth
    end
    assert.are.equal(100, nest(100))
  end)

  it("is told from the timeout of a call inside it", function()
    local thread <close> = fern.spawn(fern.sleep, NEVER)
    local e = timed_out(fern.timeout, 5, thread.wait, thread, 0.001)
    assert.are.equal("ETIMEDOUT", e.code)
    assert.are.same(TIMEOUT, table.pack(fern.timeout(5, thread.join, thread, 0.001)))
  end)

  it("is raised from a join, which returns only its own", function()
    local thread <close> = fern.spawn(fern.sleep, NEVER)
    local log, note = new_log()
    same_timeout(fern.timeout(0.001, function()
      note(tostring(thread:join(5)))
    end))
    assert.are.same({}, log)
  end)

  it("is never taken for one of another time", function()
    local old = {}
    for i = 1, 50 do
      fern.timeout(0, function() old[i] = timed_out(fern.sleep, 5) end)
    end
    collectgarbage()
    collectgarbage()
    local function nest(depth, e)       -- somewhere the memory is used again
      if depth == 0 then error(e, 0) end
      return fern.timeout(5, nest, depth - 1, e)
    end
    for i = 1, 50 do
      local ok, e = pcall(nest, 60, old[i])
      assert.is_false(ok)
      assert.is_true(rawequal(old[i], e))
    end
  end)

  it("lets a kill through", function()
    local thread = fern.spawn(fern.timeout, 5, fern.timeout, 5, fern.sleep, NEVER)
    let_run()
    thread:kill("through")
    assert.are.equal("through", killed_join(thread).reason)
  end)

  it("is not inherited by threads that are spawned in it", function()
    local thread
    same_timeout(fern.timeout(0.002, function()
      thread = fern.spawn(function() fern.sleep(0.005) return "fine" end)
      thread:wait()
    end))
    assert.are.equal("fine", thread:wait())
  end)

  it("starves nobody when it is swallowed for ever, and a kill ends that", function()
    local turns = 0
    local thread = fern.spawn(fern.timeout, 0.001, function()
      while true do pcall(fern.sleep, 5) end
    end)
    local limit = fern.now() + 0.4
    while fern.now() < limit do fern.sleep(0) turns = turns + 1 end
    assert.is_true(turns > 50)
    thread:kill()
    killed_join(thread)
  end)

  it("keeps a thousand threads to their times", function()
    local threads, order = {}, {}
    for i = 1, 1000 do
      threads[i] = fern.spawn(function()
        local a, b, c = fern.timeout(0.001 + i % 10 * 0.001, fern.sleep, 5)
        order[#order + 1] = i
        return a, b, c
      end)
    end
    for i = 1, 1000 do same_timeout(threads[i]:wait()) end
    assert.are.equal(1000, #order)
  end)

  it("raises for what is no time or no function", function()
    fails_with("NaN", fern.timeout, 0 / 0, print)
    fails_with("number expected", fern.timeout, "soon", print)
    fails_with("function expected", fern.timeout, 1)
    fails_with("function expected", fern.timeout, 1, 42)
    fails_with("function expected", fern.timeout)
    fern.sleep(0.001)           -- and leaves nothing in force
  end)
end)

describe("deadline", function()
  it("interrupts whatever its block does", function()
    local thread <close> = fern.spawn(fern.sleep, NEVER)
    for _, call in ipairs {
      function() fern.sleep(5) end, function() fern.sleep(NEVER) end, function() thread:wait() end,
      function() thread:join(5) end, function() fern.waitall() end,
      function() while true do fern.sleep(0) end end,
    } do
      local log, note = new_log()
      timed_out(function()
        local _ <close> = fern.deadline(0.002)
        local _ <close> = closing(function(e) note(e.code) end)
        call()
      end)
      assert.are.same({ "ETIMEDOUT" }, log)
    end
  end)

  it("is over with its block", function()
    do local _ <close> = fern.deadline(0.001) end
    fern.sleep(0.003)
    for _ = 1, 3 do
      local _ <close> = fern.deadline(0.002)
      fern.sleep(0.001)
    end
  end)

  it("may be closed by hand, twice, and shows its state", function()
    local deadline = fern.deadline(5)
    assert.matches("^fern%.deadline %(%d", tostring(deadline))
    deadline:close()
    deadline:close()
    assert.matches("^fern%.deadline %(closed%)", tostring(deadline))
    assert.are.equal("fern.deadline", getmetatable(deadline).__name)
    fern.sleep(0)
  end)

  it("that passed is raised again only after a grace, until it is closed", function()
    local deadline <close> = fern.deadline(0.001)
    timed_out(fern.sleep, 5)
    fern.sleep(0.001)           -- clean-up may park
    timed_out(fern.sleep, 5)    -- but no longer than the grace
    for _ = 1, 10 do timed_out(fern.sleep, 0) end
    deadline:close()
    fern.sleep(0.001)
  end)

  it("closes in any order", function()
    local a, b, c = fern.deadline(0.002), fern.deadline(5), fern.deadline(6)
    b:close()
    timed_out(fern.sleep, 5)
    a:close()
    fern.sleep(0.003)
    c:close()
    local outer, inner = fern.deadline(0.001), fern.deadline(0.004)
    outer:close()
    fern.sleep(0.002)
    timed_out(fern.sleep, 5)
    inner:close()
    fern.sleep(0.001)
  end)

  it("the inner of two first, then the outer", function()
    local outer <close> = fern.deadline(0.004)
    do
      local _ <close> = fern.deadline(0.001)
      timed_out(fern.sleep, 5)
    end
    local before = fern.now()
    timed_out(fern.sleep, 5)
    assert.is_true(fern.now() - before < 4)
    outer:close()
  end)

  it("an outer one that passed silences those inside", function()
    local log, note = new_log()
    local ok = pcall(function()
      local _ <close> = fern.deadline(0.001)
      local _ <close> = fern.deadline(0.003)
      local _ <close> = closing(function()
        fern.sleep(0.006)       -- the inner one passes here
        note("cleaned up")
      end)
      fern.sleep(5)
    end)
    assert.is_false(ok)
    assert.are.same({ "cleaned up" }, log)
  end)

  it("is left behind by a thread that ends", function()
    local kept
    fern.spawn(function() kept = fern.deadline(0.001) end):wait()
    fern.sleep(0.003)
    assert.matches("closed", tostring(kept))
    kept:close()
  end)

  it("may be closed by another thread; whoever was in it waits on", function()
    local kept = {}
    local thread = fern.spawn(function()
      kept[1] = fern.deadline(0.002)
      fern.sleep(0.006)
      return "slept"
    end)
    let_run()
    assert.matches("left", tostring(kept[1]))
    kept[1]:close()
    kept[1] = nil
    collectgarbage()
    collectgarbage()
    assert.are.equal("slept", thread:wait())
  end)

  it("raises for what is no time", function()
    fails_with("NaN", fern.deadline, 0 / 0)
    fails_with("number expected", fern.deadline, "soon")
    fails_with("value expected", fern.deadline)
    local _ <close> = fern.deadline(nil)
    fern.sleep(0)
  end)

  it("that nobody holds goes with the garbage, and disturbs nobody", function()
    local thread = fern.spawn(function()
      for _ = 1, 20 do fern.deadline(0.02) end
      fern.sleep(0.002)
      return "fine"
    end)
    local waiter = fern.spawn(function()
      fern.deadline(60)
      return (thread:wait())
    end)
    let_run()
    for _ = 1, 20 do collectgarbage() fern.sleep(0) end
    assert.are.equal("fine", thread:wait())
    assert.are.equal("fine", waiter:wait())
  end)
end)

describe("a limit in a coroutine", function()
  it("is in force while it runs, not while it has yielded", function()
    local log, note = new_log()
    local co = coroutine.wrap(function()
      local _ <close> = fern.deadline(0.002)
      coroutine.yield()
      local ok, e = pcall(fern.sleep, 5)
      note(tostring(ok), e.code)
    end)
    co()
    fern.sleep(0.005)           -- not here: it has yielded
    note("slept")
    co()
    assert.are.same({ "slept", "false ETIMEDOUT" }, log)
    fern.sleep(0.001)
  end)

  it("reaches the coroutines that it resumes", function()
    local co = coroutine.wrap(function()
      local _ <close> = fern.deadline(0.002)
      coroutine.wrap(function() fern.sleep(5) end)()
    end)
    timed_out(co)
    fern.sleep(0.001)
  end)

  it("of an outer block reaches into coroutines", function()
    same_timeout(fern.timeout(0.002, coroutine.wrap(function()
      coroutine.wrap(function() fern.sleep(5) end)()
    end)))
  end)

  it("may be yielded out of by timeout, and is in force again after", function()
    local co = coroutine.wrap(function()
      return "result", fern.timeout(0.002, function()
        coroutine.yield("yielded")
        fern.sleep(5)
      end)
    end)
    assert.are.equal("yielded", co())
    fern.sleep(0.004)
    assert.are.same({ n = 4, "result", nil, "timeout", "ETIMEDOUT" }, table.pack(co()))
  end)

  it("is over when the coroutine is closed or has failed", function()
    local co = coroutine.create(function()
      local _ <close> = fern.deadline(0.001)
      coroutine.yield()
    end)
    coroutine.resume(co)
    coroutine.close(co)
    local failed = coroutine.create(function()
      local deadline = fern.deadline(0.001)
      error(deadline)
    end)
    coroutine.resume(failed)
    local ended = coroutine.wrap(function() return fern.deadline(0.001) end)
    local kept = ended()
    fern.sleep(0.004)
    kept:close()
  end)

  it("is in force in no thread while another than its own runs it", function()
    local co = coroutine.create(function()
      local _ <close> = fern.deadline(0.002)
      coroutine.yield()
      fern.sleep(0.008)
      return "not interrupted"
    end)
    local first = fern.spawn(function()
      coroutine.resume(co)
      fern.sleep(0.002)
      fern.sleep(0.004)
      return "nor here"
    end)
    let_run()
    local second = fern.spawn(function() return select(2, coroutine.resume(co)) end)
    assert.are.equal("nor here", first:wait())
    assert.are.equal("not interrupted", second:wait())
  end)

  it("is found through coroutines that are inside each other", function()
    local function nest(depth)
      if depth == 0 then return fern.sleep(5) end
      if depth == 3 then
        local _ <close> = fern.deadline(0.002)
        return coroutine.wrap(nest)(depth - 1)
      end
      local ok, e = coroutine.resume(coroutine.create(nest), depth - 1)
      if not ok then error(e, 0) end
    end
    timed_out(nest, 6)
  end)
end)

describe("shield", function()
  it("hands arguments, results and errors on", function()
    assert.are.same({ n = 3, 2, nil, "x" }, table.pack(fern.shield(function(...)
      fern.sleep(0)
      return select("#", ...), ...
    end, nil, "x")))
    local value = {}
    local ok, e = pcall(fern.shield, error, value)
    assert.is_false(ok)
    assert.is_true(rawequal(value, e))
    fern.sleep(0)
  end)

  it("defers a kill to the first call that parks after it", function()
    local log, note = new_log()
    local thread = fern.spawn(function()
      local result = fern.shield(function()
        fern.sleep(0.002)
        note("slept")
        return "result"
      end)
      note(result)              -- not even here
      fern.sleep(0)
      note("never")
    end)
    let_run()
    assert.is_true(thread:kill("deferred"))
    assert.are.equal("waiting", thread:status())
    assert.are.equal("deferred", killed_join(thread).reason)
    assert.are.same({ "slept", "result" }, log)
  end)

  it("nests", function()
    local log, note = new_log()
    local thread = fern.spawn(fern.shield, function()
      fern.shield(fern.sleep, 0.001)
      fern.sleep(0.001)
      note("still shielded")
    end)
    let_run()
    thread:kill()
    thread:join()
    assert.are.same({ "still shielded" }, log)
  end)

  it("lets a body that parks no more end as it would have", function()
    local thread = fern.spawn(function()
      return fern.shield(function() fern.sleep(0.001) return "committed" end)
    end)
    let_run()
    thread:kill()
    assert.are.equal("committed", thread:wait())
  end)

  it("defers the deadlines around it", function()
    local log, note = new_log()
    same_timeout(fern.timeout(0.001, function()
      fern.shield(fern.sleep, 0.004)
      note("slept")
      fern.sleep(0)
      note("never")
    end))
    assert.are.same({ "slept" }, log)
  end)

  it("lets the limits inside it pass", function()
    local log, note = new_log()
    local thread = fern.spawn(fern.shield, function()
      note(select(3, fern.timeout(0.002, fern.sleep, NEVER)))
      local other <close> = fern.spawn(fern.sleep, NEVER)
      note(select(3, other:join(0.001)))
    end)
    let_run()
    thread:kill()
    thread:join()
    assert.are.same({ "ETIMEDOUT", "ETIMEDOUT" }, log)
  end)

  it("in clean-up lets it finish, however long it takes", function()
    local log, note = new_log()
    local thread = fern.spawn(function()
      local _ <close> = closing(function()
        fern.shield(fern.sleep, 0.4)    -- longer than the grace
        note("all the time in the world")
      end)
      fern.sleep(NEVER)
    end)
    let_run()
    thread:kill()
    killed_join(thread)
    assert.are.same({ "all the time in the world" }, log)
  end)

  it("protects main as well", function()
    local main = fern.current()
    fern.spawn(function() fern.sleep(0.001) end)
    same_timeout(fern.timeout(0, function()
      assert(rawequal(main, fern.current()))
      fern.shield(fern.sleep, 0.002)
      fern.sleep(0)
    end))
  end)

  it("raises for what is no function", function()
    fails_with("function expected", fern.shield)
    fails_with("function expected", fern.shield, 42)
    same_timeout(fern.timeout(0, fern.sleep, 1))        -- no shield is left
  end)
end)

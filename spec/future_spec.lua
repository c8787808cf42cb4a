-- SPDX-License-Identifier: MIT
-- Futures: result, join, cancel, done, and what becomes of values and errors.
local fern = require "fern"
local support = require "spec.support.threads"

local let_run, nap = support.let_run, support.nap

local executor

describe("a future", function()
  before_each(function() executor = fern.executor { max_workers = 2 } end)
  after_each(function() executor:shutdown { cancel_pending = true } end)

  it("gives all values, nils among them, as often as it is asked", function()
    for _, fn in ipairs { function(...) return ... end, nap } do
      local future = executor:submit(fn, nil, 2, nil)
      for _ = 1, 2 do
        assert.same({ nil, 2, nil, n = 3 }, table.pack(future:result()))
        assert.same({ true, nil, 2, nil, n = 4 }, table.pack(future:join()))
      end
      assert.same({ n = 0 }, table.pack(executor:submit(fn):result()))
      assert.same({ n = 1 }, table.pack(executor:submit(fn, nil):result()))
      assert.same({ "one", n = 1 }, table.pack(executor:submit(fn, "one"):result()))
    end
  end)

  it("raises the very error, as often as it is asked", function()
    local err = setmetatable({}, { __tostring = function() return "the one" end })
    local future = executor:submit(function()
      fern.sleep(0)
      error(err)
    end)
    for _ = 1, 2 do
      local ok, got = pcall(future.result, future)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.same({ false, err }, { future:join() })
    end
    assert.is_true(future:done())
    assert.equal("fern.future (failed)", tostring(future))
  end)

  it("wakes those who wait in order", function()
    local future, order, threads = executor:submit(nap, "value"), {}, {}
    for i = 1, 4 do
      threads[i] = fern.spawn(function()
        assert.equal("value", future:result())
        order[#order + 1] = i
      end)
    end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.same({ 1, 2, 3, 4 }, order)
  end)

  it("outlasts a waiter's patience", function()
    local gate = false
    local future = executor:submit(function()
      while not gate do fern.sleep(0.001) end
      return "late"
    end)
    local ok, err = pcall(future.result, future, 0.001)
    assert.is_false(ok)
    assert.is_true(fern.is_timeout(err))
    assert.equal("ETIMEDOUT", err.code)
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, table.pack(future:join(0)))
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, table.pack(future:join(-1)))
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 },
      table.pack(fern.timeout(0.001, future.result, future)))
    assert.is_false(future:done())
    gate = true
    assert.equal("late", future:result())
    assert.equal("late", future:result(0))
    assert.is_true(future:done())
  end)

  it("can be cancelled until its function begins", function()
    local ran, go_on = 0, fern.event()
    local function work()
      ran = ran + 1
      go_on:wait()
      return "done"
    end
    local futures = {}
    for i = 1, 4 do futures[i] = executor:submit(work) end
    assert.is_true(futures[1]:cancel())         -- given to a worker
    let_run()
    assert.is_false(futures[2]:cancel())        -- begun
    assert.is_true(futures[2]:running())
    assert.is_true(futures[4]:cancel())
    assert.is_true(futures[4]:cancel())
    go_on:send()
    assert.equal("done", futures[2]:result())
    assert.equal("done", futures[3]:result())
    assert.is_false(futures[3]:cancel())
    assert.equal(2, ran)
    for _, i in ipairs { 1, 4 } do
      assert.is_true(futures[i]:done())
      assert.is_true(futures[i]:cancelled())
      assert.is_false(futures[i]:running())
    end
    assert.is_false(futures[2]:cancelled())
  end)

  it("that is cancelled raises an object that says so", function()
    local blocker = { executor:submit(nap), executor:submit(nap) }
    local future = executor:submit(nap)
    local waiter = fern.spawn(function() return future:join() end)
    let_run()
    assert.is_true(future:cancel())
    local ok, err = waiter:wait()
    assert.is_false(ok)
    assert.equal("ECANCELED", err.code)
    ok, err = pcall(future.result, future)
    assert.is_false(ok)
    assert.equal("ECANCELED", err.code)
    assert.equal("killed: cancelled before it began", tostring(err))
    for _, f in ipairs(blocker) do f:result() end
  end)

  it("lets go of a cancelled function and its arguments", function()
    local kept = setmetatable({}, { __mode = "v" })
    local blockers = { executor:submit(nap), executor:submit(nap) }
    local future
    do
      local argument = {}
      kept[1], kept[2] = argument, function() return argument end
      future = executor:submit(kept[2], argument)
    end
    future:cancel()
    collectgarbage()
    collectgarbage()
    assert.is_nil(kept[1])
    assert.is_nil(kept[2])
    for _, f in ipairs(blockers) do f:result() end
  end)

  it("lets go of its function and its arguments once it is done", function()
    local kept = setmetatable({}, { __mode = "v" })
    local function submit()
      local argument = {}
      kept[#kept + 1] = argument
      return executor:submit(function(x) return x and 1 end, argument)
    end
    local futures = {}
    for i = 1, 6 do futures[i] = submit() end
    for _, future in ipairs(futures) do assert.equal(1, future:result()) end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(kept))
  end)

  it("keeps its results while it is kept", function()
    local future = executor:submit(function() return { "fresh" }, { "more" } end)
    collectgarbage()
    let_run()
    collectgarbage()
    local a, b = future:result()
    assert.same({ { "fresh" }, { "more" } }, { a, b })
  end)

  it("cannot wait for itself", function()
    local future
    future = executor:submit(function() return pcall(future.result, future) end)
    local ok, err = future:result()
    assert.is_false(ok)
    assert.is_string(err)
  end)

  it("passes a kill of its thread on", function()
    local thread
    local future = executor:submit(function()
      thread = fern.current()
      fern.sleep(100)
    end)
    let_run()
    thread:kill("stop it")
    local ok, err = future:join()
    assert.is_false(ok)
    assert.equal("ECANCELED", err.code)
    assert.equal("stop it", err.reason)
    -- The executor goes on with another thread.
    assert.equal(1, executor:submit(nap, 1):result())
  end)

  it("does not bother its function when a waiter is killed", function()
    local future = executor:submit(nap, "value")
    local waiter = fern.spawn(future.result, future)
    let_run()
    waiter:kill()
    assert.is_false((waiter:join()))
    assert.equal("value", future:result())
  end)

  it("reports an error that nobody asks for", function()
    local heard
    fern.on_error(function(err, traceback) heard = { err, traceback } end)
    executor:submit(function() error("unasked", 0) end)
    local limit = fern.now() + 5
    while not heard and fern.now() < limit do
      collectgarbage()
      fern.sleep(0.05)
    end
    assert.equal("unasked", heard[1])
    assert.truthy(heard[2]:find("future_spec", 1, true))
  end)

  it("may fail or return with too much for its caller's stack", function()
    local function many(n) return table.unpack({}, 1, n) end
    assert.equal(100000, select("#", executor:submit(many, 100000):result()))
    local ok = executor:submit(many, 1e7):join()
    assert.is_false(ok)
  end)

  it("may not be waited for in a finalizer", function()
    local said
    local future = executor:submit(nap)
    fern.on_error(function(err) said = tostring(err) end)
    setmetatable({}, { __gc = function() future:result() end })
    collectgarbage()
    collectgarbage()
    future:result()
    fern.sleep(0.01)
    assert.truthy(said and said:find("finalizer"))
  end)

  it("gives its error as a value, and nil of a success", function()
    local err = {}
    assert.is_nil(executor:submit(nap, "fine"):exception())
    assert.same({ n = 1 }, table.pack(executor:submit(nap):exception(10)))
    local failed = executor:submit(function() nap() error(err) end)
    assert.equal(err, failed:exception())
    assert.equal(err, failed:exception(0))
    local blockers = { executor:submit(nap), executor:submit(nap) }
    local cancelled = executor:submit(nap)
    support.fails_with("timeout", cancelled.exception, cancelled, 0)
    cancelled:cancel()
    assert.equal("ECANCELED", cancelled:exception().code)
    assert.equal("ECANCELED", fern.timeout(0.001, cancelled.exception, cancelled).code)
    for _, f in ipairs(blockers) do f:result() end
  end)

  it("calls its callbacks once, in order, with itself, in a green thread", function()
    local future, log, note = executor:submit(nap, "value"), support.new_log()
    for i = 1, 3 do
      future:add_done_callback(function(...)
        assert.equal(future, ...)
        assert.equal(1, select("#", ...))
        assert.is_truthy(fern.current())
        note(i, future:result(0))
      end)
    end
    assert.equal("value", future:result())
    let_run()
    assert.same({ "1 value", "2 value", "3 value" }, log)
  end)

  it("calls a callback that comes late soon after add_done_callback returns", function()
    local future, called = executor:submit(nap), 0
    future:result()
    for _ = 1, 2 do future:add_done_callback(function() called = called + 1 end) end
    assert.equal(0, called)
    let_run()
    assert.equal(2, called)
  end)

  it("keeps its callbacks apart: one that fails, parks or is killed holds up nobody", function()
    local heard, called, open = {}, {}, false
    fern.on_error(function(err) heard[#heard + 1] = err end)
    local future = executor:submit(nap)
    future:add_done_callback(function() error("first", 0) end)
    future:add_done_callback(function()
      while not open do fern.sleep(0.001) end
      called[#called + 1] = "slept"
    end)
    future:add_done_callback(function() fern.current():kill() fern.sleep(100) end)
    future:add_done_callback(function() called[#called + 1] = "last" end)
    future:result()
    let_run()
    assert.same({ "last" }, called)
    open = true
    executor:shutdown()
    assert.same({ "last", "slept" }, called)
    local limit = fern.now() + 5
    while #heard == 0 and fern.now() < limit do fern.sleep(0.05) end
    assert.same({ "first" }, heard)
  end)

  it("calls its callbacks whichever way it ends", function()
    local log, note = support.new_log()
    local blockers = { executor:submit(nap), executor:submit(nap) }
    local cancelled, failed = executor:submit(nap), executor:submit(error, "no", 0)
    local later = executor:submit_after(100, nap)
    cancelled:add_done_callback(function(f) note("cancelled", tostring(f:cancelled())) end)
    failed:add_done_callback(function(f) note("failed", f:exception()) end)
    later:add_done_callback(function(f) note("later", tostring(f:cancelled())) end)
    cancelled:cancel()
    let_run()
    assert.same({ "cancelled true" }, log)
    for _, f in ipairs(blockers) do f:result() end
    failed:join()
    let_run()
    later:cancel()
    executor:shutdown()
    assert.same({ "cancelled true", "failed no", "later true" }, log)
  end)

  it("has its callbacks called before shutdown returns, but not by one of them", function()
    local log, note = support.new_log()
    for i = 1, 300 do
      executor:submit(nap):add_done_callback(function() nap() note(i) end)
    end
    executor:submit(nap):add_done_callback(function()
      note(select(3, executor:shutdown()))
    end)
    assert.equal(true, executor:shutdown())
    assert.equal(301, #log)
    table.sort(log)
    assert.equal("EDEADLK", log[301])
  end)

  it("lets a callback submit, cancel and add callbacks", function()
    local log, note = support.new_log()
    local future = executor:submit(nap)
    future:add_done_callback(function(f)
      local second = executor:submit(nap, "second")
      second:add_done_callback(function(s) note(s:result()) end)
      f:add_done_callback(function() note("again") end)
    end)
    future:result()
    let_run()
    executor:shutdown()
    assert.same({ "again", "second" }, log)
  end)

  it("bears many callbacks, on one future and on many", function()
    local count, future = 0, executor:submit(nap)
    local function add() count = count + 1 end
    for _ = 1, support.MANY do future:add_done_callback(add) end
    for _ = 1, support.MANY do executor:submit(type, 1):add_done_callback(add) end
    executor:shutdown()
    assert.equal(2 * support.MANY, count)
  end)

  it("lets go of its callbacks once they were called", function()
    local kept = setmetatable({}, { __mode = "v" })
    local future = executor:submit(nap)
    do
      local upvalue = {}
      kept[1] = upvalue
      future:add_done_callback(function() return upvalue end)
    end
    executor:shutdown()
    collectgarbage()
    collectgarbage()
    assert.is_nil(kept[1])
    assert.is_true(future:done())
  end)

  it("may be dropped with callbacks to call", function()
    local called
    executor:submit(nap, 7):add_done_callback(function(f) called = f:result() end)
    collectgarbage()
    collectgarbage()
    executor:shutdown()
    assert.equal(7, called)
  end)

  it("wants something to call", function()
    local future = executor:submit(nap)
    for _, bad in ipairs { 42, "no", {}, true } do
      support.fails_with("bad argument #1 to 'add_done_callback'", function() future:add_done_callback(bad) end)
    end
    support.fails_with("bad argument #1", function() future:add_done_callback() end)
    local called
    future:add_done_callback(setmetatable({}, { __call = function(_, f) called = f end }))
    executor:shutdown()
    assert.equal(future, called)
  end)

  it("refuses what is no future", function()
    local future = executor:submit(nap)
    assert.has_error(function() future.result({}) end)
    assert.has_error(function() future.result(io.stdout) end)
    assert.has_error(function() future:result(0 / 0) end)
    assert.has_error(function() future:result("soon") end)
    future:result()
  end)
end)

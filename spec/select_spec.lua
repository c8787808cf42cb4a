-- SPDX-License-Identifier: MIT
-- fern.wait and fern.as_completed: many things at once, in the order in which
-- they become ready.
local fern = require "fern"
local support = require "spec.support.threads"

local let_run, fails_with = support.let_run, support.fails_with

-- A thread that ends when told to, with `...`.
local function told(...)
  local values, go = table.pack(...), false
  local thread = fern.spawn(function()
    while not go do fern.sleep(0) end
    return table.unpack(values, 1, values.n)
  end)
  return thread, function() go = true let_run() end
end

local function fail(err) error(err, 0) end

describe("wait", function()
  it("gives what is done in the order in which it became so", function()
    local a, end_a = told()
    local b, end_b = told()
    local c, end_c = told()
    local waiter = fern.spawn(fern.wait, { a, b, c })
    let_run()
    end_c() end_a() end_b()
    local done, pending = waiter:wait()
    assert.equal(3, #done)
    for i, thread in ipairs { c, a, b } do assert.equal(thread, done[i]) end
    assert.same({}, pending)
  end)

  it("gives what was done before first, in the list's order", function()
    local a, end_a = told()
    local b, c = fern.spawn(let_run), fern.spawn(function() end)
    fern.wait { b, c }
    local done, pending = fern.wait({ a, b, c }, { count = 1 })
    assert.is_true(done[1] == b and done[2] == c and #done == 2)
    assert.is_true(pending[1] == a and #pending == 1)
    end_a()
    a:wait()
  end)

  it("returns as soon as `count` are ready, with the rest in their order", function()
    local a, end_a = told()
    local b, end_b = told()
    local c, end_c = told()
    local waiter = fern.spawn(fern.wait, { a, b, c }, { count = 1 })
    let_run()
    end_b()
    local done, pending = waiter:wait()
    assert.is_true(#done == 1 and done[1] == b)
    assert.is_true(#pending == 2 and pending[1] == a and pending[2] == c)
    end_a() end_c()
  end)

  it("takes a count that is too large, and one of 0", function()
    local a, end_a = told()
    local done, pending = fern.wait({ a }, { count = 0 })
    assert.is_true(#done == 0 and pending[1] == a)
    end_a()
    assert.equal(1, #fern.wait({ a }, { count = 1e9 }))
    assert.equal(1, #fern.wait({ a }, { count = 0 }))
  end)

  it("never raises: neither a failed thread's error nor its own timeout", function()
    local failed, killed = fern.spawn(fail, "oh"), fern.spawn(fern.sleep, 100)
    local sleeper = fern.spawn(fern.sleep, 100)
    killed:kill()
    local done, pending = fern.wait({ failed, killed, sleeper }, { timeout = 0.01 })
    assert.is_true(#done == 2 and #pending == 1 and pending[1] == sleeper)
    assert.same({ false, "oh" }, { failed:join() })
    done = fern.wait({ sleeper }, { timeout = 0 })
    assert.same({}, done)
    done = fern.wait({ sleeper }, { timeout = -1 })
    assert.same({}, done)
    sleeper:kill()
    killed:join() sleeper:join()
  end)

  it("does not ask about errors, but holds their reports back", function()
    local heard = {}
    fern.on_error(function(err) heard[#heard + 1] = err end)
    local failed, slow = fern.spawn(fail, "oh"), fern.spawn(fern.sleep, 1.3)
    fern.wait { failed, slow }
    assert.same({}, heard)
    assert.same({ false, "oh" }, { failed:join() })
    local other = fern.spawn(fail, "again")
    fern.wait { other }
    local limit = fern.now() + 5
    while #heard == 0 and fern.now() < limit do fern.sleep(0.01) end
    assert.same({ "again" }, heard)
  end)

  it("takes futures and threads, the same twice, and nothing at all", function()
    local executor <close> = fern.executor { max_workers = 2 }
    local future, thread = executor:submit(support.nap, 1), fern.spawn(support.nap, 2)
    local done, pending = fern.wait { future, thread, future }
    assert.is_true(#done == 3 and #pending == 0)
    done, pending = fern.wait {}
    assert.is_true(#done == 0 and #pending == 0)
    local cancelled = executor:submit(support.nap)
    cancelled:cancel()
    assert.equal(1, #fern.wait { cancelled })
  end)

  it("is left by a kill and a limit around it, and then waits for nothing", function()
    local a, end_a = told()
    local waiter = fern.spawn(fern.wait, { a })
    let_run()
    waiter:kill()
    support.killed_join(waiter)
    assert.equal("ETIMEDOUT", (select(3, fern.timeout(0.01, fern.wait, { a }))))
    end_a()
    assert.equal(1, #fern.wait { a })
  end)

  it("keeps what it waits for, though the list is emptied meanwhile", function()
    local list, going = {}, true
    for i = 1, 20 do
      list[i] = fern.spawn(function() while going do fern.sleep(0) end end)
    end
    local waiter = fern.spawn(fern.wait, list)
    let_run()
    for i = 1, 20 do list[i] = nil end
    collectgarbage()
    going = false
    assert.equal(20, #waiter:wait())
    collectgarbage()
  end)

  it("wakes many waiters of one thread", function()
    local a, end_a = told("value")
    local waiters = {}
    for i = 1, 100 do waiters[i] = fern.spawn(fern.wait, { a }) end
    let_run()
    end_a()
    for i = 1, 100 do assert.equal(a, (waiters[i]:wait())[1]) end
    assert.equal("value", a:wait())
  end)

  it("takes ten thousand threads", function()
    local list = {}
    for i = 1, support.MANY do list[i] = fern.spawn(support.nap, i) end
    local done = fern.wait(list)
    assert.equal(support.MANY, #done)
    for i = 1, support.MANY do assert.is_true(done[i]:done()) end
  end)

  it("refuses what cannot be waited for, by its position", function()
    fails_with("item 2 is no thread, future, event, queue, semaphore, lock, process or signal, but a number",
      fern.wait, { fern.spawn(let_run), 7 })
    fails_with("item 1 is no thread, future", fern.wait, { {} })
    fails_with("item 1 is no thread, future.*or signal, but a fern.pool", fern.wait, { fern.pool() })
    fails_with("table expected", fern.wait)
    fails_with("unknown option 'timout'", fern.wait, {}, { timout = 1 })
    fails_with("'timeout'", fern.wait, {}, { timeout = "1" })
    fails_with("'timeout'", fern.wait, {}, { timeout = 0 / 0 })
    fails_with("'count'", fern.wait, {}, { count = -1 })
    fails_with("'count'", fern.wait, {}, { count = 1.5 })
    fails_with("cannot wait for itself", fern.wait, { fern.current() })
  end)

  it("says what it waits for in a deadlock", function()
    local output = support.run [[
      local fern = require "fern"
      local never = fern.spawn(function() fern.current():name("never") fern.current().locals.t:join() end)
      local other = fern.spawn(fern.wait, { never, never })
      never.locals.t = other
      other:join()
    ]]
    assert.matches("one of 2", output)
  end)
end)

describe("as_completed", function()
  it("gives each once, in the order in which they end", function()
    local a, end_a = told("a")
    local b, end_b = told("b")
    local consumer = fern.spawn(function()
      local got = {}
      for thread in fern.as_completed { a, b, a } do got[#got + 1] = thread:wait() end
      return table.concat(got)
    end)
    let_run()
    end_b() end_a()
    assert.equal("baa", consumer:wait())
  end)

  it("raises its limit, which counts from the call", function()
    local sleeper = fern.spawn(fern.sleep, 100)
    local ok, err = pcall(function()
      for _ in fern.as_completed({ sleeper }, 0.01) do error("nothing has ended") end
    end)
    assert.is_false(ok)
    assert.is_true(fern.is_timeout(err))
    sleeper:kill()
    assert.equal(1, #fern.wait { sleeper })
  end)

  it("may be left early, and called by hand after its end", function()
    local a, end_a = told()
    local b, end_b = told()
    end_a()
    for thread in fern.as_completed { a, b } do  -- luacheck: ignore 512
      assert.equal(a, thread)
      break
    end
    end_b()
    local next_one = fern.as_completed { b }
    assert.equal(b, next_one())
    assert.is_nil(next_one())
    assert.is_nil(next_one())
  end)

  it("refuses what cannot be waited for, and a limit that is none", function()
    fails_with("item 1 is no thread", fern.as_completed, { "x" })
    fails_with("number", fern.as_completed, {}, "soon")
    fails_with("table expected", fern.as_completed, 1)
  end)
end)

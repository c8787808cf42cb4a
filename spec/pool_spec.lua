-- SPDX-License-Identifier: MIT
-- fern.pool: spawn, waitall, resize; and its maps: imap, imap_unordered,
-- starmap, map.
local fern = require "fern"
local script = require "spec.support.script"
local support = require "spec.support.threads"

local let_run, nap, numbers = support.let_run, support.nap, support.numbers

-- A function that notes how many calls of it run at once.
local function gauge(fn)
  local running, most = 0, 0
  local function measured(...)
    running = running + 1
    most = math.max(most, running)
    local _ <close> = setmetatable({}, { __close = function() running = running - 1 end })
    return fn(...)
  end
  return measured, function() return most, running end
end

local function square(x) return x * x end

-- All results of an iterator: the first value of each.
local function collect(...)
  local list = {}
  for value in ... do list[#list + 1] = value end
  return list
end

local function code_of(err) return type(err) ~= "string" and err.code or nil end

describe("a pool", function()
  it("runs no more threads at once than its size", function()
    local pool = fern.pool(3)
    local work, most = gauge(nap)
    for i = 1, 10 do pool:spawn(work, i) end
    assert.equal(true, pool:waitall())
    assert.equal(3, (most()))
    assert.equal(0, pool:running())
    assert.equal(3, pool:free())
  end)

  it("gives arguments in and results out, as fern.spawn", function()
    local pool = fern.pool()
    local thread = pool:spawn(function(...) return select("#", ...), ... end, nil, 2, nil)
    assert.same({ 3, nil, 2, nil, n = 4 }, table.pack(thread:wait()))
    assert.equal("done", thread:status())
  end)

  it("passes an error on to whoever waits, unchanged", function()
    local pool, err = fern.pool(1), {}
    local thread = pool:spawn(function() error(err) end)
    local ok, got = thread:join()
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal(1, pool:free())
  end)

  it("makes spawners wait in order while it is full", function()
    local pool, order = fern.pool(1), {}
    local gate = fern.pool(0)
    pool:spawn(function() gate:spawn(function() end) end)
    local spawners = {}
    for i = 1, 4 do
      spawners[i] = fern.spawn(function()
        pool:spawn(function() order[#order + 1] = i end)
      end)
    end
    let_run()
    assert.equal(4, pool:waiting())
    assert.equal(1, pool:running())
    assert.equal(0, pool:free())
    gate:resize(1)
    for _, spawner in ipairs(spawners) do spawner:wait() end
    pool:waitall()
    assert.same({ 1, 2, 3, 4 }, order)
  end)

  it("of size 0 holds spawners until it is resized", function()
    local pool, ran = fern.pool(0), false
    local spawner = fern.spawn(function() pool:spawn(function() ran = true end) end)
    fern.sleep(0.002)
    assert.equal(1, pool:waiting())
    assert.equal(0, pool:free())
    pool:resize(1)
    spawner:wait()
    pool:waitall()
    assert.is_true(ran)
  end)

  it("wakes as many spawners as fit when it grows, and lets running ones go on when it shrinks", function()
    local pool = fern.pool(1)
    local hold, stop = true, {}
    local function work()
      while hold do fern.sleep(0.001) end
    end
    for i = 1, 6 do stop[i] = fern.spawn(function() return pool:spawn(work):wait() end) end
    let_run()
    assert.equal(1, pool:running())
    pool:resize(4)
    let_run()
    assert.equal(4, pool:running())
    assert.equal(2, pool:waiting())
    pool:resize(2)
    assert.equal(4, pool:running())
    assert.equal(0, pool:free())
    hold = false
    for _, thread in ipairs(stop) do thread:wait() end
    assert.equal(2, pool:free())
  end)

  it("never runs more than its size while it grows and shrinks under load", function()
    local pool = fern.pool(3)
    local running, too_many, order = 0, 0, {}
    local function work(i)
      order[#order + 1] = i
      running = running + 1
      fern.sleep(0.0002 * (i % 4))
      running = running - 1
    end
    local spawners = {}
    for i = 1, 200 do
      spawners[i] = fern.spawn(function()
        pool:spawn(work, i)
        if pool:running() > 8 then too_many = too_many + 1 end
      end)
    end
    for _, size in ipairs { 8, 1, 5, 0, 2, 0, 8, 1, 4 } do
      local before = pool:running()
      pool:resize(size)
      assert.is_true(pool:running() <= math.max(before, size))
      fern.sleep(0.001)
      assert.is_true(pool:running() <= math.max(before, size))
      assert.is_true(pool:free() == math.max(0, size - pool:running()))
    end
    for _, spawner in ipairs(spawners) do spawner:wait() end
    assert.equal(true, pool:waitall(10))
    assert.same(numbers(200), order)
    assert.equal(0, too_many)
    assert.equal(0, running)
    assert.equal(4, pool:free())
  end)

  it("begins nothing after it shrank until fewer run than its new size", function()
    local pool, gates, begun = fern.pool(3), {}, {}
    local function work(i)
      begun[#begun + 1] = i
      gates[i]:wait()
    end
    local function gate() return fern.spawn(fern.sleep, 100) end
    for i = 1, 5 do gates[i] = gate() end
    for i = 1, 5 do fern.spawn(function() pool:spawn(function() pcall(work, i) end) end) end
    let_run()
    pool:resize(1)
    gates[1]:kill()
    let_run()
    gates[2]:kill()
    let_run()
    assert.same({ 1, 2, 3 }, begun)
    assert.equal(1, pool:running())
    gates[3]:kill()
    let_run()
    assert.same({ 1, 2, 3, 4 }, begun)
    gates[4]:kill()
    gates[5]:kill()
    assert.equal(true, pool:waitall(10))
  end)

  it("gives slots back whichever way its threads end", function()
    local pool = fern.pool(3)
    local fails = pool:spawn(error, "no")
    local killed = pool:spawn(fern.sleep, 100)
    local unbegun
    let_run()
    unbegun = pool:spawn(fern.sleep, 100)
    killed:kill()
    unbegun:kill()
    assert.is_false((fails:join()))
    assert.is_false((killed:join()))
    assert.is_false((unbegun:join()))
    assert.equal(3, pool:free())
  end)

  it("forgets a spawner that is killed or out of time while it waits", function()
    local pool = fern.pool(0)
    local killed = fern.spawn(pool.spawn, pool, print)
    let_run()
    assert.equal(1, pool:waiting())
    killed:kill()
    assert.equal(0, pool:waiting())
    assert.is_false((killed:join()))
    local ok, message, code = fern.timeout(0.002, pool.spawn, pool, print)
    assert.is_nil(ok)
    assert.equal("timeout", message)
    assert.equal("ETIMEDOUT", code)
    assert.equal(0, pool:waiting())
    pool:resize(1)
    assert.equal(1, pool:free())
  end)

  it("waits in waitall also for those who wait for a slot", function()
    local pool, count = fern.pool(1), 0
    for _ = 1, 3 do
      fern.spawn(function() pool:spawn(function() nap() count = count + 1 end) end)
    end
    let_run()
    assert.equal(true, pool:waitall())
    assert.equal(3, count)
  end)

  it("says timeout when waitall takes too long", function()
    local pool = fern.pool(1)
    local thread = pool:spawn(fern.sleep, 100)
    local ok, message, code = pool:waitall(0.002)
    assert.is_nil(ok)
    assert.equal("timeout", message)
    assert.equal("ETIMEDOUT", code)
    assert.is_nil((pool:waitall(0)))
    thread:kill()
    assert.equal(true, pool:waitall(10))
  end)

  it("says so when one of its own threads waits for all", function()
    local pool = fern.pool(1)
    local ok, message, code = pool:spawn(function() return pool:waitall() end):wait()
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal("EDEADLK", code)
  end)

  it("goes on when it is dropped while threads run", function()
    local done = 0
    do
      local pool = fern.pool(2)
      for _ = 1, 2 do pool:spawn(function() nap() done = done + 1 end) end
    end
    collectgarbage()
    collectgarbage()
    fern.waitall()
    assert.equal(2, done)
  end)

  it("refuses sizes that are none", function()
    for _, size in ipairs { -1, 0 / 0, 1.5, "many", {} } do
      assert.has_error(function() fern.pool(size) end)
      assert.has_error(function() fern.pool(1):resize(size) end)
    end
    assert.has_error(function() fern.pool(1):resize() end)
    assert.has_error(function() fern.pool(1):spawn(42) end)
    assert.has_error(function() fern.pool.spawn({}, print) end)
  end)

  it("costs nothing for a size of 1e9", function()
    local pool = fern.pool(1e9)
    pool:spawn(nap)
    assert.equal(999999999, pool:free())
    pool:waitall()
    assert.equal(math.huge, tonumber("inf") or math.huge)
    assert.is_true(fern.pool(math.huge):free() > 1e9)
  end)

  it("tells about itself", function()
    local pool = fern.pool(2)
    assert.equal("fern.pool (0 of 2 running, 0 waiting)", tostring(pool))
    assert.equal("fern.pool", getmetatable(pool).__name)
  end)
end)

describe("a spawn by a worker into its own full pool", function()
  it("runs at once on the worker's thread", function()
    local pool, order = fern.pool(1), {}
    pool:spawn(function()
      local inner = pool:spawn(function(...)
        order[#order + 1] = fern.current()
        fern.sleep(0)
        return ...
      end, 1, 2)
      order[#order + 1] = fern.current()
      assert.equal("done", inner:status())
      assert.same({ 1, 2 }, { inner:wait() })
    end):wait()
    assert.equal(order[1], order[2])
  end)

  it("keeps the inner function's error for whoever waits", function()
    local pool = fern.pool(1)
    local ok, err = pool:spawn(function()
      local inner = pool:spawn(error, "inner", 0)
      assert.equal("failed", inner:status())
      return inner:join()
    end):wait()
    assert.is_false(ok)
    assert.equal("inner", err)
  end)

  it("keeps the inner function's traceback with its error", function()
    local pool = fern.pool(1)
    local function culprit() error("inner") end
    local inner, innermost
    local outer = pool:spawn(function()
      inner = pool:spawn(function()
        innermost = pool:spawn(function() culprit() end)
        error("middle")
      end)
      fern.sleep(100)
    end)
    let_run()
    assert.matches("culprit", innermost:traceback(), 1, true)
    assert.not_matches("culprit", inner:traceback(), 1, true)
    outer:kill()
    outer:join()
    assert.is_nil(outer:traceback())
  end)

  it("lets a kill and a time limit of the worker through", function()
    local pool, went_on = fern.pool(1), false
    local thread = pool:spawn(function()
      pool:spawn(fern.sleep, 100)
      went_on = true
    end)
    let_run()
    thread:kill("enough")
    local ok, err = thread:join()
    assert.is_false(ok)
    assert.is_true(fern.is_killed(err))
    assert.is_false(went_on)
    assert.equal(1, pool:free())

    local result = table.pack(pool:spawn(function()
      return fern.timeout(0.002, function()
        pool:spawn(fern.sleep, 100)
        went_on = true
      end)
    end):wait())
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, result)
    assert.is_false(went_on)
  end)

  it("nests", function()
    local pool = fern.pool(1)
    local function down(n)
      return n == 0 and "bottom" or pool:spawn(down, n - 1):wait()
    end
    assert.equal("bottom", pool:spawn(down, 20):wait())
  end)
end)

describe("imap", function()
  it("gives results in the order of the input", function()
    local function work(x)
      fern.sleep(0.0005 * (7 - x % 7))
      return x * x
    end
    local expected = {}
    for i = 1, 40 do expected[i] = i * i end
    assert.same(expected, collect(fern.pool(5):imap(work, numbers(40))))
  end)

  it("gives all values of a result", function()
    local got = {}
    for a, b, c in fern.pool(2):imap(function(x) return x, nil, x + 1 end, { 10, 20 }) do
      got[#got + 1] = { a, b, c }
    end
    assert.same({ { 10, nil, 11 }, { 20, nil, 21 } }, got)
  end)

  it("takes several arrays, to the end of the shortest", function()
    local function add(a, b) return a + b end
    assert.same({ 11, 22 }, collect(fern.pool(2):imap(add, { 1, 2, 3 }, { 10, 20 })))
    assert.same({}, collect(fern.pool(2):imap(add, {}, { 10, 20 })))
  end)

  it("takes what a generic for takes", function()
    local pool = fern.pool(3)
    local seen = {}
    for k, v in pool:imap(function(k, v) return k, v end, pairs { a = 1, b = 2 }) do seen[k] = v end
    assert.same({ a = 1, b = 2 }, seen)
    assert.same({ 1, 2, 3 }, collect(pool:imap(function(i) return i end, ipairs { "x", "y", "z" })))
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("one\ntwo\nthree\n")
    file:close()
    assert.same({ "ONE", "TWO", "THREE" }, collect(pool:imap(string.upper, io.lines(path))))
    os.remove(path)
    local wrapped = coroutine.wrap(function()
      for i = 1, 3 do coroutine.yield(i, i) end
    end)
    assert.same({ 1, 4, 9 }, collect(pool:imap(function(a, b) return a * b end, wrapped)))
  end)

  it("takes objects that can be called, as function and as input", function()
    local callable = setmetatable({}, { __call = function(_, x) return x and -x end })
    assert.same({ -1, -2 }, collect(fern.pool(1):imap(callable, { 1, 2 })))
    local left = 3
    local countdown = setmetatable({}, { __call = function()
      left = left - 1
      return left >= 0 and left or nil
    end })
    assert.same({ 4, 1, 0 }, collect(fern.pool(1):imap(square, countdown)))
  end)

  it("begins nothing before it is asked for a result", function()
    local calls = 0
    local next_item, _, _, closing = fern.pool(2):imap(function() calls = calls + 1 return 1 end, { 1, 2 })
    fern.sleep(0.002)
    assert.equal(0, calls)
    assert.equal(1, next_item())
    local _ <close> = closing
  end)

  it("is never more than the pool's size ahead of its consumer", function()
    local started, taken = 0, 0
    local pool = fern.pool(3)
    for _ in pool:imap(function() started = started + 1 return true end, numbers(20)) do
      taken = taken + 1
      fern.sleep(0)
      fern.sleep(0)
      assert.is_true(started <= taken + 3)
    end
    assert.equal(20, started)
  end)

  it("pulls its input no faster than it starts items", function()
    local pulled, taken = 0, 0
    local function input()
      pulled = pulled + 1
      return pulled <= 20 and pulled or nil
    end
    for _ in fern.pool(3):imap(nap, input) do
      taken = taken + 1
      assert.is_true(pulled <= taken + 4)
    end
  end)

  it("gives each item a slot only while it runs", function()
    local pool = fern.pool(4)
    local next_item, _, _, closing = pool:imap(square, numbers(9))
    local _ <close> = closing
    assert.equal(1, next_item())
    fern.sleep(0.001)
    assert.equal(0, pool:running())
    assert.equal(true, pool:waitall(10))
    assert.equal(true, fern.waitall(10))
    assert.equal(4, next_item())
  end)

  it("shares the pool's slots with spawn and with other maps", function()
    local pool = fern.pool(3)
    local work, most = gauge(nap)
    local threads = {}
    for i = 1, 4 do
      threads[i] = fern.spawn(function() return #collect(pool:imap(work, numbers(10))) end)
    end
    for i = 1, 5 do pool:spawn(work, i) end
    for _, thread in ipairs(threads) do assert.equal(10, thread:wait()) end
    pool:waitall()
    assert.equal(3, (most()))
  end)

  it("follows a resize", function()
    local pool = fern.pool(1)
    local work, most = gauge(nap)
    local count = 0
    for _ in pool:imap(work, numbers(20)) do
      count = count + 1
      if count == 5 then
        assert.equal(1, (most()))
        pool:resize(4)
      end
    end
    assert.equal(4, (most()))
  end)

  it("raises an item's error at its position, unchanged, and goes on by hand", function()
    local err = { "the very one" }
    local next_item = fern.pool(2):imap(function(x)
      if x == 3 then error(err) end
      return x
    end, numbers(5))
    assert.equal(1, next_item())
    assert.equal(2, next_item())
    local ok, got = pcall(next_item)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal(4, next_item())
    assert.equal(5, next_item())
    assert.is_nil(next_item())
    assert.is_nil(next_item())
  end)

  it("does not report an error that its consumer will be told", function()
    local function work(x) return x == 2 and error("two", 0) or x end
    local function input(_, i) return i and error("input", 0) or 1 end
    local next_item = fern.pool(3):imap(work, { 1, 2, 3 })
    local next_other = fern.pool(3):imap_unordered(work, input)
    assert.equal(1, next_item())
    assert.equal(1, next_other())
    fern.sleep(1.2)                     -- longer than errors wait to be asked for
    assert.error_matches(next_item, "^two$")
    assert.equal(3, next_item())
    assert.is_nil(next_item())
    assert.error_matches(next_other, "^input$")
  end)

  it("raises when a result is nil first, with its position", function()
    local next_item = fern.pool(2):imap(function(x) if x ~= 2 then return x end end, numbers(3))
    assert.equal(1, next_item())
    assert.has_error(next_item, "item 2 returned nil first, which would end the loop")
    assert.equal(3, next_item())
    assert.is_nil(next_item())
  end)

  it("says why a result is nil first, if that is a failure", function()
    local next_item = fern.pool(1):imap(function() return nil, "100% full", "ENOSPC" end, { 1 })
    assert.has_error(next_item, "item 1 returned nil first, which would end the loop: 100% full")
  end)

  it("passes false on as any value", function()
    assert.same({ false, false }, collect(fern.pool(2):imap(function() return false end, { 1, 2 })))
  end)

  it("raises an error of its input after the results before it, unchanged", function()
    local err = { "input" }
    local function input(_, i)
      i = i + 1
      if i == 4 then error(err) end
      return i
    end
    local next_item = fern.pool(9):imap(nap, input, nil, 0)
    for i = 1, 3 do assert.equal(i, next_item()) end
    local ok, got = pcall(next_item)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.is_nil(next_item())
  end)

  it("gives results while its input keeps it waiting", function()
    local produced = 0
    local function input()
      produced = produced + 1
      if produced > 2 then fern.sleep(100) end
      return produced
    end
    local got = {}
    for x in fern.pool(5):imap(square, input) do
      got[#got + 1] = x
      if #got == 2 then break end
    end
    assert.same({ 1, 4 }, got)
  end)

  it("takes no more input and kills what is in flight when its loop is left", function()
    local pool, closed, pulled = fern.pool(3), 0, 0
    local function work(x)
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      fern.sleep(x <= 2 and 0.001 or 100)
      return x
    end
    local function input()
      pulled = pulled + 1
      return pulled
    end
    for x in pool:imap(work, input) do
      if x == 2 then break end
    end
    local seen = pulled
    assert.equal(true, pool:waitall(10))
    assert.is_true(seen <= 6)
    assert.equal(seen, pulled)
    assert.is_true(closed >= 3 and closed <= pulled)
  end)

  it("kills what is in flight when its loop is left by an error or a kill", function()
    local pool = fern.pool(2)
    local function loop()
      for _ in pool:imap(function(x) fern.sleep(x == 1 and 0 or 100) return x end, numbers(9)) do
        error("out")
      end
    end
    assert.has_error(loop)
    assert.equal(true, pool:waitall(10))
    local thread = fern.spawn(function()
      for _ in pool:imap(fern.sleep, { 100, 100 }) do error("not reached") end
    end)
    fern.sleep(0.001)
    assert.equal(2, pool:running())
    thread:kill()
    assert.is_false((thread:join()))
    assert.equal(true, pool:waitall(10))
  end)

  it("is left when nobody has it any more", function()
    local pool = fern.pool(2)
    do
      local next_item = pool:imap(function(x) fern.sleep(x == 1 and 0 or 100) return x end, numbers(9))
      assert.equal(1, next_item())
    end
    assert.equal(1, pool:running())
    collectgarbage()
    collectgarbage()
    assert.equal(true, pool:waitall(10))
  end)

  it("closes the closing value of its input once, however it ends", function()
    local function input(limit)
      local state = { closed = 0, i = 0 }
      local closing = setmetatable({}, { __close = function() state.closed = state.closed + 1 end })
      return state, function()
        state.i = state.i + 1
        if state.wait == state.i then fern.sleep(100) end
        return state.i <= limit and state.i or nil
      end, nil, nil, closing
    end
    local pool = fern.pool(2)
    local function run(state, leave_at, ...)
      for x in pool:imap(square, ...) do
        if x == leave_at then break end
      end
      fern.sleep(0)
      pool:waitall()
      return state.closed
    end
    local state, a, b, c, d = input(5)
    assert.equal(1, run(state, nil, a, b, c, d))
    state, a, b, c, d = input(5)
    assert.equal(1, run(state, 1, a, b, c, d))
    -- While the input's function is being called, it is closed once that has
    -- been unwound.
    state, a, b, c, d = input(5)
    state.wait = 3
    assert.equal(1, run(state, 4, a, b, c, d))
  end)

  it("can be left to its consumers by several threads", function()
    local next_item = fern.pool(4):imap(nap, numbers(30))
    local sums, threads = 0, {}
    for i = 1, 5 do
      threads[i] = fern.spawn(function()
        for x in next_item do sums = sums + x end
      end)
    end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.equal(465, sums)
  end)

  it("does not deadlock inside the threads of its own full pool", function()
    local pool = fern.pool(2)
    local function tree(depth)
      if depth == 0 then
        fern.sleep(0)
        return 1
      end
      local sum = 0
      for n in pool:imap(tree, { depth - 1, depth - 1, depth - 1 }) do sum = sum + n end
      return sum
    end
    local totals = collect(pool:imap(tree, { 4, 4 }))
    assert.same({ 81, 81 }, totals)
    assert.equal(2, pool:free())
  end)

  it("follows a pool that shrinks under it", function()
    local pool = fern.pool(4)
    local work, most = gauge(nap)
    local count = 0
    for _ in pool:imap(work, numbers(30)) do
      count = count + 1
      if count == 10 then
        assert.equal(4, (most()))
        pool:resize(1)
      end
      if count > 16 then assert.is_true(pool:running() <= 1) end
    end
    assert.equal(30, count)
  end)

  it("works in a pool that others keep full for a while", function()
    local pool = fern.pool(2)
    pool:spawn(fern.sleep, 0.003)
    pool:spawn(fern.sleep, 0.003)
    assert.same({ 1, 4, 9 }, collect(pool:imap(square, numbers(3))))
  end)

  it("obeys a time limit around it, and can be asked again after it", function()
    local next_item = fern.pool(1):imap(function() fern.sleep(0.02) return "late" end, { 1 })
    local ok, message = fern.timeout(0.002, next_item)
    assert.is_nil(ok)
    assert.equal("timeout", message)
    assert.equal("late", next_item())
    assert.is_nil(next_item())
  end)

  it("leaves nothing of an item to the next one on the same thread", function()
    local seen = {}
    for x in fern.pool(1):imap(function(x)
      local self = fern.current()
      seen[#seen + 1] = self.locals.mine or self:name() or "nothing"
      self.locals.mine = x
      self:name("item " .. x)
      fern.deadline(0.001)        -- never closed
      return x
    end, numbers(5)) do
      fern.sleep(0.002)
      assert.equal(x, x)
    end
    assert.same({ "nothing", "nothing", "nothing", "nothing", "nothing" }, seen)
  end)

  it("tells the end of an item's thread to whoever linked to it", function()
    local ended = 0
    for _ in fern.pool(2):imap(function(x)
      fern.current():link(function() ended = ended + 1 end)
      return x
    end, numbers(4)) do end
    fern.waitall()
    assert.equal(4, ended)
  end)

  it("makes clear what is wrong with its arguments", function()
    local pool = fern.pool(1)
    for _, bad in ipairs { 42, "text", true } do
      assert.has_error(function() pool:imap(print, bad) end)
      assert.has_error(function() pool:imap(bad, {}) end)
      assert.has_error(function() pool:imap(print, {}, bad) end)
    end
    assert.has_error(function() pool:imap(print) end)
    assert.error_matches(function() pool:imap(print, 42) end,
      "^bad argument #2 to 'imap' %(array or iterator function expected, got number%)$")
    assert.has_error(function() pool:imap() end)
    assert.has_error(function() pool:imap(print, {}, pairs) end)
    assert.has_error(function() pool:imap(print, next, {}, nil, 42) end)
  end)

  it("survives 10,000 items with the collector at work", function()
    local pool = fern.pool(50)
    local sum = 0
    for x, text in pool:imap(function(x)
      if x % 7 == 0 then fern.sleep(0) end
      if x % 1000 == 0 then collectgarbage() end
      return x, ("%d"):format(x):rep(3)
    end, numbers(10000)) do
      assert(text == ("%d"):format(x):rep(3))
      sum = sum + x
    end
    assert.equal(50005000, sum)
  end)

  it("moves many arguments and results", function()
    local wide = {}
    for i = 1, 200 do wide[i] = i end
    local function input(done) if not done.once then done.once = true return table.unpack(wide) end end
    for a, b in fern.pool(1):imap(function(...) return select("#", ...), select(-1, ...) end, input, {}) do
      assert.same({ 200, 200 }, { a, b })
    end
    for _, last in fern.pool(1):imap(function() return 1, select(-1, table.unpack(wide)) end, { 1 }) do
      assert.equal(200, last)
    end
    local count = 0
    for value in fern.pool(1):imap(function() return table.unpack(wide) end, { 1 }) do
      count = count + value
    end
    assert.equal(1, count)
  end)
end)

describe("imap_unordered", function()
  it("gives results as they come", function()
    local turn = 5
    local got = collect(fern.pool(5):imap_unordered(function(x)
      while turn ~= x do fern.sleep(0) end
      turn = turn - 1
      return x
    end, numbers(5)))
    assert.same({ 5, 4, 3, 2, 1 }, got)
  end)

  it("gives every result once, errors among them", function()
    local next_item = fern.pool(3):imap_unordered(function(x)
      fern.sleep(0.001 * (x % 3))
      return x ~= 5 and x or error("five", 0)
    end, numbers(9))
    local sum, errors = 0, 0
    while true do
      local ok, x = pcall(next_item)
      if ok and not x then break end
      if ok then sum = sum + x else errors = errors + (x == "five" and 1 or 0) end
    end
    assert.equal(40, sum)
    assert.equal(1, errors)
  end)

  it("raises when a result is nil first, with the item's position", function()
    local next_item = fern.pool(1):imap_unordered(function(x) if x ~= 2 then return x end end, numbers(2))
    assert.equal(1, next_item())
    assert.has_error(next_item, "item 2 returned nil first, which would end the loop")
    assert.is_nil(next_item())
  end)
end)

describe("starmap", function()
  local function list(...) return select("#", ...), ... end

  it("spreads each array of an array over the arguments, results in order", function()
    local function add(a, b)
      fern.sleep(0.001 * (4 - a))
      return a + b
    end
    assert.same({ 11, 22, 33 }, collect(fern.pool(3):starmap(add, { { 1, 10 }, { 2, 20 }, { 3, 30 } })))
    assert.same({}, collect(fern.pool(3):starmap(add, {})))
    assert.same({ 0, 2 }, collect(fern.pool(1):starmap(list, { {}, { "a", "b" } })))
  end)

  it("spreads what an iterator gives", function()
    local function pairs_of(state, i)
      if i and i[1] == state then return nil end
      local n = i and i[1] + 1 or 1
      return { n, n * n }
    end
    local got = {}
    for n, a, b in fern.pool(2):starmap(list, pairs_of, 3) do got[#got + 1] = { n, a, b } end
    assert.same({ { 2, 1, 1 }, { 2, 2, 4 }, { 2, 3, 9 } }, got)
  end)

  it("keeps nils of what table.pack packed", function()
    local input = { table.pack(nil, 1, nil), { n = "no count", 1 }, { n = -1, 7 } }
    local got = {}
    for n, a, b, c in fern.pool(2):starmap(list, input) do got[#got + 1] = table.pack(n, a, b, c) end
    assert.same({ 3, nil, 1, nil, n = 4 }, got[1])
    assert.same({ 1, 1, nil, nil, n = 4 }, got[2])
    assert.same({ 1, 7, nil, nil, n = 4 }, got[3])
  end)

  it("raises for an item that is no array after the results before it", function()
    local next_item = fern.pool(2):starmap(list, { { 1 }, 42, { 3 } })
    assert.same({ 1, 1 }, { next_item() })
    assert.error_matches(next_item, "item 2 is no array of arguments, but a number$")
    assert.is_nil(next_item())
    next_item = fern.pool(1):starmap(list, { { n = 1000000000 } })
    assert.error_matches(next_item, "too many arguments$")
  end)

  it("makes clear what is wrong with its arguments", function()
    local pool = fern.pool(1)
    assert.error_matches(function() pool:starmap(print, {}, {}) end,
      "^bad argument #3 to 'starmap' %(one array of arrays expected%)$")
    assert.error_matches(function() pool:starmap(print, 42) end,
      "^bad argument #2 to 'starmap' %(array or iterator function expected, got number%)$")
    assert.has_error(function() pool:starmap(42, {}) end)
  end)

  it("kills what is in flight when its loop is left", function()
    local pool = fern.pool(3)
    for x in pool:starmap(function(x, seconds) fern.sleep(seconds) return x end,
                          { { 1, 0 }, { 2, 100 }, { 3, 100 } }) do
      if x == 1 then break end
    end
    assert.equal(true, pool:waitall(10))
  end)
end)

describe("map", function()
  it("gives an array of first results", function()
    local got = fern.pool(4):map(function(x)
      fern.sleep(0.0005 * (5 - x % 5))
      return x * x, "second"
    end, numbers(12))
    local expected = {}
    for i = 1, 12 do expected[i] = i * i end
    assert.same(expected, got)
    assert.same({}, fern.pool(4):map(square, {}))
    assert.same({ 5, nil, 7 }, fern.pool(2):map(function(x) if x ~= 6 then return x end end, { 5, 6, 7 }))
    assert.same({ 3, 7 }, fern.pool(2):map(function(a, b) return a + b end, { 1, 3 }, { 2, 4 }))
  end)

  it("raises the first error and kills the rest", function()
    local pool, killed = fern.pool(3), 0
    local function work(x)
      local _ <close> = setmetatable({}, { __close = function(_, err)
        if fern.is_killed(err) then killed = killed + 1 end
      end })
      if x == 3 then
        fern.sleep(0.001)
        error("third", 0)
      end
      fern.sleep(100)
    end
    local ok, err = pcall(pool.map, pool, work, numbers(9))
    assert.is_false(ok)
    assert.equal("third", err)
    assert.equal(true, pool:waitall(10))
    assert.equal(2, killed)
  end)

  it("kills the rest when its caller is killed", function()
    local pool = fern.pool(3)
    local thread = fern.spawn(pool.map, pool, fern.sleep, { 100, 100, 100, 100 })
    fern.sleep(0.001)
    assert.equal(3, pool:running())
    thread:kill()
    local ok, err = thread:join()
    assert.is_false(ok)
    assert.equal("ECANCELED", code_of(err))
    assert.equal(true, pool:waitall(10))
  end)
end)

describe("at a script's end", function()
  it("maps that were never finished are unwound with everything else", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local pool = fern.pool(3)
      local function work(x)
        local _ <close> = setmetatable({}, { __close = function() print("closed", x) end })
        if x > 1 then fern.sleep(100) end
        return x
      end
      next_item = pool:imap(work, { 1, 2, 3, 4 })
      print(next_item())
    ]])
    assert.equal("closed\t1\n1\nclosed\t2\nclosed\t3\n", output)
    assert.equal(0, code)
  end)
end)

-- SPDX-License-Identifier: MIT
-- fern.executor: submit, map, shutdown.
local fern = require "fern"
local script = require "spec.support.script"
local support = require "spec.support.threads"

local let_run, nap, numbers = support.let_run, support.nap, support.numbers

describe("an executor", function()
  it("runs no more functions at once than it has workers, in order", function()
    local executor <close> = fern.executor { max_workers = 3 }
    local running, most, order, futures = 0, 0, {}, {}
    for i = 1, 12 do
      futures[i] = executor:submit(function()
        running = running + 1
        most = math.max(most, running)
        order[#order + 1] = i
        fern.sleep(0.001)
        running = running - 1
        return i * i
      end)
    end
    assert.equal("fern.executor (3 of 3 running, 9 in the backlog)", tostring(executor))
    for i, future in ipairs(futures) do assert.equal(i * i, future:result()) end
    assert.equal(3, most)
    assert.same(numbers(12), order)
  end)

  it("never waits in submit", function()
    local executor <close> = fern.executor { max_workers = 1 }
    local futures = {}
    for i = 1, 1000 do futures[i] = executor:submit(nap, i) end
    assert.is_false(futures[1]:running())
    for i = 3, 1000 do futures[i]:cancel() end
    assert.equal(2, futures[2]:result())
  end)

  it("goes on after errors and kills", function()
    local executor <close> = fern.executor { max_workers = 1 }
    local failed = executor:submit(error, "no", 0)
    local killed = executor:submit(function()
      fern.current():kill()
      fern.sleep(0)
    end)
    local fine = executor:submit(nap, "fine")
    assert.same({ false, "no" }, { failed:join() })
    assert.is_false((killed:join()))
    assert.equal("fine", fine:result())
  end)

  it("lets a function submit more, even with one worker", function()
    local executor <close> = fern.executor { max_workers = 1 }
    local function down(n) return n == 0 and "bottom" or executor:submit(down, n - 1) end
    local future = executor:submit(down, 5)
    for _ = 1, 5 do future = future:result() end
    assert.equal("bottom", future:result())
  end)

  it("lets other threads run between the functions of a long backlog", function()
    local executor <close> = fern.executor { max_workers = 1 }
    local ran, beats = 0, 0
    for _ = 1, 50 do executor:submit(function() ran = ran + 1 end) end
    while ran < 50 do
      beats = beats + 1
      fern.sleep(0)
    end
    assert.is_true(beats >= 25)
  end)

  it("goes on when it is dropped with work to do", function()
    local done = 0
    do
      local executor = fern.executor { max_workers = 2 }
      for _ = 1, 6 do executor:submit(function() nap() done = done + 1 end) end
    end
    collectgarbage()
    collectgarbage()
    fern.waitall()
    assert.equal(6, done)
  end)

  it("counts for nothing once its work is done", function()
    local executor = fern.executor()
    for i = 1, 20 do executor:submit(nap, i) end
    assert.equal(true, fern.waitall(10))
    assert.equal("fern.executor (0 of 1000 running, 0 in the backlog)", tostring(executor))
  end)

  it("gives the debug hook of who submits to all of its workers", function()
    -- A process of its own: workers that linger keep the hook they came with.
    local output = script.run_text("", [[
      local fern = require "fern"
      debug.sethook(function() end, "l")
      local executor, futures, hooked = fern.executor(), {}, 0
      for i = 1, 300 do
        futures[i] = executor:submit(function()
          if debug.gethook() then hooked = hooked + 1 end
          fern.sleep(0.01)
        end)
      end
      for i = 1, 300 do futures[i]:result() end
      print(hooked)
    ]])
    assert.equal("300\n", output)
  end)

  it("refuses bad settings", function()
    for _, bad in ipairs { 0, -1, 0 / 0, 1.5, "many", false } do
      assert.has_error(function() fern.executor { max_workers = bad } end)
    end
    assert.has_error(function() fern.executor { max_worker = 1 } end)
    assert.has_error(function() fern.executor { [1] = 1 } end)
    assert.has_error(function() fern.executor(5) end)
    assert.error_matches(function() fern.executor { max_workers = "many" } end,
      "^bad option 'max_workers' %(a count of 1 or more expected%)$")
    local executor <close> = fern.executor { max_workers = 1e9 }
    assert.has_error(function() executor:submit(42) end)
    assert.has_error(function() executor:submit() end)
    assert.has_error(function() executor.submit({}, print) end)
    assert.equal(1, executor:submit(nap, 1):result())
  end)
end)

describe("shutdown", function()
  it("waits for all work, and refuses more", function()
    local executor, done = fern.executor { max_workers = 2 }, 0
    for _ = 1, 6 do executor:submit(function() nap() done = done + 1 end) end
    assert.equal(true, executor:shutdown())
    assert.equal(6, done)
    assert.has_error(function() executor:submit(nap) end, "the executor is shut down")
  end)

  it("returns at once when asked not to wait, and waits when asked again", function()
    local executor, done = fern.executor { max_workers = 1 }, 0
    for _ = 1, 3 do executor:submit(function() nap() done = done + 1 end) end
    assert.equal(true, executor:shutdown(false))
    assert.equal(0, done)
    assert.has_error(function() executor:submit(nap) end)
    assert.equal(true, executor:shutdown { wait = true })
    assert.equal(3, done)
    assert.equal(true, executor:shutdown())
  end)

  it("makes every caller wait", function()
    local executor, done = fern.executor(), false
    executor:submit(function() nap() done = true end)
    local threads = {}
    for i = 1, 3 do
      threads[i] = fern.spawn(function()
        assert.equal(true, executor:shutdown())
        return done
      end)
    end
    for _, thread in ipairs(threads) do assert.is_true(thread:wait()) end
  end)

  it("cancels what has not begun, when asked to", function()
    local executor, ran = fern.executor { max_workers = 2 }, 0
    local futures = {}
    for i = 1, 6 do futures[i] = executor:submit(function() ran = ran + 1 nap() end) end
    let_run()
    assert.equal(true, executor:shutdown { cancel_pending = true })
    assert.equal(2, ran)
    for i = 3, 6 do
      assert.is_true(futures[i]:cancelled())
      local ok, err = futures[i]:join()
      assert.is_false(ok)
      assert.equal("ECANCELED", err.code)
    end
  end)

  it("cancels also when it was shut down before", function()
    local executor = fern.executor { max_workers = 1 }
    local first, second = executor:submit(nap), executor:submit(nap)
    let_run()
    executor:shutdown(false)
    executor:shutdown { cancel_pending = true }
    assert.is_false(first:cancelled())
    assert.is_true(second:cancelled())
  end)

  it("gives up at its time limit", function()
    local executor, gate = fern.executor(), false
    local future = executor:submit(function()
      while not gate do fern.sleep(0.001) end
      return 1
    end)
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, table.pack(executor:shutdown { timeout = 0.001 }))
    gate = true
    assert.equal(1, future:result())
    assert.equal(true, executor:shutdown { timeout = 10 })
  end)

  it("says so when one of its own functions asks for it", function()
    local executor = fern.executor()
    local ok, message, code = executor:submit(function() return executor:shutdown() end):result()
    assert.is_nil(ok)
    assert.is_string(message)
    assert.equal("EDEADLK", code)
    assert.has_error(function() executor:submit(nap) end)
    assert.equal(true, executor:shutdown())
  end)

  it("is what closing does", function()
    local done = false
    do
      local executor <close> = fern.executor()
      executor:submit(function() nap() done = true end)
    end
    assert.is_true(done)
  end)

  it("refuses what it does not know", function()
    local executor <close> = fern.executor()
    assert.has_error(function() executor:shutdown("now") end)
    assert.has_error(function() executor:shutdown { cancel = true } end)
    assert.has_error(function() executor:shutdown { timeout = 0 / 0 } end)
    assert.error_matches(function() executor:shutdown { timeout = "soon" } end,
      "^bad option 'timeout' %(a number of seconds expected%)$")
    assert.equal(1, executor:submit(nap, 1):result())
  end)
end)

describe("executor:map", function()
  local executor
  before_each(function() executor = fern.executor { max_workers = 3 } end)
  after_each(function() executor:shutdown() end)

  it("submits all at once and gives results in order", function()
    local started = 0
    local got = {}
    for value, twice in executor:map(function(x)
      started = started + 1
      fern.sleep(0.0005 * (4 - x % 4))
      return x, 2 * x
    end, numbers(10)) do
      got[#got + 1] = value
      assert.equal(2 * value, twice)
    end
    assert.same(numbers(10), got)
    assert.equal(10, started)
  end)

  it("zips arrays to the shortest, and takes iterators", function()
    local got = {}
    for sum in executor:map(function(a, b) return a + b end, { 1, 2, 3 }, { 10, 20 }) do got[#got + 1] = sum end
    assert.same({ 11, 22 }, got)
    got = {}
    for k, v in executor:map(function(k, v) return k, v end, pairs { a = 1, b = 2 }) do got[k] = v end
    assert.same({ a = 1, b = 2 }, got)
    for _ in executor:map(nap, {}) do error("not reached") end
  end)

  it("raises an error at its position and goes on by hand", function()
    local next_item = executor:map(function(x) return x ~= 2 and nap(x) or error("two", 0) end, numbers(3))
    assert.equal(1, next_item())
    assert.has_error(next_item, "two")
    assert.equal(3, next_item())
    assert.is_nil(next_item())
  end)

  it("raises when a result is nil first", function()
    local next_item = executor:map(function(x) if x ~= 2 then return x end end, numbers(3))
    assert.equal(1, next_item())
    assert.has_error(next_item, "item 2 returned nil first, which would end the loop")
    assert.equal(3, next_item())
  end)

  it("says why a result is nil first, if that is a failure", function()
    local next_item = executor:map(function() return nil, "100% full", "ENOSPC" end, numbers(1))
    assert.has_error(next_item, "item 1 returned nil first, which would end the loop: 100% full")
  end)

  it("raises the timeout of its own limit, counted from the call", function()
    local next_item, _, _, closing = executor:map({ timeout = 0.005 }, fern.sleep, { 0, 100 })
    local ok, err = pcall(next_item)
    assert.is_false(ok)         -- sleep returns nothing
    assert.truthy(tostring(err):find("nil first"))
    ok, err = pcall(next_item)
    assert.is_false(ok)
    assert.is_true(fern.is_timeout(err))
    local _ <close> = closing
  end)

  it("cancels and kills the rest when its loop is left", function()
    local closed, ran = 0, 0
    for x in executor:map(function(x)
      ran = ran + 1
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      if x > 2 then fern.sleep(100) end
      return x
    end, numbers(20)) do
      if x == 2 then break end
    end
    assert.equal(true, executor:shutdown { timeout = 10 })
    assert.equal(ran, closed)
    assert.is_true(ran <= 5)
  end)

  it("leaves nothing running when its input fails", function()
    local function input(_, i)
      if i == 3 then error("input", 0) end
      return i + 1
    end
    assert.has_error(function()
      executor:map(function() fern.sleep(100) end, input, nil, 0)
    end, "input")
    assert.equal(true, executor:shutdown { timeout = 10 })
  end)

  it("makes clear what is wrong with its arguments, and where", function()
    local function check(message, fn)
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.equal(("executor_spec.lua:%d: %s"):format(debug.getinfo(fn, "S").linedefined, message),
        err:match("executor_spec.*"))
    end
    check("bad argument #1 to 'map' (function expected, got number)", function() executor:map(42, {}) end)
    check("bad argument #2 to 'map' (array or iterator function expected, got nil)", function() executor:map(print) end)
    check("bad argument #2 to 'map' (array or iterator function expected, got number)",
      function() executor:map(print, 42) end)
    check("bad argument #3 to 'map' (array expected, got function)", function() executor:map(print, {}, print) end)
    check("bad argument #4 to 'map' (array expected, got nil)", function() executor:map(print, {}, {}, nil, {}) end)
    check("bad argument #3 to 'map' (array or iterator function expected, got nil)",
      function() executor:map({ timeout = 1 }, print) end)
    check("bad argument #1 to 'map' (unknown option 'limit')", function() executor:map({ limit = 1 }, print, {}) end)
    check("bad argument #1 to 'map' (unknown option '1')", function() executor:map({ 1 }, print) end)
    check("bad option 'timeout' (a number of seconds expected)",
      function() executor:map({ timeout = "soon" }, print, {}) end)
    executor:shutdown()
    check("the executor is shut down", function() executor:map(print, {}) end)
    check("bad argument #1 to 'map' (fern.executor expected, got function)", function() executor.map(print, {}) end)
  end)
end)

describe("at a script's end", function()
  it("an executor's functions are unwound with everything else", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      executor = fern.executor { max_workers = 2 }
      for i = 1, 2 do
        executor:submit(function()
          local _ <close> = setmetatable({}, { __close = function() print("closed", i) end })
          fern.sleep(100)
        end)
      end
      fern.sleep(0)
      print("end")
    ]])
    assert.equal("end\nclosed\t1\nclosed\t2\n", output)
    assert.equal(0, code)
  end)

  it("a forked child can end while workers wait, run and are held", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local unix = require "spec.support.unix"
      local pool, executor, futures = fern.pool(3), fern.executor { max_workers = 2 }, {}
      for i = 1, 5 do futures[i] = executor:submit(function() fern.sleep(0.01) return i end) end
      local next_item = pool:imap(function(x) fern.sleep(0) return x end, { 1, 2, 3, 4, 5 })
      next_item()
      local pid = unix.fork()
      if pid == 0 then
        assert(not pcall(futures[1].result, futures[1]))
        assert(not pcall(pool.spawn, pool, print))
        os.exit(7, true)
      end
      print(unix.wait(pid))
      for i = 1, 5 do io.write(futures[i]:result(), " ") end
      print(next_item())
      executor:shutdown()
    ]])
    assert.equal("exit\t7\n1 2 3 4 5 2\n", output)
    assert.equal(0, code)
  end)

  it("functions that never began are told of", function()
    local output = script.run_text("", [[
      local fern = require "fern"
      local executor = fern.executor { max_workers = 2 }
      for i = 1, 4 do executor:submit(print, i) end
      executor:submit(print, 5):cancel()
    ]])
    assert.truthy(output:find("^fern: 4 functions submitted to an executor never began %(it was made at .*:2%)"))
  end)
end)

-- SPDX-License-Identifier: MIT
-- fern.executor: submit, map, shutdown.
local fern = require "fern"
local script = require "spec.support.script"
local support = require "spec.support.threads"

local let_run, nap, numbers = support.let_run, support.nap, support.numbers

-- A function that waits until open() is called, and open.
local function new_gate()
  local is_open = false
  return function(...)
    while not is_open do fern.sleep(0.001) end
    return ...
  end, function() is_open = true end
end

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

  it("gives each result to one of several threads that take them", function()
    local next_item = executor:map(function(x) fern.sleep(x == 1 and 0.002 or 0) return x end, numbers(30))
    local got, threads = {}, {}
    for i = 1, 5 do
      threads[i] = fern.spawn(function()
        for x in next_item do
          got[#got + 1] = x
          if x % 3 == i % 3 then fern.sleep(0) end
        end
      end)
    end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.same(numbers(30), got)
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

  it("ends, and says where it is, when its executor is shut down while its input waits", function()
    local function input(_, i)
      fern.sleep(0.001)
      return i + 1
    end
    local thread = fern.spawn(function()
      local _ = executor:map(function() fern.sleep(100) end, input, nil, 0)
    end)
    fern.sleep(0.002)
    assert.equal(true, executor:shutdown { timeout = 10 })
    local ok, err = thread:join()
    assert.is_false(ok)
    assert.matches("executor_spec.lua:%d+: the executor is shut down$", err)
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
    check("bad argument #1 to 'map' (function or options expected, got an array)", function() executor:map({ 1 }, print) end)
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
        assert(fern.pool(1):spawn(math.max, 3, 4):wait() == 4)
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

-- ---- check_and_reject

local submission = { "submitted", "executed", "failures", "cancelled", "rejected", "running", "waiting" }

-- Some of the counts, in one line.
local function counts(executor)
  local statistics, list = executor:statistics(), {}
  for _, name in ipairs(submission) do
    if statistics[name] > 0 then list[#list + 1] = name .. " " .. statistics[name] end
  end
  return table.concat(list, ", ")
end

describe("check_and_reject", function()
  local function executor_with(check, max_workers)
    return fern.executor { max_workers = max_workers or 1, check_and_reject = check }
  end

  it("is asked only when the submission would queue, with what queues already", function()
    local asked = {}
    local executor <close> = executor_with(function(which, backlog) asked[#asked + 1] = { which, backlog } end, 2)
    for _ = 1, 5 do executor:submit(nap) end
    assert.same({ { executor, 0 }, { executor, 1 }, { executor, 2 } }, asked)
  end)

  it("is not asked because many begin at once", function()
    local executor <close> = executor_with(function() return "no" end, 1000)
    for _ = 1, 1000 do assert.is_truthy(executor:submit(nap)) end
    assert.equal("no", select(2, executor:submit(nap)))
  end)

  it("rejects by returning a message", function()
    local executor <close> = executor_with(function() return "full up" end)
    local future = executor:submit(nap, "in")
    assert.same({ nil, "full up", "EAGAIN", n = 3 }, table.pack(executor:submit(nap)))
    assert.equal("in", future:result())
    assert.equal("again", executor:submit(nap, "again"):result())
  end)

  it("rejects by raising, whatever it raises", function()
    local raised = {}
    local executor <close> = executor_with(function() error(raised[1], 0) end)
    executor:submit(nap)
    for _, value in ipairs { "text", { "table" }, 42, print } do
      raised[1] = value
      assert.same({ nil, value, "EAGAIN", n = 3 }, table.pack(executor:submit(nap)))
    end
    raised[1] = nil
    assert.same({ nil, "the submission was rejected", "EAGAIN" }, { executor:submit(nap) })
    raised[1] = false
    assert.same({ nil, "the submission was rejected", "EAGAIN" }, { executor:submit(nap) })
  end)

  it("takes with nil or false, rejects with anything else", function()
    local answer
    local executor <close> = executor_with(function() return answer end)
    executor:submit(nap)
    assert.is_truthy(executor:submit(nap))
    answer = false
    assert.is_truthy(executor:submit(nap))
    answer = true
    assert.same({ nil, "the submission was rejected", "EAGAIN" }, { executor:submit(nap) })
  end)

  it("may submit to its executor, which does not ask about that", function()
    local inner, calls = {}, 0
    local executor <close> = executor_with(function(executor)
      calls = calls + 1
      for _ = 1, 3 do inner[#inner + 1] = executor:submit(nap, "inner") end
      return "no"
    end)
    executor:submit(nap)
    assert.equal("no", select(2, executor:submit(nap)))
    assert.equal(1, calls)
    for _, future in ipairs(inner) do assert.equal("inner", future:result()) end
    assert.equal(3, #inner)
  end)

  it("may park, and others that submit meanwhile are asked about", function()
    local asked = 0
    local executor <close> = executor_with(function(_, backlog)
      asked = asked + 1
      nap()
      return backlog >= 1 and "full"
    end)
    local first = executor:submit(fern.sleep, 0.05)
    local threads = {}
    for i = 1, 3 do threads[i] = fern.spawn(function() return executor:submit(nap, i) end) end
    for i = 1, 3 do assert.equal(i, threads[i]:wait():result()) end
    assert.equal(3, asked)
    first:result()
  end)

  it("may shut the executor down", function()
    local executor
    executor = executor_with(function() executor:shutdown(false) end)
    local future = executor:submit(nap, 1)
    support.fails_with("the executor is shut down$", executor.submit, executor, nap)
    assert.equal(1, future:result())
    executor:shutdown()
  end)

  it("may wait for a shutdown", function()
    local executor
    executor = executor_with(function() executor:shutdown() end)
    local future = executor:submit(nap, 1)
    support.fails_with("the executor is shut down$", executor.submit, executor, nap)
    assert.is_true(future:done())
  end)

  it("may kill who submits: that is a kill and no rejection", function()
    local executor <close> = executor_with(function()
      fern.current():kill("enough")
      fern.sleep(100)
    end)
    executor:submit(nap)
    local submitter = fern.spawn(executor.submit, executor, nap)
    assert.equal("enough", support.killed_join(submitter).reason)
    assert.equal("submitted 1, running 1", counts(executor))
  end)

  it("may be killed while it parks, and asked again", function()
    local parks = true
    local executor <close> = executor_with(function() if parks then fern.sleep(100) end end)
    executor:submit(nap)
    local submitter = fern.spawn(executor.submit, executor, nap)
    let_run()
    submitter:kill()
    support.killed_join(submitter)
    parks = false
    assert.equal(2, executor:submit(nap, 2):result())
  end)

  it("lets an enclosing limit through", function()
    local executor <close> = executor_with(function() fern.sleep(100) end)
    executor:submit(fern.sleep, 0.01)
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 },
      table.pack(fern.timeout(0.001, executor.submit, executor, nap)))
    assert.equal(0, executor:statistics().rejected)
  end)

  it("ends a map whose input it rejects", function()
    local executor <close> = executor_with(fern.reject_when_reached(2))
    local ran = 0
    assert.has_error(function() executor:map(function() ran = ran + 1 nap() end, numbers(5)) end,
      "the backlog of 2 is not allowed to go beyond 2")
    executor:shutdown()
    assert.is_true(ran <= 1)
  end)

  it("must be a function, or something that can be called", function()
    for _, bad in ipairs { 42, "no", true, {} } do
      support.fails_with("^bad option 'check_and_reject'", fern.executor, { check_and_reject = bad })
    end
    local check = setmetatable({}, { __call = function() return "called" end })
    local executor <close> = executor_with(check)
    executor:submit(nap)
    assert.equal("called", select(2, executor:submit(nap)))
  end)

  it("keeps what it needs, and no longer than its executor", function()
    local kept = setmetatable({}, { __mode = "v" })
    do
      local upvalue = {}
      kept[1] = upvalue
      local executor = executor_with(function() return upvalue and "no" end)
      collectgarbage()
      executor:submit(nap)
      assert.equal("no", select(2, executor:submit(nap)))
      executor:shutdown()
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(kept[1])
  end)
end)

describe("reject_when_reached", function()
  it("lets so many wait and no more", function()
    local executor <close> = fern.executor { max_workers = 2, check_and_reject = fern.reject_when_reached(3) }
    for _ = 1, 5 do assert.is_truthy(executor:submit(nap)) end
    assert.same({ nil, "the backlog of 3 is not allowed to go beyond 3", "EAGAIN" }, { executor:submit(nap) })
    assert.equal("submitted 5, rejected 1, running 2, waiting 3", counts(executor))
  end)

  it("of 0 takes what a worker is there for", function()
    local executor <close> = fern.executor { max_workers = 2, check_and_reject = fern.reject_when_reached(0) }
    for _ = 1, 3 do
      local first, second = executor:submit(nap, 1), executor:submit(nap, 2)
      assert.equal("EAGAIN", select(3, executor:submit(nap)))
      assert.equal(3, first:result() + second:result())
    end
  end)

  it("takes a count", function()
    for _, bad in ipairs { -1, 1.5, 0 / 0, "3", {} } do
      support.fails_with("executor_spec.lua:%d+: bad argument #1 to 'reject_when_reached'",
        function() fern.reject_when_reached(bad) end)
    end
    support.fails_with("bad argument #1", fern.reject_when_reached)
    for _, fine in ipairs { 0, 5.0, 1e9, math.huge } do assert.is_function(fern.reject_when_reached(fine)) end
  end)
end)

-- ---- statistics

describe("executor:statistics", function()
  it("is all zeros at first: an average of nothing is 0", function()
    local executor <close> = fern.executor()
    local count = 0
    for name, value in pairs(executor:statistics()) do
      assert.equal(0, value, name)
      count = count + 1
    end
    assert.equal(13, count)
  end)

  it("counts each submission once, whatever becomes of it", function()
    local executor = fern.executor { max_workers = 1, check_and_reject = fern.reject_when_reached(4) }
    local futures = { executor:submit(nap), executor:submit(error, "no", 0),
      executor:submit(function() fern.current():kill() fern.sleep(0) end), executor:submit(nap), executor:submit(nap) }
    executor:submit(nap)
    assert.equal("submitted 5, rejected 1, running 1, waiting 4", counts(executor))
    futures[4]:cancel()
    futures[4]:cancel()
    assert.equal("submitted 5, cancelled 1, rejected 1, running 1, waiting 3", counts(executor))
    for _, future in ipairs(futures) do future:join() end
    assert.equal("submitted 5, executed 4, failures 2, cancelled 1, rejected 1", counts(executor))
    executor:shutdown()
    assert.equal("submitted 5, executed 4, failures 2, cancelled 1, rejected 1", counts(executor))
  end)

  it("tells waiting from running", function()
    local executor <close> = fern.executor { max_workers = 1 }
    local gate, open = new_gate()
    for _ = 1, 3 do executor:submit(gate) end
    for _ = 1, 2 do
      assert.equal("submitted 3, running 1, waiting 2", counts(executor))
      let_run()
    end
    open()
  end)

  it("tells the time in the queue from that of the run", function()
    local executor = fern.executor { max_workers = 1 }
    for _ = 1, 3 do executor:submit(fern.sleep, 0.02) end
    executor:shutdown()
    local statistics = executor:statistics()
    assert.is_true(statistics.run_time >= 3 * 0.0199)
    assert.is_true(statistics.max_run_time >= 0.0199)
    assert.is_true(statistics.max_run_time <= statistics.run_time - 2 * 0.0199)
    assert.is_true(statistics.queue_time >= 3 * 0.0199)
    assert.is_true(statistics.max_queue_time >= 2 * 0.0199)
    assert.is_true(math.abs(statistics.average_run_time - statistics.run_time / 3) < 1e-9)
    assert.is_true(math.abs(statistics.average_queue_time - statistics.queue_time / 3) < 1e-9)
  end)

  it("measures on the clock that everybody sees", function()
    local executor <close> = fern.executor()
    local start = fern.now()
    executor:submit(fern.sleep, 0.1):result()
    local run_time, passed = executor:statistics().run_time, fern.now() - start
    assert.is_true(run_time <= passed * 1.001, run_time .. " of " .. passed)
    assert.is_true(run_time >= 0.1 * 0.999, run_time .. " of " .. passed)
  end)

  it("stays true when everything is cancelled", function()
    local executor = fern.executor { max_workers = 2 }
    for _ = 1, 300 do executor:submit(nap) end
    executor:shutdown { cancel_pending = true }
    assert.equal("submitted 300, cancelled 300", counts(executor))
    local statistics = executor:statistics()
    assert.equal(0, statistics.average_run_time)
    assert.equal(0, statistics.average_queue_time)
  end)

  it("is there after the shutdown; alive tells of that", function()
    local executor = fern.executor()
    executor:submit(nap):result()
    assert.is_true(executor:alive())
    executor:shutdown(false)
    assert.is_false(executor:alive())
    assert.equal("submitted 1, executed 1", counts(executor))
    executor:shutdown()
    assert.has_error(function() executor.statistics({}) end)
    assert.has_error(function() executor.alive() end)
  end)
end)

-- ---- submit_after

describe("submit_after", function()
  it("runs its functions in the order of their times, equal ones as they came", function()
    local executor <close> = fern.executor { max_workers = 1 }
    local order, futures = {}, {}
    for i, seconds in ipairs { 0.02, 0.01, 0.01, 0, 0.01 } do
      futures[i] = executor:submit_after(seconds, function(...) order[#order + 1] = i return ... end, i, nil)
    end
    for i, future in ipairs(futures) do assert.same({ i, nil, n = 2 }, table.pack(future:result())) end
    assert.same({ 4, 2, 3, 5, 1 }, order)
  end)

  it("does not begin before its time", function()
    local executor <close> = fern.executor()
    local start = fern.now()
    local future = executor:submit_after(0.01, fern.now)
    assert.equal("fern.future (pending)", tostring(future))
    assert.is_false(future:done())
    assert.is_true(future:result() >= start + 0.01)
  end)

  it("counts when its time has come", function()
    local executor <close> = fern.executor()
    local future = executor:submit_after(0.005, nap)
    assert.equal("", counts(executor))
    future:result()
    assert.equal("submitted 1, executed 1", counts(executor))
  end)

  it("can be cancelled until then, and never runs", function()
    local executor = fern.executor()
    local ran = false
    local future = executor:submit_after(0.005, function() ran = true end)
    assert.is_true(future:cancel())
    assert.is_true(future:cancel())
    assert.is_true(future:cancelled())
    fern.sleep(0.01)
    assert.is_false(ran)
    assert.equal("submitted 1, cancelled 1", counts(executor))
    assert.equal(true, executor:shutdown())
  end)

  it("that is cancelled while others are due takes nobody along", function()
    local executor <close> = fern.executor()
    local futures = {}
    for i = 1, 3 do futures[i] = executor:submit_after(0.005, nap, i) end
    futures[2]:cancel()
    assert.equal(4, futures[1]:result() + futures[3]:result())
  end)

  it("lets go of a cancelled function and its arguments", function()
    local kept, executor = setmetatable({}, { __mode = "v" }), fern.executor()
    local future
    do
      local argument = {}
      kept[1] = argument
      future = executor:submit_after(100, function() return argument end, argument)
    end
    future:cancel()
    collectgarbage()
    collectgarbage()
    assert.is_nil(kept[1])
    executor:shutdown()
  end)

  it("may be rejected when its time has come, and fails with that", function()
    local executor <close> = fern.executor { max_workers = 1, check_and_reject = fern.reject_when_reached(1) }
    local gate, open = new_gate()
    local blockers = { executor:submit(gate), executor:submit(gate) }
    local first, second = executor:submit_after(0.001, nap), executor:submit_after(0.001, nap)
    local message = "the backlog of 1 is not allowed to go beyond 1"
    assert.same({ false, message }, { first:join() })
    assert.has_error(function() second:result() end, message)
    assert.equal(message, second:exception())
    assert.is_true(second:done())
    assert.is_false(second:cancelled())
    assert.equal("submitted 2, rejected 2, running 1, waiting 1", counts(executor))
    open()
    for _, future in ipairs(blockers) do future:result() end
    assert.equal("in", executor:submit_after(0, nap, "in"):result())
  end)

  it("is asked about in a thread, with the executor, also when that is dropped", function()
    local heard
    local gate, open = new_gate()
    local function submit()
      local executor = fern.executor { max_workers = 1, check_and_reject = function(which, backlog)
        fern.sleep(0)
        heard = { tostring(which), backlog }
        return {}
      end }
      return executor:submit(gate), executor:submit_after(0.001, nap)
    end
    local blocker, future = submit()
    collectgarbage()
    collectgarbage()
    local ok, err = future:join()
    assert.same({ false, {} }, { ok, err })
    assert.same({ "fern.executor (1 of 1 running, 0 in the backlog)", 0 }, heard)
    open()
    blocker:result()
  end)

  it("can be cancelled while it is asked about", function()
    local answer
    local executor <close> = fern.executor { max_workers = 1, check_and_reject = function() nap() return answer end }
    for _, value in ipairs { false, "no" } do
      answer = value
      local blocker = executor:submit(fern.sleep, 0.03)
      local future, after = executor:submit_after(0.001, nap), executor:submit_after(0.05, nap, "after")
      fern.sleep(0.0015)
      assert.is_true(future:cancel())
      fern.sleep(0.005)
      assert.is_true(future:cancelled())
      assert.equal("after", after:result())
      blocker:result()
    end
    assert.equal(0, executor:statistics().failures)
    assert.equal(2, executor:statistics().cancelled)
  end)

  it("goes on with the next after a rejection that kills its own thread", function()
    local executor <close> = fern.executor { max_workers = 1, check_and_reject = function()
      fern.current():kill("by itself")
      fern.sleep(0)
    end }
    local blocker = executor:submit(fern.sleep, 0.01)
    local first, second = executor:submit_after(0.001, nap), executor:submit_after(0.02, nap, "second")
    local ok, err = first:join()
    assert.is_false(ok)
    assert.is_true(fern.is_killed(err))
    assert.equal("second", second:result())
    blocker:result()
  end)

  it("is waited for by shutdown, and by waitall", function()
    local executor, done = fern.executor(), 0
    executor:submit_after(0.005, function() nap() done = done + 1 end)
    assert.equal(true, executor:shutdown(false))
    support.fails_with("the executor is shut down$", executor.submit_after, executor, 0, nap)
    assert.equal(true, executor:shutdown())
    assert.equal(1, done)
    fern.executor():submit_after(0.005, function() done = done + 1 end)
    assert.equal(true, fern.waitall())
    assert.equal(2, done)
  end)

  it("is cancelled by a shutdown that cancels what is pending", function()
    local executor, ran = fern.executor(), false
    local futures = {}
    for i = 1, 3 do futures[i] = executor:submit_after(i == 3 and math.huge or 100, function() ran = true end) end
    local waiter = fern.spawn(executor.shutdown, executor)
    let_run()
    assert.equal(true, executor:shutdown { cancel_pending = true })
    assert.equal(true, waiter:wait())
    for _, future in ipairs(futures) do assert.is_true(future:cancelled()) end
    assert.is_false(ran)
  end)

  it("wants seconds of 0 or more, and a function", function()
    local executor <close> = fern.executor()
    for _, bad in ipairs { -1, -1e-9, 0 / 0, "soon", {} } do
      support.fails_with("bad argument #1 to 'submit_after'", function() executor:submit_after(bad, nap) end)
    end
    support.fails_with("bad argument #1", function() executor:submit_after() end)
    support.fails_with("bad argument #2", function() executor:submit_after(1) end)
    support.fails_with("bad argument #2", function() executor:submit_after(1, 42) end)
    assert.is_true(executor:submit_after(1e9, nap):cancel())
    assert.equal("", (counts(executor):gsub("submitted 1, cancelled 1", "")))
  end)

  it("bears many that are due in one turn, and many that are cancelled in one", function()
    local executor <close> = fern.executor { max_workers = 10 }
    local sum, futures = 0, {}
    for i = 1, support.MANY do
      futures[i] = executor:submit_after(0.001, function() sum = sum + 1 end)
      if i % 2 == 0 then futures[i]:cancel() end
    end
    executor:shutdown()
    assert.equal(support.MANY // 2, sum)
    assert.equal(support.MANY // 2, executor:statistics().cancelled)
  end)

  it("of a script that ends is told of", function()
    local output = script.run_text("", [[
      local fern = require "fern"
      local executor = fern.executor()
      executor:submit_after(100, print)
      fern.sleep(0.001)
    ]])
    assert.truthy(output:find("^fern: 1 function submitted to an executor never began"), output)
  end)
end)

-- ---- synchronous

describe("a synchronous executor", function()
  local executor
  before_each(function() executor = fern.executor { synchronous = true } end)
  after_each(function() executor:shutdown() end)

  it("has run the function when submit returns", function()
    local ran
    local future = executor:submit(function(...) nap() ran = true return ... end, 1, nil, 3)
    assert.is_true(ran)
    assert.is_true(future:done())
    assert.same({ 1, nil, 3, n = 3 }, table.pack(future:result()))
    assert.same({ n = 0 }, table.pack(executor:submit(function() end):result()))
    assert.equal("one", executor:submit(nap, "one"):result(0))
    assert.is_false(future:cancel())
  end)

  it("keeps an error in the future, and reports it if nobody asks", function()
    local err = {}
    local future = executor:submit(error, err)
    assert.equal(err, future:exception())
    assert.same({ false, err }, { future:join() })
    local heard
    fern.on_error(function(e, traceback) heard = { e, traceback } end)
    executor:submit(function() error("unasked", 0) end)
    local limit = fern.now() + 5
    while not heard and fern.now() < limit do fern.sleep(0.05) end
    assert.equal("unasked", heard[1])
    assert.truthy(heard[2]:find("executor_spec", 1, true))
  end)

  it("runs in the submitter's thread, kills and limits included", function()
    local thread
    local submitter = fern.spawn(function()
      return executor:submit(function() thread = fern.current() fern.sleep(100) end)
    end)
    let_run()
    assert.equal(submitter, thread)
    submitter:kill("stop")
    assert.equal("stop", support.killed_join(submitter).reason)
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 },
      table.pack(fern.timeout(0.001, executor.submit, executor, fern.sleep, 100)))
    assert.equal("submitted 2, executed 2, failures 2", counts(executor))
  end)

  it("has the same interface", function()
    local plain <close> = fern.executor()
    assert.equal(getmetatable(plain), getmetatable(executor))
    local got = {}
    for square in executor:map(function(i) return i * i end, numbers(3)) do got[#got + 1] = square end
    assert.same({ 1, 4, 9 }, got)
    assert.equal("later", executor:submit_after(0.001, nap, "later"):result())
    assert.is_true(executor:alive())
    assert.equal("submitted 4, executed 4", counts(executor))
    assert.is_true(executor:statistics().run_time >= 0.0009)
    executor:shutdown()
    assert.is_false(executor:alive())
    support.fails_with("the executor is shut down$", executor.submit, executor, nap)
  end)

  it("nests, and says so when it runs out of stack", function()
    local function down(n) return n == 0 and "bottom" or executor:submit(down, n - 1):result() end
    assert.equal("bottom", executor:submit(down, 20):result())
    local ok = executor:submit(down, 1e6):join()
    assert.is_false(ok)
  end)

  it("is waited for by others, and does not wait for itself", function()
    local ran = false
    local submitter = fern.spawn(executor.submit, executor, function() nap() ran = true end)
    let_run()
    assert.equal(true, executor:shutdown())
    assert.is_true(ran)
    submitter:wait()
    local own = fern.executor { synchronous = true }
    local ok, _, code = own:submit(function() return own:shutdown() end):result()
    assert.is_nil(ok)
    assert.equal("EDEADLK", code)
  end)

  it("takes its settings", function()
    support.fails_with("^bad option 'synchronous'", fern.executor, { synchronous = 1 })
    local plain <close> = fern.executor { synchronous = false }
    assert.is_false(plain:submit(nap):done())
  end)
end)

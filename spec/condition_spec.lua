-- SPDX-License-Identifier: MIT
-- fern.condition: where the owner of a lock waits for a change.
local fern = require "fern"
local support = require "spec.support.threads"

local fails_with, killed_join, let_run = support.fails_with, support.killed_join, support.let_run
local new_log = support.new_log

-- A lock, its condition, a log, and waiters(names): threads that wait.
local function scene()
  local lock = fern.lock()
  local condition, log, note = fern.condition(lock), new_log()
  local function waiters(...)
    local threads = {}
    for i, name in ipairs { ... } do
      threads[i] = fern.spawn(function()
        local _ <close> = lock:hold()
        assert(condition:wait())
        note(name)
        fern.sleep(0)
        note(name)
      end)
    end
    let_run()
    return table.unpack(threads)
  end
  return lock, condition, waiters, log, note
end

describe("a condition", function()
  it("wakes so many, longest waiter first, each with the lock to itself", function()
    local lock, condition, waiters, log = scene()
    local a, b, c = waiters("a", "b", "c")
    assert.is_false(lock:locked())
    assert.equal(0, condition:notify(0))
    assert.equal(1, condition:notify())
    a:wait()
    assert.same({ "a", "a" }, log)
    assert.equal(2, condition:notify_all())
    b:wait()
    c:wait()
    assert.same({ "a", "a", "b", "b", "c", "c" }, log)
    assert.equal(0, condition:notify(5))
  end)

  it("lets nobody who comes after the notify overtake", function()
    local lock, condition, waiters, log, note = scene()
    local a = waiters("a")
    lock:acquire()
    condition:notify()
    lock:release()
    lock:acquire()
    note "later"
    lock:release()
    a:wait()
    assert.same({ "a", "a", "later" }, log)
  end)

  it("serves a queue between threads", function()
    local lock = fern.lock()
    local filled, items, sum = fern.condition(lock), {}, 0
    local consumer = fern.spawn(function()
      for _ = 1, 100 do
        local _ <close> = lock:hold()
        while #items == 0 do filled:wait() end
        sum = sum + table.remove(items, 1)
      end
    end)
    for i = 1, 100 do
      local _ <close> = lock:hold()
      items[#items + 1] = i
      filled:notify()
      if i % 7 == 0 then fern.sleep(0) end
    end
    consumer:wait()
    assert.equal(5050, sum)
  end)

  it("has the lock again when it is out of time, however long that takes", function()
    local lock, condition, _, log, note = scene()
    local waiter = fern.spawn(function()
      local _ <close> = lock:hold()
      local ok, message, code = condition:wait(0.001)
      note(tostring(ok), message, code, tostring(lock:locked()))
    end)
    fern.sleep(0)       -- no more: it waits now, and whatever wakes it stands behind us
    lock:acquire()
    fern.sleep(0.005)
    assert.same({}, log)
    lock:release()
    waiter:wait()
    assert.same({ "nil timeout ETIMEDOUT true" }, log)
    assert.is_false(lock:locked())
  end)

  it("polls", function()
    local lock, condition, _, log, note = scene()
    lock:acquire()
    local other = fern.spawn(function() lock:acquire() note "other" lock:release() end)
    let_run()
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { condition:wait(0) })
    assert.same({ "other" }, log)
    lock:release()
    other:wait()
  end)

  it("has the lock again when it is killed", function()
    local lock, condition, _, log, note = scene()
    local killed = fern.spawn(function()
      lock:acquire()
      local ok, err = pcall(condition.wait, condition)
      note(tostring(ok), tostring(err))
      lock:release()
      error(err, 0)
    end)
    let_run()
    lock:acquire()
    killed:kill("now")
    let_run()
    assert.same({}, log)
    assert.equal(0, condition:waiting())
    lock:release()
    killed_join(killed)
    assert.same({ "false killed: now" }, log)
    assert.is_false(lock:locked())
  end)

  it("has the lock again when a limit around it runs out, which is told from its own", function()
    local lock, condition = scene()
    lock:acquire()
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.001, function()
      condition:wait(5)
      error "not reached"
    end) })
    assert.is_true(lock:release())
  end)

  it("gives no notify to a waiter that is killed or out of time", function()
    local lock, condition, waiters, log = scene()
    local a, b = waiters("a", "b")
    local late = fern.spawn(function() lock:acquire() condition:wait(0) lock:release() end)
    late:wait()
    a:kill()
    assert.equal(1, condition:waiting())
    assert.equal(1, condition:notify())
    b:wait()
    killed_join(a)
    assert.same({ "b", "b" }, log)
  end)

  it("keeps the notify of a waiter that is killed before it has the lock", function()
    local lock, condition, waiters, log = scene()
    local a = waiters("a")
    lock:acquire()
    condition:notify()
    a:kill()
    lock:release()
    killed_join(a)
    assert.same({ "a" }, log)
    assert.is_false(lock:locked())
  end)

  it("comes back with an error, and the lock, if that was left locked", function()
    local lock, condition, _, log, note = scene()
    local waiter = fern.spawn(function()
      local _ <close> = lock:hold()
      note(tostring(select(2, pcall(condition.wait, condition))))
    end)
    let_run()
    fern.spawn(function() lock:acquire() condition:notify() end):wait()
    waiter:wait()
    assert.matches("left locked", log[1])
    assert.is_false(lock:locked())
  end)

  it("needs the lock to wait, not to notify", function()
    local lock, condition = scene()
    fails_with("whose lock this thread does not hold", condition.wait, condition)
    local owner <close> = fern.spawn(function() lock:acquire() fern.sleep(10) end)
    let_run()
    fails_with("whose lock this thread does not hold", condition.wait, condition, 0)
    assert.equal(0, condition:notify())
    owner:kill()
    owner:join()
    lock:release()
  end)

  it("keeps its lock while only the condition is kept", function()
    local condition = fern.condition(fern.lock())
    collectgarbage()
    collectgarbage()
    fails_with("does not hold", condition.wait, condition)
  end)

  it("has ten thousand waiters that all time out at once, and then all be notified", function()
    local lock = fern.lock()
    local condition, waiters = fern.condition(lock), {}
    local deadline = fern.now() + 0.5
    for i = 1, support.MANY do
      waiters[i] = fern.spawn(function()
        local _ <close> = lock:hold()
        local first = condition:wait(deadline - fern.now())
        return first, condition:wait()
      end)
    end
    while condition:waiting() < support.MANY or fern.now() < deadline + 0.05 do fern.sleep(0.01) end
    assert.equal(support.MANY, condition:notify_all())
    for _, waiter in ipairs(waiters) do assert.same({ n = 2, nil, true }, table.pack(waiter:wait())) end
    assert.is_false(lock:locked())
  end)

  it("refuses what makes no sense", function()
    local lock, condition = scene()
    fails_with("fern.lock expected, got no value", fern.condition)
    fails_with("fern.lock expected, got fern.semaphore", fern.condition, fern.semaphore())
    fails_with("fern.condition expected, got fern.lock", condition.wait, lock)
    fails_with("got NaN", condition.wait, condition, 0 / 0)
    fails_with("a count of 0 or more expected", condition.notify, condition, -1)
    fails_with("number expected, got table", condition.notify, condition, {})
    assert.equal("fern.condition (0 waiting)", tostring(condition))
    assert.equal("fern.condition", getmetatable(condition).__name)
  end)
end)

-- SPDX-License-Identifier: MIT
-- fern.lock: a semaphore of one unit that knows its owner.
local fern = require "fern"
local support = require "spec.support.threads"

local fails_with, killed_join, let_run = support.fails_with, support.killed_join, support.let_run
local new_log = support.new_log

describe("a lock", function()
  it("lets one in at a time, in order", function()
    local lock, log, note = fern.lock(), new_log()
    local threads = {}
    for i = 1, 3 do
      threads[i] = fern.spawn(function()
        local _ <close> = lock:hold()
        note("in", i)
        fern.sleep(0.001)
        note("out", i)
      end)
    end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.same({ "in 1", "out 1", "in 2", "out 2", "in 3", "out 3" }, log)
    assert.is_false(lock:locked())
  end)

  it("goes from its owner to the longest waiter: nobody overtakes", function()
    local lock, log, note = fern.lock(), new_log()
    lock:acquire()
    local waiter = fern.spawn(function() lock:acquire() note "waiter" lock:release() end)
    let_run()
    lock:release()
    assert.is_true(lock:locked())
    lock:acquire()
    note "main"
    lock:release()
    waiter:wait()
    assert.same({ "waiter", "main" }, log)
  end)

  it("is released by its owner only, and once", function()
    local lock = fern.lock()
    fails_with("attempt to release a lock that is free", lock.release, lock)
    lock:acquire()
    local thread = fern.spawn(lock.release, lock)
    local ok, err = thread:join()
    assert.is_false(ok)
    assert.matches("attempt to release a lock that is held by #%d+ 'main'", err)
    assert.is_true(lock:release())
    fails_with("attempt to release a lock that is free", lock.release, lock)
  end)

  it("is not re-entrant: waiting for oneself for ever raises, for a while times out", function()
    local lock = fern.lock()
    lock:acquire()
    fails_with("locks are not re%-entrant", lock.acquire, lock)
    fails_with("locks are not re%-entrant", lock.hold, lock)
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { lock:acquire(0) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { lock:acquire(0.001) })
    lock:release()
    assert.is_false(lock:locked())
  end)

  it("is held until the block is left, by whoever leaves it", function()
    local lock = fern.lock()
    local thread = fern.spawn(function()
      local _ <close> = lock:hold()
      fern.sleep(10)
    end)
    let_run()
    assert.is_true(lock:locked())
    thread:kill()
    killed_join(thread)
    assert.is_false(lock:locked())
    local held
    fern.spawn(function() held = lock:hold() end):wait()
    fails_with("left locked", lock.acquire, lock)
    held:close()
    assert.is_true(lock:acquire(0))
    held:close()
    assert.is_true(lock:locked())
    lock:release()
  end)

  it("is taken back from what nobody holds any more, but from nobody else", function()
    local lock = fern.lock()
    local held = lock:hold() -- luacheck: ignore
    lock:release()
    lock:acquire()
    held = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.is_true(lock:locked())
    lock:release()
    lock:hold()
    collectgarbage()
    collectgarbage()
    assert.is_false(lock:locked())
  end)

  it("that its owner leaves locked says so to whoever waits and comes", function()
    local lock = fern.lock()
    local owner = fern.spawn(function() lock:acquire() fern.sleep(10) end)
    let_run()
    local waiter = fern.spawn(lock.acquire, lock)
    let_run()
    owner:kill()
    local ok, err = waiter:join()
    assert.is_false(ok)
    assert.matches("the lock is left locked by #%d+, spawned at .*lock_spec.lua:%d+, which has ended", err)
    fails_with("left locked", lock.hold, lock)
    assert.is_true(lock:locked())
    assert.is_true(lock:release())
    assert.is_true(lock:acquire())
    lock:release()
    killed_join(owner)
  end)

  it("that a function of an executor leaves locked is left, though its thread goes on", function()
    local lock = fern.lock()
    local executor <close> = fern.executor { max_workers = 1 }
    executor:submit(lock.acquire, lock):result()
    local ok, err = executor:submit(lock.acquire, lock):join()
    assert.is_false(ok)
    assert.matches("left locked", err)
    lock:release()
  end)

  it("hands on the turn of a waiter that is killed or out of time", function()
    local lock = fern.lock()
    lock:acquire()
    local killed = fern.spawn(lock.acquire, lock)
    local late = fern.spawn(lock.acquire, lock, 0.001)
    local last = fern.spawn(function() lock:acquire() lock:release() return "last" end)
    let_run()
    killed:kill()
    assert.is_nil((late:wait()))
    assert.equal(1, lock:waiting())
    lock:release()
    assert.equal("last", last:wait())
    killed_join(killed)
  end)

  it("is the new owner's though that is killed before it runs", function()
    local lock = fern.lock()
    lock:acquire()
    local thread = fern.spawn(function()
      local _ <close> = lock:hold()
      fern.sleep(1)
    end)
    let_run()
    lock:release()
    thread:kill()
    killed_join(thread)
    assert.is_false(lock:locked())
  end)

  it("tells who holds it", function()
    local lock = fern.lock()
    assert.equal("fern.lock (free, 0 waiting)", tostring(lock))
    local owner <close> = fern.spawn(function() lock:acquire() fern.sleep(10) end)
    owner:name "me"
    let_run()
    assert.matches("^fern.lock %(held by #%d+ 'me', 0 waiting%)$", tostring(lock))
    assert.equal("fern.lock", getmetatable(lock).__name)
  end)

  it("may be collected while it is held, and its thread goes on", function()
    local function hold_for_ever() return fern.lock():acquire() end
    local thread = fern.spawn(function()
      for _ = 1, 10 do
        hold_for_ever()
        collectgarbage()
      end
      return "well"
    end)
    assert.equal("well", thread:wait())
  end)

  it("has ten thousand waiters that all time out at once", function()
    local lock, waiters = fern.lock(), {}
    lock:acquire()
    local deadline = fern.now() + 0.5
    for i = 1, support.MANY do
      waiters[i] = fern.spawn(function() return lock:acquire(deadline - fern.now()) end)
    end
    for _, waiter in ipairs(waiters) do assert.is_nil((waiter:wait())) end
    lock:release()
    assert.is_false(lock:locked())
  end)

  it("can be waited for without being taken", function()
    local lock, other = fern.lock(), fern.lock()
    lock:acquire()
    other:acquire()
    local waiter = fern.spawn(fern.wait, { other, lock }, { count = 1, timeout = 1 })
    let_run()
    lock:release()
    assert.same({ { lock }, { other } }, { waiter:wait() })
    assert.is_false(lock:locked())
    other:release()
  end)

  it("refuses what makes no sense", function()
    local lock = fern.lock()
    fails_with("fern.lock expected, got fern.semaphore", lock.acquire, fern.semaphore())
    fails_with("got NaN", lock.acquire, lock, 0 / 0)
    fails_with("number expected, got string", lock.hold, lock, "x")
    fails_with("#1 to 'lock' %(none expected", function() fern.lock(1) end)
    assert.is_false(lock:locked())
  end)
end)

it("a deadlock names the owner of the lock", function()
  local output, code = support.run [[
    local fern = require "fern"
    local a, b = fern.lock(), fern.lock()
    a:acquire()
    local other = fern.spawn(function() b:acquire() a:acquire() end)
    other:name "other"
    fern.sleep(0)
    print(pcall(b.acquire, b))
  ]]
  assert.equal(0, code)
  assert.matches("thread #0 'main' waits for a lock held by #%d+ 'other'", output)
  assert.matches("thread #%d+ 'other' waits for a lock held by #0 'main'", output)
end)

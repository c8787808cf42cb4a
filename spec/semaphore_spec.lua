-- SPDX-License-Identifier: MIT
-- fern.semaphore: so many units, handed to the longest waiter.
local fern = require "fern"
local support = require "spec.support.threads"

local fails_with, killed_join, let_run = support.fails_with, support.killed_join, support.let_run
local new_log = support.new_log

local function acquirer(semaphore, note, name)
  return fern.spawn(function() semaphore:acquire() note(name) end)
end

describe("a semaphore", function()
  it("lets no more in than it has units", function()
    local semaphore, inside, most = fern.semaphore(3), 0, 0
    local threads = {}
    for i = 1, 10 do
      threads[i] = fern.spawn(function()
        local _ <close> = semaphore:hold()
        inside = inside + 1
        most = math.max(most, inside)
        fern.sleep(0.001)
        inside = inside - 1
      end)
    end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.equal(3, most)
    assert.equal(3, semaphore:free())
  end)

  it("has one unit unless it is told", function()
    assert.equal(1, fern.semaphore():free())
    assert.equal(0, fern.semaphore(0):free())
    assert.equal(1000000000, fern.semaphore(1e9):free())
    assert.is_true(fern.semaphore(math.huge):acquire())
  end)

  it("hands a unit to the longest waiter: nobody overtakes", function()
    local semaphore, log, note = fern.semaphore(0), new_log()
    local threads = {}
    for i, name in ipairs { "a", "b", "c" } do threads[i] = acquirer(semaphore, note, name) end
    let_run()
    assert.equal(3, semaphore:waiting())
    assert.is_true(semaphore:release())
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { semaphore:acquire(0) })
    assert.equal(0, semaphore:free())
    for _ = 1, 3 do semaphore:release() end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.same({ "a", "b", "c" }, log)
    assert.equal(1, semaphore:free())
  end)

  it("makes a timed acquire stand in line like any other", function()
    local semaphore, log, note = fern.semaphore(0), new_log()
    local a = acquirer(semaphore, note, "a")
    let_run()
    local b = fern.spawn(function() note("b", tostring(semaphore:acquire(5))) end)
    let_run()
    semaphore:release()
    semaphore:release()
    a:wait()
    b:wait()
    assert.same({ "a", "b true" }, log)
  end)

  it("says timeout, and polls", function()
    local semaphore = fern.semaphore(1)
    assert.is_true(semaphore:acquire(0))
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { semaphore:acquire(0) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { semaphore:acquire(-1) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { semaphore:acquire(0.001) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { semaphore:hold(0.001) })
    semaphore:release()
    assert.is_true(semaphore:acquire(math.huge))
  end)

  it("hands on the turn of a waiter that is killed or out of time", function()
    local semaphore, log, note = fern.semaphore(0), new_log()
    local killed = acquirer(semaphore, note, "killed")
    local late = fern.spawn(semaphore.acquire, semaphore, 0.001)
    local last = acquirer(semaphore, note, "last")
    let_run()
    killed:kill()
    assert.is_nil((late:wait()))
    assert.equal(1, semaphore:waiting())
    semaphore:release()
    last:wait()
    killed_join(killed)
    assert.same({ "last" }, log)
    assert.equal(0, semaphore:free())
  end)

  it("loses no unit when its new owner is killed before it runs", function()
    local semaphore = fern.semaphore(0)
    local thread = fern.spawn(function()
      local _ <close> = semaphore:hold()
      fern.sleep(1)
    end)
    let_run()
    semaphore:release()
    thread:kill()
    killed_join(thread)
    assert.equal(1, semaphore:free())
  end)

  it("heeds a limit though it never waits", function()
    local semaphore = fern.semaphore(1)
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.005, function()
      while true do
        semaphore:acquire()
        semaphore:release()
      end
    end) })
    assert.equal(1, semaphore:free())
  end)

  it("tells how it stands", function()
    local semaphore = fern.semaphore(2)
    assert.equal("fern.semaphore (2 free, 0 waiting)", tostring(semaphore))
    assert.is_false(semaphore:locked())
    semaphore:acquire()
    semaphore:acquire()
    assert.is_true(semaphore:locked())
    assert.equal(0, semaphore:balance())
    local waiter <close> = fern.spawn(semaphore.acquire, semaphore)
    let_run()
    assert.equal(-1, semaphore:balance())
    assert.equal("fern.semaphore (0 free, 1 waiting)", tostring(semaphore))
    assert.equal("fern.semaphore", getmetatable(semaphore).__name)
    assert.equal("waiting", waiter:status())
  end)

  it("may be released more often than acquired, unless it is bounded", function()
    local free = fern.semaphore(1)
    free:release()
    assert.equal(2, free:free())
    local bounded = fern.semaphore(1, { bounded = true })
    fails_with("released too often", bounded.release, bounded)
    bounded:acquire()
    assert.is_true(bounded:release())
    local wider = fern.semaphore(1, { bounded = 2 })
    wider:release()
    fails_with("released too often", wider.release, wider)
    local closed = fern.semaphore(0, { bounded = true })
    fails_with("released too often", closed.release, closed)
    local unbounded = fern.semaphore(0, { bounded = false })
    assert.is_true(unbounded:release())
  end)

  it("is held until the block is left, in whichever way", function()
    local semaphore = fern.semaphore(1, { bounded = true })
    pcall(function()
      local _ <close> = semaphore:hold()
      assert.equal(0, semaphore:free())
      error "out"
    end)
    assert.equal(1, semaphore:free())
    do
      local held <close> = semaphore:hold()
      assert.equal("fern.held (open)", tostring(held))
      held:close()
      assert.equal("fern.held (closed)", tostring(held))
      assert.equal(1, semaphore:free())
    end
    assert.equal(1, semaphore:free())
  end)

  it("takes back what was held by nobody's variable", function()
    local semaphore = fern.semaphore(1)
    semaphore:hold()
    collectgarbage()
    collectgarbage()
    assert.equal(1, semaphore:free())
  end)

  it("tells of a hold whose unit was released by hand", function()
    local semaphore = fern.semaphore(1, { bounded = true })
    local held = semaphore:hold()
    semaphore:release()
    fails_with("released too often", held.close, held)
    held:close()
  end)

  it("outlives its variable while somebody waits", function()
    local semaphore = fern.semaphore(0)
    local waiter = fern.spawn(semaphore.acquire, semaphore)
    fern.spawn_after(0.002, semaphore.release, semaphore)
    semaphore = nil -- luacheck: ignore
    let_run()
    collectgarbage()
    collectgarbage()
    assert.is_true(waiter:wait())
  end)

  it("has ten thousand waiters that all time out at once", function()
    local semaphore, waiters = fern.semaphore(0), {}
    local deadline = fern.now() + 0.5
    for i = 1, support.MANY do
      waiters[i] = fern.spawn(function() return semaphore:acquire(deadline - fern.now()) end)
    end
    for _, waiter in ipairs(waiters) do assert.is_nil((waiter:wait())) end
    assert.equal(0, semaphore:waiting())
    semaphore:release()
    assert.equal(1, semaphore:free())
  end)

  it("can be waited for without being taken", function()
    local semaphore, other = fern.semaphore(0), fern.semaphore(0)
    fern.spawn(semaphore.release, semaphore)
    local done, pending = fern.wait({ other, semaphore }, { count = 1, timeout = 1 })
    assert.same({ semaphore }, done)
    assert.same({ other }, pending)
    assert.equal(1, semaphore:free())
  end)

  it("refuses what makes no sense", function()
    local semaphore = fern.semaphore()
    fails_with("a count of 0 or more expected", fern.semaphore, -1)
    fails_with("a count of 0 or more expected", fern.semaphore, 0 / 0)
    fails_with("a count of 0 or more expected", fern.semaphore, 1.5)
    fails_with("number expected, got string", fern.semaphore, "x")
    fails_with("table expected, got boolean", fern.semaphore, 1, true)
    fails_with("unknown option 'bound'", fern.semaphore, 1, { bound = true })
    fails_with("bad option 'bounded' %(a count of 2 or more expected%)", fern.semaphore, 2, { bounded = 1 })
    fails_with("bad option 'bounded'", fern.semaphore, 2, { bounded = "x" })
    fails_with("got NaN", semaphore.acquire, semaphore, 0 / 0)
    fails_with("number expected, got table", semaphore.hold, semaphore, {})
    fails_with("fern.semaphore expected, got no value", semaphore.acquire)
    fails_with("fern.semaphore expected, got FILE*", semaphore.release, io.stdout)
    assert.equal(1, semaphore:free())
  end)
end)

it("a semaphore needs no runtime to be released in a finalizer", function()
  local output, code = support.run [[
    local fern = require "fern"
    local semaphore = fern.semaphore(1)
    local held = semaphore:hold()
    local waiter = fern.spawn(function() print(semaphore:acquire()) end)
    fern.sleep(0)
    held = nil
    collectgarbage()
    waiter:wait()
    semaphore:hold(0)
    semaphore:release()
    semaphore:hold()
    fern = nil
  ]]
  assert.equal("true\n", output)
  assert.equal(0, code)
end)

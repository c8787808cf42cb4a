-- SPDX-License-Identifier: MIT
-- fern.waitgroup: how many things are still to be done.
local fern = require "fern"
local support = require "spec.support.threads"

local fails_with, killed_join, let_run = support.fails_with, support.killed_join, support.let_run

describe("a wait group", function()
  it("lets all waiters go, in order, when the last thing is done", function()
    local group, log, note = fern.waitgroup(), support.new_log()
    assert.is_true(group:add(3))
    local waiters = {}
    for i = 1, 3 do waiters[i] = fern.spawn(function() assert(group:wait() == true) note(i) end) end
    for _ = 1, 3 do fern.spawn(function() fern.sleep(0.001) note "done" group:done() end) end
    for _, waiter in ipairs(waiters) do waiter:wait() end
    assert.same({ "done", "done", "done", "1", "2", "3" }, log)
  end)

  it("of nothing is waited for at once", function()
    local group = fern.waitgroup()
    assert.is_true(group:wait())
    assert.is_true(group:wait(0))
    group:add()
    group:done()
    assert.is_true(group:wait(0))
  end)

  it("counts", function()
    local group = fern.waitgroup()
    group:add(5)
    group:add()
    assert.is_true(group:done(2))
    assert.equal(4, group:count())
    assert.equal("fern.waitgroup (4 not done, 0 waiting)", tostring(group))
    assert.equal("fern.waitgroup", getmetatable(group).__name)
  end)

  it("says timeout", function()
    local group = fern.waitgroup()
    group:add(1)
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { group:wait(0.001) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { group:wait(0) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.001, group.wait, group) })
  end)

  it("lets go whoever was woken, though more is added before it runs", function()
    local group = fern.waitgroup()
    group:add(1)
    local waiter = fern.spawn(group.wait, group)
    let_run()
    group:done()
    group:add(1)
    assert.is_true(waiter:wait())
    assert.is_nil((group:wait(0)))
  end)

  it("forgets a waiter that is killed", function()
    local group = fern.waitgroup()
    group:add(1)
    local waiter = fern.spawn(group.wait, group)
    let_run()
    waiter:kill()
    group:done()
    killed_join(waiter)
  end)

  it("has ten thousand waiters that all time out at once", function()
    local group, waiters = fern.waitgroup(), {}
    group:add(1)
    local deadline = fern.now() + 0.5
    for i = 1, support.MANY do
      waiters[i] = fern.spawn(function() return group:wait(deadline - fern.now()) end)
    end
    for _, waiter in ipairs(waiters) do assert.is_nil((waiter:wait())) end
    group:done()
  end)

  it("refuses what makes no sense", function()
    local group = fern.waitgroup()
    fails_with("done was called too often", group.done, group)
    group:add(2)
    fails_with("done was called too often: 2 left", group.done, group, 3)
    fails_with("a count of 0 or more expected", group.add, group, -1)
    fails_with("a count of 0 or more expected", group.add, group, 0 / 0)
    fails_with("number expected, got string", group.add, group, "x")
    fails_with("got NaN", group.wait, group, 0 / 0)
    fails_with("fern.waitgroup expected, got table", group.wait, {})
    fails_with("#1 to 'waitgroup' %(none expected", function() fern.waitgroup(3) end)
    group:add(math.huge)
    fails_with("too many in a wait group", function() group:add(math.huge) group:add(math.huge) end)
  end)
end)

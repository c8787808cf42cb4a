-- SPDX-License-Identifier: MIT
-- link: whoever wants to hear of a thread's end.
local fern = require "fern"
local support = require "spec.support.threads"

local NEVER = math.huge
local let_run, new_log, fails_with = support.let_run, support.new_log, support.fails_with

describe("link", function()
  it("calls functions in order, with the thread and what was given", function()
    local log, note = new_log()
    local thread = fern.spawn(function() note("body") return 42 end)
    local function linked(t, ...)
      assert(rawequal(t, thread) and t:done() and t:wait() == 42)
      note(...)
    end
    thread:link(linked, "a", 1)
    thread:link(linked, "b")
    thread:link(linked, "c")
    thread:wait()
    let_run()
    assert.are.same({ "body", "a 1", "b", "c" }, log)
  end)

  it("calls them in a green thread, where they may park", function()
    local seen
    local thread = fern.spawn(fern.sleep, NEVER)
    thread:link(function(t)
      fern.sleep(0.001)
      seen = { fern.current(), t }
    end)
    let_run()
    thread:kill()
    fern.waitall()
    assert.is_false(rawequal(seen[1], thread))
    assert.is_true(rawequal(seen[2], thread))
  end)

  it("isolates each: one that fails or stays keeps none from running", function()
    local log, note = new_log()
    local thread = fern.spawn(function() end)
    local failed, stays
    thread:link(function() failed = fern.current() error("in a link", 0) end)
    thread:link(function() stays = fern.current() fern.sleep(NEVER) end)
    thread:link(function() note("third") end)
    thread:wait()
    let_run()
    assert.are.same({ "third" }, log)
    assert.are.same({ false, "in a link" }, { failed:join() })
    stays:kill()
  end)

  it("on a finished thread calls soon, after it has returned", function()
    local log, note = new_log()
    local thread = fern.spawn(error, "failed", 0)
    thread:join()
    thread:link(function(t, x) note(t:status(), x) end, "x")
    note("linked")
    fern.sleep(0)
    assert.are.same({ "linked", "failed x" }, log)
  end)

  it("works on threads that never began, and on killed ones", function()
    local log, note = new_log()
    local unbegun, parked = fern.spawn(error), fern.spawn(fern.sleep, NEVER)
    unbegun:link(function(t) note("unbegun", t:status()) end)
    unbegun:cancel()
    let_run()
    parked:link(function(t) note("parked", t:status()) end)
    parked:kill()
    let_run()
    assert.are.same({ "unbegun killed", "parked killed" }, log)
  end)

  it("made by a link runs too", function()
    local log, note = new_log()
    local thread = fern.spawn(function() end)
    thread:link(function(t)
      note("first")
      t:link(function() note("second") end)
    end)
    thread:wait()
    let_run()
    assert.are.same({ "first", "second" }, log)
  end)

  it("raises for what is no function", function()
    local thread = fern.spawn(function() end)
    fails_with("function expected", thread.link, thread, 42)
    fails_with("function expected", thread.link, thread)
    thread:wait()
    fails_with("function expected", thread.link, thread, {})
  end)

  it("is taken back by unlink, first come first gone", function()
    local log, note = new_log()
    local thread = fern.spawn(function() end)
    local function a(_, x) note("a", x) end
    local function b() note("b") end
    thread:link(a, 1)
    thread:link(b)
    thread:link(a, 2)
    assert.is_true(thread:unlink(a))
    assert.is_false(thread:unlink(print))
    thread:wait()
    let_run()
    assert.are.same({ "b", "a 2" }, log)
    assert.is_false(thread:unlink(a))
  end)

  it("can all be taken back", function()
    local thread = fern.spawn(function() end)
    thread:link(error)
    assert.is_true(thread:unlink(error))
    assert.is_false(thread:unlink(error))
    thread:wait()
    let_run()
  end)

  it("works a thousand times on one thread", function()
    local sum = 0
    local thread = fern.spawn(function() end)
    for i = 1, 1000 do thread:link(function(_, n) sum = sum + n end, i) end
    thread:wait()
    fern.waitall()
    assert.are.equal(500500, sum)
  end)
end)

-- SPDX-License-Identifier: MIT
-- fern.event: a value that is not there yet.
local fern = require "fern"
local support = require "spec.support.threads"

local fails_with, killed_join, let_run = support.fails_with, support.killed_join, support.let_run
local new_log = support.new_log

describe("an event", function()
  it("gives all values, nils too, to everybody who waits, in order", function()
    local event, log, note = fern.event(), new_log()
    local waiters = {}
    for i = 1, 8 do
      waiters[i] = fern.spawn(function()
        local values = table.pack(event:wait())
        note(i)
        return table.unpack(values, 1, values.n)
      end)
    end
    let_run()
    assert.is_true(event:send(nil, 2, nil))
    for _, waiter in ipairs(waiters) do assert.same({ n = 3, nil, 2, nil }, table.pack(waiter:wait())) end
    assert.same({ "1", "2", "3", "4", "5", "6", "7", "8" }, log)
  end)

  it("gives them again and again once it was sent", function()
    local event, value = fern.event(), {}
    event:send(value)
    for _ = 1, 3 do assert.equal(value, event:wait()) end
    assert.same({ true, value, n = 2 }, table.pack(event:join(0)))
  end)

  it("may be sent without a value", function()
    local event = fern.event()
    event:send()
    assert.equal(0, select("#", event:wait()))
    assert.same({ true, n = 1 }, table.pack(event:join()))
  end)

  it("carries as many values as Lua's stack has room for", function()
    local event = fern.event()
    event:send(table.unpack(support.numbers(5000)))
    assert.equal(5000, select("#", event:wait()))
    assert.equal(4999, (select(4999, event:wait())))
  end)

  it("raises the very error that was sent", function()
    local event, err = fern.event(), { "broken" }
    local waiter = fern.spawn(function() return pcall(event.wait, event) end)
    let_run()
    assert.is_true(event:send_error(err))
    local ok, got = waiter:wait()
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal(err, select(2, pcall(event.wait, event)))
    assert.same({ false, err, n = 2 }, table.pack(event:join()))
    event:reset()
    event:send_error(nil)
    assert.same({ false, nil, n = 2 }, table.pack(pcall(event.wait, event)))
  end)

  it("tells a timeout from every value", function()
    local event = fern.event()
    local ok, err = pcall(event.wait, event, 0.001)
    assert.is_false(ok)
    assert.is_true(fern.is_timeout(err))
    assert.equal("ETIMEDOUT", err.code)
    assert.is_false((pcall(event.wait, event, 0)))
    assert.is_false((pcall(event.wait, event, -1)))
    assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, table.pack(event:join(0.001)))
    event:send(nil)
    assert.same({ nil, n = 1 }, table.pack(event:wait(0)))
    assert.same({ true, nil, n = 2 }, table.pack(event:join(0)))
  end)

  it("leaves no timer of a wait that was killed to the next one", function()
    local event = fern.event()
    local waiter = fern.spawn(function()
      local ok, err = pcall(event.wait, event, 0.005)
      assert(not ok and fern.is_killed(err))
      return fern.shield(event.wait, event)
    end)
    let_run()
    waiter:kill()
    fern.sleep(0.01)
    event:send("late")
    assert.equal("late", waiter:wait())
  end)

  it("can be asked how it stands", function()
    local event = fern.event()
    local function state() return event:ready(), event:has_value(), event:has_error(), tostring(event) end
    assert.same({ false, false, false, "fern.event (new)" }, { state() })
    event:send(false)
    assert.same({ true, true, false, "fern.event (sent)" }, { state() })
    event:reset()
    assert.same({ false, false, false, "fern.event (new)" }, { state() })
    event:send_error("e")
    assert.same({ true, false, true, "fern.event (error)" }, { state() })
  end)

  it("is sent only once, and what is sent a second time changes nothing", function()
    local event = fern.event()
    event:send(1)
    fails_with("the event has been sent already", event.send, event, 2)
    fails_with("the event has been sent already", event.send_error, event, "e")
    assert.equal(1, event:wait())
  end)

  it("is new after reset, and whoever was woken keeps what it was woken with", function()
    local event, log, note = fern.event(), new_log()
    local function waiter(name)
      return fern.spawn(function() note(name, event:wait()) end)
    end
    local a = waiter "a"
    let_run()
    event:send("first", "half")
    assert.is_true(event:reset())
    local b = waiter "b"
    event:send("second")
    event:reset()
    assert.is_false(event:ready())
    let_run()
    assert.same({ "a first half" }, log)
    event:send("third")
    a:wait()
    b:wait()
    assert.same({ "a first half", "b third" }, log)
  end)

  it("cannot be reset before it was sent", function()
    fails_with("has not been sent", function() fern.event():reset() end)
  end)

  it("never lets others run in send", function()
    local event, ran = fern.event(), false
    local waiter = fern.spawn(function() event:wait() ran = true end)
    let_run()
    event:send()
    assert.is_false(ran)
    waiter:wait()
  end)

  it("forgets waiters that are killed or out of time", function()
    local event = fern.event()
    local killed, late = fern.spawn(event.wait, event), fern.spawn(event.join, event, 0.001)
    local limited = fern.spawn(fern.timeout, 0.001, event.wait, event)
    let_run()
    killed:kill()
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { late:wait() })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { limited:wait() })
    event:send(1)
    killed_join(killed)
  end)

  it("has ten thousand waiters that all time out at once", function()
    local event, waiters = fern.event(), {}
    local deadline = fern.now() + 0.5
    for i = 1, support.MANY do
      waiters[i] = fern.spawn(function() return event:join(deadline - fern.now()) end)
    end
    for _, waiter in ipairs(waiters) do assert.is_nil((waiter:wait())) end
    event:send(1)
  end)

  it("outlives its variable while somebody waits", function()
    local event = fern.event()
    local waiter = fern.spawn(event.wait, event)
    fern.spawn_after(0.002, event.send, event, "still there")
    event = nil -- luacheck: ignore
    let_run()
    collectgarbage()
    collectgarbage()
    assert.equal("still there", waiter:wait())
  end)

  it("holds on to nothing after a reset", function()
    local event, weak = fern.event(), setmetatable({}, { __mode = "v" })
    weak[1] = {}
    event:send(weak[1])
    event:reset()
    collectgarbage()
    assert.is_nil(weak[1])
  end)

  it("can be waited for along with others", function()
    local a, b, c = fern.event(), fern.event(), fern.event()
    fern.spawn(function() c:send(1) a:send_error "e" end)
    local done, pending = fern.wait({ a, b, c }, { count = 2, timeout = 1 })
    assert.same({ c, a }, done)
    assert.same({ b }, pending)
  end)

  it("refuses what makes no sense", function()
    local event = fern.event()
    fails_with("fern.event expected, got no value", event.wait)
    fails_with("fern.event expected, got table", event.send, {})
    fails_with("fern.event expected, got fern.lock", event.ready, fern.lock())
    fails_with("got NaN", event.wait, event, 0 / 0)
    fails_with("number expected, got table", event.join, event, {})
    fails_with("value expected", event.send_error, event)
    fails_with("#1 to 'event' %(none expected", function() fern.event("ready") end)
    assert.equal("fern.event", getmetatable(event).__name)
  end)
end)

it("an event has no waiting in a finalizer, but what was sent is there when fern is closed", function()
  local output, code = support.run [[
    local fern = require "fern"
    local event = fern.event()
    event:send("kept")
    do
      local closing <close> = fern
      setmetatable({}, { __gc = function() print(pcall(fern.event().wait, fern.event())) end })
      collectgarbage()
    end
    print(event:wait())
    print(pcall(fern.event))
  ]]
  assert.equal(0, code)
  assert.matches("false\t[^\n]*inside a finalizer", output)
  assert.matches("\nkept\nfalse\tfern is closed\n$", output)
end)

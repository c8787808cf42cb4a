-- SPDX-License-Identifier: MIT
-- sleep: time, and descriptors that are somebody else's.
local fern = require "fern"
local script = require "spec.support.script"
local support = require "spec.support.threads"

local NEVER = math.huge
local new_log, killed_join, fails_with = support.new_log, support.killed_join, support.fails_with

describe("sleep", function()
  it("returns nothing", function()
    assert.are.equal(0, select("#", fern.sleep(0)))
    assert.are.equal(0, select("#", fern.sleep(0.0001)))
    assert.are.equal(0, select("#", fern.sleep()))
  end)

  it("takes no time, nil, zero and less as a turn", function()
    for _, sleep in ipairs {
      function() fern.sleep() end, function() fern.sleep(nil) end, function() fern.sleep(0) end,
      function() fern.sleep(0.0) end, function() fern.sleep(-0.0) end, function() fern.sleep(-1) end,
      function() fern.sleep(-5.5) end, function() fern.sleep(-NEVER) end, function() fern.sleep("0") end,
    } do
      local log, note = new_log()
      fern.spawn(function() note("a1") sleep() note("a2") end)
      fern.spawn(function() note("b1") sleep() note("b2") end)
      fern.waitall()
      assert.are.same({ "a1", "b1", "a2", "b2" }, log)
    end
  end)

  it("takes no less than the time asked", function()
    for _, seconds in ipairs { 0.0001, 0.003, 1e-9, "0.002" } do
      local before = fern.now()
      fern.sleep(seconds)
      assert.is_true(fern.now() - before >= tonumber(seconds))
    end
  end)

  it("wakes in the order of the times", function()
    local log, note = new_log()
    for _, ms in ipairs { 5, 1, 3, 2, 4 } do
      fern.spawn(function() fern.sleep(ms / 1000) note(ms) end)
    end
    fern.waitall()
    assert.are.equal("1 2 3 4 5", table.concat(log, " "))
  end)

  it("sleeps for centuries, and for ever", function()
    for _, seconds in ipairs { 1e9, 1e18, 1e300, math.maxinteger, NEVER } do
      local thread <close> = fern.spawn(fern.sleep, seconds)
      fern.sleep(0.001)
      assert.are.equal("waiting", thread:status())
    end
  end)

  it("raises for what is no time", function()
    fails_with("NaN", fern.sleep, 0 / 0)
    for _, bad in ipairs { "soon", {}, true, print } do fails_with("number expected", fern.sleep, bad) end
  end)
end)

describe("now", function()
  it("is read fresh and never goes back", function()
    local last = fern.now()
    assert.are.equal("float", math.type(last))
    for _ = 1, 1000 do
      local now = fern.now()
      assert.is_true(now >= last)
      last = now
    end
    local moved
    for _ = 1, 1e6 do
      moved = fern.now() > last       -- without any parking in between
      if moved then break end
    end
    assert.is_true(moved)
  end)
end)

describe("spawn_after", function()
  it("begins in the order of the times, equal ones as they came", function()
    local log, note = new_log()
    fern.spawn_after(0.006, note, "6")
    fern.spawn_after(0.002, note, "2a")
    fern.spawn_after(0.004, note, "4")
    fern.spawn_after(0.002, note, "2b")
    fern.waitall()
    assert.are.same({ "2a", "2b", "4", "6" }, log)
  end)

  it("begins no earlier than asked, and hands arguments on", function()
    local before = fern.now()
    local thread = fern.spawn_after(0.005, function(...) return fern.now(), ... end, "x", nil)
    assert.are.equal("new", thread:status())
    local at, x, none = thread:wait()
    assert.is_true(at - before >= 0.005)
    assert.are.equal("x", x)
    assert.is_nil(none)
  end)

  it("leaves the thread's own waits their time limits", function()
    local open <close> = fern.spawn(fern.sleep, 3600)
    local thread = fern.spawn_after(0.001, function()
      local first, second = select(3, open:join(0.001)), select(3, open:join(0.001))
      return first, second, open:status()
    end)
    local first, second, status = thread:wait()
    assert.are.equal("ETIMEDOUT", first)
    assert.are.equal("ETIMEDOUT", second)
    assert.are.equal("waiting", status)
  end)

  it("takes zero and less as now", function()
    local log, note = new_log()
    fern.spawn_after(-1, note, "a")
    fern.spawn_after(0, note, "b")
    fern.spawn(note, "c")
    fern.sleep(0)
    assert.are.same({ "a", "b", "c" }, log)
  end)

  it("outlives its spawner", function()
    local thread
    fern.spawn(function() thread = fern.spawn_after(0.002, function() return 42 end) end):wait()
    assert.are.equal(42, thread:wait())
  end)

  it("can be cancelled and killed before its time", function()
    local ran
    local function body() ran = true end
    local cancelled, killed = fern.spawn_after(0.002, body), fern.spawn_after(3600, body)
    assert.is_true(cancelled:cancel())
    assert.is_true(killed:kill("no need"))
    killed_join(cancelled)
    assert.are.equal("no need", killed_join(killed).reason)
    fern.sleep(0.005)
    assert.is_nil(ran)
  end)

  it("never begins at math.huge, which is no reason to wait for it", function()
    local thread = fern.spawn_after(NEVER, error, "never")
    fails_with("deadlock", thread.wait, thread)
    assert.is_true(thread:cancel())
  end)

  it("raises for what is no time or no function", function()
    fails_with("NaN", fern.spawn_after, 0 / 0, print)
    fails_with("number expected", fern.spawn_after, nil, print)
    fails_with("number expected", fern.spawn_after, "soon", print)
    fails_with("number expected", fern.spawn_after)
    fails_with("function expected", fern.spawn_after, 1)
    fails_with("function expected", fern.spawn_after, 1, 2)
  end)
end)

describe("trampoline", function()
  -- A script with `input` on its stdin; what it prints.
  local function with_stdin(input, text)
    return (script.run_text(input, 'local fern = require "fern"\n' .. text))
  end

  it("waits until a descriptor is readable", function()
    assert.are.equal("true\nhello\n", with_stdin("(sleep 0.05; echo hello) | ", [[
      print(fern.trampoline(0, "r"))
      print(io.read())
    ]]))
  end)

  it("looks without waiting, or waits for a time", function()
    assert.are.equal("nil\ttimeout\tETIMEDOUT\nnil\ttimeout\tETIMEDOUT\ntrue\ntrue\n",
      with_stdin("(sleep 0.3; echo hello) | ", [[
        print(fern.trampoline(0, "r", 0))
        print(fern.trampoline(0, "r", 0.01))
        print(fern.trampoline(0, "r", 10))
        print(fern.trampoline(0, "r", 0))
      ]]))
  end)

  it("lets others run meanwhile", function()
    assert.are.equal("ticked\ntrue\n", with_stdin("(sleep 0.1; echo x) | ", [[
      fern.spawn(function() fern.sleep(0.01) print("ticked") end)
      print(fern.trampoline(0, "r"))
    ]]))
  end)

  it("waits until a descriptor is writable", function()
    assert.are.equal("true\n", with_stdin("", [[print(fern.trampoline(1, "w"))]]))
  end)

  it("refuses a second waiter", function()
    assert.matches("EBUSY", with_stdin("sleep 0.3 | ", [[
      local first <close> = fern.spawn(fern.trampoline, 0, "r")
      fern.sleep(0)
      print(fern.trampoline(0, "r"))
    ]]))
  end)

  it("tells of descriptors that are closed", function()
    local ok, message, code = fern.trampoline(987, "r")
    assert.is_nil(ok)
    assert.is_string(message)
    assert.are.equal("EBADF", code)
  end)

  it("can be killed", function()
    assert.are.equal("false\tECANCELED\n", with_stdin("sleep 0.3 | ", [[
      local t = fern.spawn(fern.trampoline, 0, "r")
      fern.sleep(0.01)
      t:kill()
      local ok, e = t:join()
      print(ok, e.code)
    ]]))
  end)

  it("raises for what makes no sense", function()
    fails_with("invalid option", fern.trampoline, 0, "rw")
    fails_with("expected", fern.trampoline, 0)
    fails_with("expected", fern.trampoline, "x", "r")
    fails_with("descriptor expected", fern.trampoline, -1, "r")
    fails_with("descriptor expected", fern.trampoline, 1 << 40, "r")
    fails_with("integer", fern.trampoline, 1.5, "r")
    fails_with("NaN", fern.trampoline, 0, "r", 0 / 0)
  end)
end)

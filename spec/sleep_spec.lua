-- SPDX-License-Identifier: MIT
-- sleep: time, and descriptors that are somebody else's.
local fern = require "fern"
local script = require "spec.support.script"
local support = require "spec.support.threads"
local unix = require "spec.support.unix"

local NEVER = math.huge
local new_log, killed_join, fails_with = support.new_log, support.killed_join, support.fails_with

-- Spawns threads by spawn_all(note, step), whose times are a `step` apart, and
-- returns what they noted. Again with longer steps if it took as long as one.
local function noted_in_order(spawn_all)
  local step = 0.0005
  while true do
    local log, note = new_log()
    local before = fern.now()
    local threads = spawn_all(note, step)
    fern.sleep(0)
    if fern.now() - before < step then
      fern.waitall()
      return table.concat(log, " ")
    end
    for _, thread in ipairs(threads) do thread:kill() thread:join() end
    step = step * 2
  end
end

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
    assert.are.equal("1 2 3 4 5", noted_in_order(function(note, step)
      local threads = {}
      for _, n in ipairs { 5, 1, 3, 2, 4 } do
        threads[#threads + 1] = fern.spawn(function() fern.sleep(n * step) note(n) end)
      end
      return threads
    end))
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
    assert.are.equal("2a 2b 4 6", noted_in_order(function(note, step)
      return {
        fern.spawn_after(6 * step, note, "6"), fern.spawn_after(2 * step, note, "2a"),
        fern.spawn_after(4 * step, note, "4"), fern.spawn_after(2 * step, note, "2b"),
      }
    end))
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

  it("is cancelled when its block is left", function()
    local thread, ran
    fern.spawn(function()
      local later <close> = fern.spawn_after(3600, function() ran = true end)
      thread = later
    end):wait()
    assert.are.equal("killed", thread:status())
    assert.is_nil(ran)
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

  local function timed_out(ok, message, code)
    assert.is_nil(ok)
    assert.are.equal("timeout", message)
    assert.are.equal("ETIMEDOUT", code)
  end

  -- Calls `fn` with both ends of a pipe.
  local function with_pipe(fn)
    local reader, writer = unix.pipe()
    fn(reader, writer)
    unix.close(reader)
    unix.close(writer)
  end

  it("looks without waiting, or waits for a time", function()
    with_pipe(function(reader, writer)
      timed_out(fern.trampoline(reader, "r", 0))
      timed_out(fern.trampoline(reader, "r", 0.001))
      unix.write(writer, "x")
      for _, timeout in ipairs { 10, 1e-9, 0, -1 } do
        assert.is_true(fern.trampoline(reader, "r", timeout))
      end
    end)
  end)

  it("lets others run meanwhile", function()
    with_pipe(function(reader, writer)
      local ticked
      fern.spawn(function()
        fern.sleep(0.001)
        ticked = true
        unix.write(writer, "x")
      end)
      assert.is_true(fern.trampoline(reader, "r"))
      assert.is_true(ticked)
    end)
  end)

  it("wakes one that reads and one that writes at once", function()
    local near, far = unix.socketpair()
    unix.write(far, "x")
    local reader = fern.spawn(fern.trampoline, near, "r")
    local writer = fern.spawn(fern.trampoline, near, "w")
    assert.is_true(reader:wait())
    assert.is_true(writer:wait())
    unix.close(near)
    unix.close(far)
  end)

  it("waits until a descriptor is writable", function()
    assert.are.equal("true\n", with_stdin("", [[print(fern.trampoline(1, "w"))]]))
  end)

  it("refuses a second waiter", function()
    with_pipe(function(reader)
      local first <close> = fern.spawn(fern.trampoline, reader, "r")
      fern.sleep(0)
      assert.are.equal("waiting", first:status())
      assert.are.equal("EBUSY", select(3, fern.trampoline(reader, "r")))
    end)
  end)

  it("tells of descriptors that are closed", function()
    local ok, message, code = fern.trampoline(987, "r")
    assert.is_nil(ok)
    assert.is_string(message)
    assert.are.equal("EBADF", code)
  end)

  it("can be killed", function()
    with_pipe(function(reader)
      local thread = fern.spawn(fern.trampoline, reader, "r")
      fern.sleep(0)
      assert.are.equal("waiting", thread:status())
      thread:kill()
      killed_join(thread)
    end)
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

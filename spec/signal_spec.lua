-- SPDX-License-Identifier: MIT
-- signal: signals of the process wake green threads, and none is lost that the
-- system has not lost itself.

local fern = require "fern"
local signal = require "fern.signal"
local unix = require "spec.support.unix"
local script = require "spec.support.script"

local me = unix.getpid()

local function send(name) assert(signal.send(me, name)) end

-- A script of its own: what it wrote, and how it ended.
local function run(text)
  return script.run_text("", "local fern = require 'fern'\nlocal signal = require 'fern.signal'\n" ..
    "local unix = require 'spec.support.unix'\nlocal me = unix.getpid()\n" .. text)
end

describe("signal.wait", function()
  it("waits for the next one, while others run", function()
    local sender = fern.spawn(function() fern.sleep(0.005) send "USR2" end)
    assert.are.equal("SIGUSR2", signal.wait "USR2")
    sender:wait()
    signal.default "USR2"
  end)

  it("gets those that came since the last wait, and no others", function()
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { signal.wait("SIGUSR2", 0) })
    send "USR2"
    fern.sleep(0.001)
    send "USR2"
    fern.sleep(0.001)
    assert.are.equal("SIGUSR2", signal.wait("USR2", 1))
    assert.are.equal("SIGUSR2", signal.wait("USR2", 1))
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { signal.wait("USR2", 0.01) })
    signal.default "USR2"
  end)

  it("counts every one of those that the system queues", function()
    local one <close> = signal.open "RTMIN+3"
    for _ = 1, 500 do send "RTMIN+3" end
    for _ = 1, 500 do assert.is_true(one:wait(5)) end
    assert.are.equal(0, one:count())
    assert.is_nil((one:wait(0)))
  end)

  it("is left by a kill and a deadline, which take nothing", function()
    local one <close> = signal.open "USR2"
    local thread = fern.spawn(one.wait, one)
    fern.sleep(0)
    thread:kill()
    assert.is_nil((fern.timeout(0.001, one.wait, one)))
    send "USR2"
    assert.is_true(one:wait(5))
  end)

  it("wakes the longest waiter for each, and all when it is closed", function()
    local one, order = signal.open "USR2", {}
    local threads = {}
    for i = 1, 3 do
      threads[i] = fern.spawn(function()
        local code = select(3, one:wait())
        order[#order + 1] = { i, code or "got" }
      end)
    end
    fern.sleep(0)
    send "USR2"
    threads[1]:wait()
    one:close()
    one:close()
    threads[3]:wait()
    assert.are.same({ { 1, "got" }, { 2, "EBADF" }, { 3, "EBADF" } }, order)
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { one:wait() })
    assert.are.equal("fern.signal (SIGUSR2, closed)", tostring(one))
  end)

  it("may be one of many that fern.wait waits for", function()
    local usr1 <close> = signal.open "USR1"
    local usr2 <close> = signal.open "USR2"
    fern.spawn(send, "USR2")
    assert.are.same({ usr2 }, (fern.wait({ usr1, usr2 }, { count = 1, timeout = 5 })))
    assert.is_true(usr2:wait(0))
  end)
end)

describe("signal.on", function()
  it("calls in a thread of its own, which may park, for each", function()
    local got = fern.queue()
    local subscription <close> = signal.on("USR2", function(name)
      fern.sleep(0.001)
      got:put(name)
    end)
    send "USR2"
    assert.are.equal("SIGUSR2", got:get(5))
    send "USR2"
    assert.are.equal("SIGUSR2", got:get(5))
    assert.is_truthy(tostring(subscription):find "SIGUSR2")
  end)

  it("lets several hear the same one, also those who wait", function()
    local got = fern.queue()
    local a <close> = signal.on("USR2", function() got:put "a" end)
    local b <close> = signal.on("USR2", function() got:put "b" end)
    local one <close> = signal.open "USR2"
    fern.sleep(0)
    send "USR2"
    assert.is_true(one:wait(5))
    local first, second = got:get(5), got:get(5)
    assert.are.same({ true, true }, { first ~= second, a ~= b })
  end)

  it("is missed by nobody: waitall does not wait for it", function()
    local subscription <close> = signal.on("USR2", print)
    fern.sleep(0)
    assert.is_true(fern.waitall(5))
    assert.is_truthy(subscription)
  end)

  it("may be what an event waits for: that is no deadlock", function()
    assert.are.equal("stopping\n", (run [[
      local stop = fern.event()
      signal.on("TERM", function() stop:send "stopping" end)
      fern.spawn_after(0.01, signal.send, me, "TERM")
      fern.sleep(0)
      print(stop:wait())
    ]]))
  end)

  it("reports an error, and goes on", function()
    local output = run [[
      local done = fern.event()
      local count = 0
      signal.on("USR2", function()
        count = count + 1
        if count == 2 then done:send() end
        error "oops"
      end)
      fern.sleep(0)
      signal.send(me, "USR2")
      fern.sleep(0.01)
      signal.send(me, "USR2")
      done:wait()
    ]]
    assert.are.equal(2, select(2, output:gsub("failed: [^\n]*oops", "")))
  end)

  it("gives the signal back when it is closed, and at the end", function()
    local output, code = run [[
      local s = signal.on("TERM", print)
      s:close()
      s:close()
      signal.send(me, "TERM")
      fern.sleep(1)
    ]]
    assert.are.same({ "", -15 }, { output, code })
    output, code = run [[
      do local _ <close> = fern signal.on("TERM", print) fern.sleep(0) end
      unix.kill(me, 15)
    ]]
    assert.are.same({ "", -15 }, { output, code })
  end)

  it("may be closed before its thread has begun", function()
    local heard
    local subscription = signal.on("USR1", function() heard = true end)
    assert.is_true(subscription:close())
    fern.sleep(0)
    assert.is_nil(heard)
  end)

  it("takes Ctrl-C from fern for as long", function()
    local output, code = run [[
      do
        local _ <close> = signal.on("INT", function(name) print("got", name) end)
        fern.sleep(0)
        signal.send(me, "INT")
        fern.sleep(0.02)
      end
      io.stdout:flush()
      signal.send(me, "INT")
      fern.sleep(5)
    ]]
    assert.is_truthy(output:find "^got\tSIGINT\n.*interrupted!")
    assert.are.equal(1, code)
  end)
end)

describe("signal.ignore and default", function()
  it("change what the process does, and back", function()
    local output, code = run [[
      signal.ignore "TERM"
      signal.send(me, "TERM")
      fern.sleep(0.01)
      print(unix.ignores(15))
      signal.default "TERM"
      io.stdout:flush()
      signal.send(me, "TERM")
    ]]
    assert.are.same({ "true\n", -15 }, { output, code })
  end)

  it("are refused while somebody listens", function()
    local one <close> = signal.open "USR2"
    assert.are.equal("EBUSY", select(3, signal.ignore "USR2"))
    assert.are.equal("EBUSY", select(3, signal.default "USR2"))
    assert.is_truthy(one)
  end)

  it("are not inherited by programs", function()
    local _, code = run [[
      local process = require "fern.process"
      signal.ignore "TERM"
      os.exit(process.shell("kill -TERM $$").signal == "SIGTERM" and 0 or 1)
    ]]
    assert.are.equal(0, code)
  end)
end)

describe("a signal", function()
  it("has a name and a number, and others have not", function()
    assert.are.same({ "SIGTERM", 15, 15, "SIGRTMIN+0" },
      { signal.name(15), signal.number "TERM", signal.number "SIGTERM", signal.name "RTMIN" })
    for _, what in ipairs { "NONE", "", "RTMIN+99", "RTMIN+", "term", 0, -1, 65, 1e9 // 1 | 0, (1 << 32) + 15 } do
      assert.has_error(function() signal.wait(what, 0) end)
    end
    for _, what in ipairs { "KILL", "STOP", "SEGV" } do
      assert.has_error(function() signal.wait(what, 0) end)
      assert.has_error(function() signal.on(what, print) end)
    end
    assert.has_error(function() signal.on("USR2", 5) end)
    assert.has_error(function() signal.send(0, "TERM") end)
    assert.has_error(function() signal.send(-1, "TERM") end)
    assert.are.equal("ESRCH", select(3, signal.send(0x7ffffffe, 0)))
  end)

  it("of a forked child is nobody's business in its parent", function()
    assert.are.equal("child\tSIGUSR1\n6\nnil\ttimeout\tETIMEDOUT\n", (run [[
      local process = require "fern.process"
      signal.on("USR2", function() print "never" end)
      local p = process.fork(function()
        local kill = process.spawn { "sh", "-c", "sleep 0.01; kill -USR1 " .. unix.getpid() }
        print("child", signal.wait("USR1", 5))
        kill:wait()
        return 6
      end)
      print(p:wait())
      print(signal.wait("USR1", 0.01))
    ]]))
  end)

  it("of a forked child does what it did before its parent caught it", function()
    local output = run [[
      local process = require "fern.process"
      signal.on("TERM", print)
      fern.sleep(0)
      local p = process.fork(function() fern.sleep(5) end)
      fern.sleep(0.02)
      p:kill "TERM"
      print(p:wait())
    ]]
    assert.are.equal("nil\tkilled by SIGTERM\tSIGTERM\n", output)
  end)

  it("may be looked out for in a script's last line, and nothing is said of it", function()
    assert.are.equal("the end\n", (run [[
      print "the end"
      io.stdout:flush()
      signal.on("TERM", print)
    ]]))
    assert.matches("1 green thread never began", (run [[
      signal.on("TERM", print)
      fern.spawn(print, "never")
    ]]))
  end)
end)

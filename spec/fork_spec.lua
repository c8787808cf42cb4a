-- SPDX-License-Identifier: MIT
-- fork: a forked child has a hub of its own and none of its parent's threads,
-- and its parent never notices.

local script = require "spec.support.script"

local BEFORE = [[
local fern = require "fern"
local unix = require "spec.support.unix"
local parent, closed = unix.getpid(), 0

-- Run `fn` in a child; print what became of that.
local function child(fn)
  io.stdout:flush()
  local pid = unix.fork()
  if pid == 0 then
    fn()
    os.exit(0)
  end
  print(unix.wait(pid))
end

local thread = fern.spawn(function()
  local _ <close> = setmetatable({}, { __close = function()
    print(unix.getpid() == parent and "closed in the parent" or "closed in the child")
  end })
  fern.sleep(1e9)
end)
local worker = fern.spawn(function()
  for i = 1, 3 do fern.sleep(0.001) end
  return "worked"
end)
fern.sleep(0)
]]

local function check(text, expected)
  local output, code = script.run_text("", BEFORE .. text)
  assert.are.equal(expected .. "closed in the parent\n", output)
  assert.are.equal(0, code)
end

describe("a forked child", function()
  it("may exec, and the parent goes on", function()
    check([[
      child(function() unix.exec "exit 5" end)
      print(worker:wait())
    ]], "exit\t5\nworked\n")
  end)

  it("may exit in every way, and unwinds nothing of its parent's", function()
    check([[
      child(function() os.exit(3) end)
      child(function() os.exit(4, true) end)
      child(function() unix.exit(6) end)
      child(function() local _ <close> = fern end)
      print(worker:wait())
    ]], "exit\t3\nexit\t4\nexit\t6\nexit\t0\nworked\n")
  end)

  it("may exit from a thread, and out of its main chunk", function()
    check([[
      fern.spawn(function() child(function() os.exit(3, true) end) end):wait()
      io.stdout:flush()
      local pid = unix.fork()
      if pid == 0 then return end
      print(unix.wait(pid))
      print(worker:wait())
    ]], "exit\t3\nexit\t0\nworked\n")
  end)

  local parking = {
    sleep = "fern.sleep(0.001) print 'ok'",
    yield = "fern.sleep(0) print 'ok'",
    spawn = "print(fern.spawn(function() fern.sleep(0.001) return 'ok' end):wait())",
    waitall = "fern.spawn(function() fern.sleep(0.001) print 'ok' end) fern.waitall()",
    trampoline = "local r, w = unix.pipe() unix.write(w, 'x') fern.trampoline(r, 'r') print 'ok'",
    deadline = "print(fern.timeout(0.001, fern.sleep, 9) == nil and 'ok')",
    pool = "fern.pool(1):spawn(print, 'ok') fern.waitall()",
    imap = "for word in fern.pool(1):imap(function(x) fern.sleep(0) return x end, { 'ok' }) do print(word) end",
    executor = "print(fern.executor { max_workers = 1 }:submit(function() return 'ok' end):result())",
    names = "print(select(3, require 'fern.net'.connect('localhost', 9)) == 'ECONNREFUSED' and 'ok')",
    http = "print(select(3, require 'fern.http'.get 'http://127.0.0.1:9/') == 'ECONNREFUSED' and 'ok')",
    queue = [[
      local queue = fern.queue(0)
      fern.spawn(queue.put, queue, 'ok')
      print(queue:get())
    ]],
  }

  for name, wait in pairs(parking) do
    it("has a hub that works, for " .. name, function()
      check(("child(function() %s end) print(worker:wait())"):format(wait), "ok\nexit\t0\nworked\n")
    end)

    it("has one, too, where another thread than the first has forked, for " .. name, function()
      check(([[
        fern.spawn(function() child(function() %s end) end):wait()
        print(worker:wait())
      ]]):format(wait), "ok\nexit\t0\nworked\n")
    end)
  end

  it("may read and write what its parent's threads were reading and writing", function()
    check([[
      local ours, theirs = fern.net.pair()
      local reader = fern.spawn(ours.read, ours)
      local writer = fern.spawn(ours.write, ours, ("x"):rep(1e6))
      fern.sleep(0.01)
      child(function()
        theirs:write("hello\n")
        print(ours:read())
        ours:settimeout(0)
        print((select(3, ours:write("y"))))
        io.stdout:flush()
        os.exit(0)
      end)
      theirs:write("bye\n")
      print(reader:wait())
      print(theirs:read(1e6) == ("x"):rep(1e6), writer:wait())
      print(worker:wait())
    ]], "hello\nETIMEDOUT\nexit\t0\nbye\ntrue\ttrue\nworked\n")
  end)

  it("has none of its parent's threads", function()
    check([[
      child(function()
        fern.sleep(0)
        print(thread:status(), worker:status(), #fern.debug.threads())
        print(pcall(worker.wait, worker))
      end)
      print(thread:status(), worker:wait())
    ]], "killed\tkilled\t1\nfalse\tkilled\nexit\t0\nwaiting\tworked\n")
  end)

  it("uses the stacks of those threads again", function()
    check([[
      local queue = fern.queue(0)
      for _ = 1, 200 do fern.spawn(queue.get, queue) end
      fern.sleep(0)
      child(function()
        fern.sleep(0)
        local before = fern.debug.stats().stacks
        for _ = 1, 200 do fern.spawn(fern.sleep, 0) end
        fern.waitall()
        print(fern.debug.stats().stacks == before)
      end)
      queue:close()
      print(worker:wait())
    ]], "true\nexit\t0\nworked\n")
  end)

  it("gets the slots of its parent's threads back, and finds their locks left", function()
    check([[
      local pool, lock = fern.pool(1), fern.lock()
      pool:spawn(function() lock:acquire() fern.sleep(1e9) end)
      for _ = 1, 3 do fern.spawn(pool.spawn, pool, print) end
      fern.sleep(0)
      child(function()
        fern.sleep(0)
        print(pool:free(), pool:waiting(), select(2, pcall(lock.acquire, lock)):match "left locked")
        pool:spawn(print, "ok")
        fern.waitall()
      end)
      print(worker:wait())
    ]], "1\t0\tleft locked\nok\nexit\t0\nworked\n")
  end)

  it("ends with the thread that has forked, whose own are unwound", function()
    check([[
      local function closing(word)
        return setmetatable({}, { __close = function() print(word) end })
      end
      fern.spawn(function()
        io.stdout:flush()
        local pid = unix.fork()
        if pid == 0 then
          local _ <close> = closing "its own"
          fern.spawn(function() local _ <close> = closing "one of its own" fern.sleep(1e9) end)
          fern.sleep(0)
          return
        end
        print(unix.wait(pid))
      end):wait()
      print(worker:wait())
    ]], "its own\none of its own\nexit\t0\nworked\n")
  end)

  it("tells of the error with which that ends, and fails", function()
    local output = script.run_text("", BEFORE .. [[
      fern.spawn(function()
        io.stdout:flush()
        local pid = unix.fork()
        if pid == 0 then fern.sleep(0) error "oops" end
        print(unix.wait(pid))
      end):wait()
    ]])
    assert.matches("failed: [^\n]*oops\n", output)
    assert.matches("\nexit\t1\n", output)
  end)

  it("may close fern, and end", function()
    check([[
      fern.spawn(function()
        io.stdout:flush()
        local pid = unix.fork()
        if pid == 0 then
          do local _ <close> = fern end
          print(pcall(fern.spawn, print))
          return
        end
        print(unix.wait(pid))
      end):wait()
      print(worker:wait())
    ]], "false\tfern is closed\nexit\t0\nworked\n")
  end)

  it("is one of many that accept from one listener", function()
    check([[
      local net = require "fern.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local acceptor = fern.spawn(listener.accept, listener)
      fern.sleep(0)
      local host, port = listener:address()
      local pids = {}
      for i = 1, 3 do
        io.stdout:flush()
        pids[i] = unix.fork()
        if pids[i] == 0 then
          local peer <close> = assert(listener:accept(10))
          peer:write(peer:read "l", "\n")
          os.exit(i)
        end
      end
      acceptor:kill()
      local codes = 0
      for i = 1, 3 do
        local c <close> = assert(net.connect(host, port))
        c:write("hello ", tostring(i), "\n")
        print(c:read "l")
      end
      for i = 1, 3 do codes = codes + select(2, unix.wait(pids[i])) end
      print(codes, worker:wait())
    ]], "hello 1\nhello 2\nhello 3\n6\tworked\n")
  end)

  it("may fork in its turn", function()
    check([[
      child(function()
        fern.spawn(function() child(function()
          fern.sleep(0.001)
          print(fern.spawn(function() return "grandchild" end):wait())
        end) end):wait()
      end)
      print(worker:wait())
    ]], "grandchild\nexit\t0\nexit\t0\nworked\n")
  end)

  it("goes on under its own deadlines, in a scope that is its parent's", function()
    check([[
      do
        local scope <close> = fern.scope()
        local _ <close> = fern.deadline(1e6)
        scope:spawn(function()
          child(function()
            print(fern.timeout(0.001, fern.sleep, 9))
            local own <close> = fern.scope()
            own:spawn(print, "a child of the child")
          end)
        end)
      end
      print(worker:wait())
    ]], "nil\ttimeout\tETIMEDOUT\na child of the child\nexit\t0\nworked\n")
  end)

  it("may run programs, and end threads by name only", function()
    check([[
      child(function()
        local pipe = io.popen "echo from a program; exit 3"
        print(pipe:read "l", select(3, pipe:close()))
        thread:kill()
        print(fern.current():name(), tostring(thread):match "fern.thread")
      end)
      print(thread:status(), worker:wait())
    ]], "from a program\t3\nmain\tfern.thread\nexit\t0\nwaiting\tworked\n")
  end)

  it("says so when there is no descriptor for its hub, and works when there is", function()
    check([[
      child(function()
        unix.limit("files", 3)
        print((select(2, pcall(fern.sleep, 0))))
        unix.limit("files", 256)
        fern.sleep(0)
        print "ok"
      end)
      print(worker:wait())
    ]], "too many open files\nok\nexit\t0\nworked\n")
  end)
end)

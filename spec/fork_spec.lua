-- SPDX-License-Identifier: MIT
-- fork: a forked child has the threads of its parent, but may not run them: it
-- may exec or exit, and its parent never notices.

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

-- ThreadSanitizer does not follow what forks on a fiber.
local environment = "export TSAN_OPTIONS=report_bugs=0; "

local function check(text, expected)
  local output, code = script.run_text(environment, BEFORE .. text)
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

  it("may exit in every way, and unwinds nothing", function()
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
    sleep = "fern.sleep(1)",
    yield = "fern.sleep(0)",
    spawn = "fern.spawn(print)",
    join = "worker:join()",
    wait = "worker:wait(1)",
    waitall = "fern.waitall()",
    trampoline = "fern.trampoline(0, 'r')",
    deadline = "local _ <close> = fern.deadline(1) fern.sleep(2)",
    timeout = "fern.timeout(1, fern.sleep, 2)",
    pool = "fern.pool(1):spawn(print)",
    imap = "for _ in fern.pool(1):imap(print, { 1 }) do error 'never' end",
    executor = "fern.executor { max_workers = 1 }:submit(print):result()",
    net = "assert(require 'fern.net'.connect('127.0.0.1', 9))",
    http = "assert(require 'fern.http'.get 'http://127.0.0.1:9/')",
  }

  for name, wait in pairs(parking) do
    it("gets an error from " .. name, function()
      check(([[
        child(function()
          print(select(2, pcall(function() %s end)):match "a forked child.*")
        end)
        print(worker:wait())
      ]]):format(wait), "a forked child cannot park: exec or exit there\nexit\t0\nworked\n")
    end)
  end

  it("may run programs, and end threads by name only", function()
    check([[
      child(function()
        local pipe = io.popen "echo from a program; exit 3"
        print(pipe:read "l", select(3, pipe:close()))
        thread:kill()
        print(fern.current():name(), worker:status(), tostring(thread):match "fern.thread")
      end)
      print(thread:status(), worker:wait())
    ]], "from a program\t3\nmain\twaiting\tfern.thread\nexit\t0\nwaiting\tworked\n")
  end)
end)

-- SPDX-License-Identifier: MIT
-- break: Ctrl-C ends a script as it ends one in the plain `lua`, wherever it
-- is, and unwinds its threads; the second one is deadly. SIGPIPE never is.

local fern = require "fern"
local script = require "spec.support.script"
local unix = require "spec.support.unix"

local SIGINT, SIGPIPE = 2, 13

-- Of the kinds of parked threads those that never run.
local BEFORE = [[
local parked = require "spec.support.parked"
local fern = require "fern"
local unix = require "spec.support.unix"
parked.spawn(26)

local function interrupt() unix.kill(unix.getpid(), 2) end

-- From outside, once everything is parked: by who reads this line.
local function interrupt_later()
  fern.spawn(function()
    io.stdout:write("interrupt ", unix.getpid(), "\n")
    io.stdout:flush()
  end)
end

-- Until an interrupt.
local function work()
  local n = 0
  while true do n = n + 1 end
end
]]

local function sleeps(pid)
  local file <close> = assert(io.open("/proc/" .. pid .. "/stat"))
  return file:read("a"):match "%) (%a)" == "S"
end

-- Runs `command` and interrupts whoever asks for it, once it sleeps:
-- ThreadSanitizer may lose what comes while a green thread runs. Returns what
-- it wrote otherwise, and its exit code.
local function interrupt_who_asks(command)
  local pipe, output = assert(io.popen(command .. " 2>&1")), {}
  for line in pipe:lines("L") do
    local pid = line:match "interrupt (%d+)\n$"
    if pid then
      while not sleeps(pid) do fern.sleep(0.001) end
      unix.kill(tonumber(pid), SIGINT)
    else
      output[#output + 1] = line
    end
  end
  local _, how, code = pipe:close()
  return table.concat(output), how == "signal" and -code or code
end

-- `option`, if any, stands before the script.
local function run(text, option)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write(BEFORE, text)
  file:close()
  local output, code = interrupt_who_asks(option and script.command(option, path) or script.command(path))
  os.remove(path)
  local closed, opened = output:match "closed (%d+) of (%d+)\n"
  return output, code, closed and (closed == opened or closed .. " of " .. opened)
end

-- The script ends with one error, "interrupted!", and all is unwound. Returns
-- what it wrote.
local function check_interrupted(text)
  local output, code, closed = run(text)
  assert.are.equal(1, code, output)
  assert.is_true(closed, output)
  assert.is_truthy(output:find "interrupted!", output)
  assert.are.equal(1, select(2, output:gsub("stack traceback", "")), output)
  return output
end

local function check_contains(output, text)
  assert.is_truthy(output:find(text, 1, true), output)
end

describe("Ctrl-C", function()
  it("ends a script that is parked, with main's traceback", function()
    local output = check_interrupted [[
      local function wait_here() fern.sleep(60) return 1 end
      interrupt_later()
      wait_here()
    ]]
    check_contains(output, "in local 'wait_here'")
  end)

  it("ends a script that works, with main's traceback", function()
    local output = check_interrupted [[
      interrupt()
      work()
    ]]
    assert.is_truthy(output:find("^lua[^\n]+ interrupted!\n"), output)
  end)

  it("ends a script whose thread works, with that thread's traceback", function()
    local output = check_interrupted [[
      local function hard_work() interrupt() work() return 1 end
      fern.spawn(function()
        local _ <close> = parked.closing()
        return hard_work()
      end)
      fern.sleep(60)
    ]]
    check_contains(output, "interrupted! The thread that was running:")
    check_contains(output, "'hard_work'")
  end)

  it("ends a script whose thread works and swallows errors", function()
    check_interrupted [[
      fern.spawn(function()
        local _ <close> = parked.closing()
        interrupt()
        while true do pcall(work) end
      end)
      fern.sleep(60)
    ]]
  end)

  -- What main waits for, while a thread takes turns with itself.
  local waits = {
    ["a sleep"] = "fern.sleep(60)",
    ["a yield"] = "while true do fern.sleep(0) end",
    ["a join"] = "thread:join()",
    ["a wait with a timeout"] = "thread:wait(60)",
    ["a waitall"] = "fern.waitall()",
    ["a trampoline"] = "fern.trampoline((unix.pipe()), 'r')",
    ["a timeout"] = "fern.timeout(60, fern.sleep, 60)",
    ["a shield"] = "fern.shield(fern.sleep, 60)",
    ["a coroutine"] = "coroutine.wrap(function() local _ <close> = parked.closing() fern.sleep(60) end)()",
    ["a comparator"] = "table.sort({ 3, 2, 1 }, function() fern.sleep(60) end)",
    ["a full pool"] = "fern.pool(0):spawn(print)",
    ["an imap"] = "for _ in fern.pool(1):imap(fern.sleep, { 60 }) do error 'never' end",
    ["a future"] = "fern.executor { max_workers = 1 }:submit(fern.sleep, 60):result()",
    ["a module"] = "fern.spawn(require, 'slow') fern.sleep(0) require 'slow'",
  }

  for name, wait in pairs(waits) do
    it("ends " .. name .. " of main", function()
      check_interrupted([[
        package.preload.slow = function() fern.sleep(60) end
        local thread = fern.spawn(function()
          local _ <close> = parked.closing()
          coroutine.wrap(function()
            for _ = 1, 10 do fern.sleep(0) end
            interrupt()
            while true do fern.sleep(0) end
          end)()
        end)
      ]] .. wait)
    end)
  end

  it("lets main close what it has open, by parking too", function()
    local output = check_interrupted [[
      local _ <close> = setmetatable({}, { __close = function()
        for _ = 1, 5 do fern.sleep(0.001) end
        print "main has closed"
      end })
      fern.spawn(function() while true do fern.sleep(0) end end)
      interrupt()
      while true do fern.sleep(0) end
    ]]
    check_contains(output, "main has closed\n")
  end)

  it("may be caught, and the script goes on; the second one is deadly", function()
    local output, code = run [[
      interrupt_later()
      local ok, err = pcall(fern.sleep, 60)
      print(ok, err:sub(1, 12), fern.spawn(function() fern.sleep(0) return "goes on" end):wait())
      io.stdout:flush()
      interrupt()
      work()
    ]]
    assert.are.equal("false\tinterrupted!\tgoes on\n", output)
    assert.are.equal(-SIGINT, code)
  end)

  -- Of those that came while main went on after a wait, some were lost; as ThreadSanitizer
  -- loses some.
  local heard = os.getenv "FLAVOUR" == "tsan" and pending or it
  heard("is heard, at whichever moment it comes", function()
    local output, code = run [[
      local core = require "fern.core"
      local killer <close> = assert(require "fern.process".spawn {
        "/bin/sh", "-c", "while read x; do kill -INT $PPID; done", stdin = "pipe",
      })
      local heard = 0
      for round = 1, 1000 do
        core.command.rearm()
        local ok, err = pcall(function()
          killer.stdin:write "x\n"
          local limit = fern.now() + 60
          while fern.now() < limit do fern.sleep(1e-5 * (round % 7)) end
        end)
        if ok or not tostring(err):find "interrupted!" then break end
        heard = heard + 1
      end
      print(heard)
    ]]
    assert.are.equal("1000\n", output:match "^%d+\n")
    assert.are.equal(0, code)
  end)

  it("twice ends what does not listen: a coroutine at work, as in lua", function()
    local output, code = run [[
      coroutine.wrap(function()
        interrupt()
        for _ = 1, 1e5 do math.abs(1) end
        print "still at work"
        io.stdout:flush()
        interrupt()
        work()
      end)()
    ]]
    assert.are.equal("still at work\n", output)
    assert.are.equal(-SIGINT, code)
  end)

  it("is the interpreter's again once fern is closed", function()
    local output, code = run [[
      do local _ <close> = fern end
      interrupt()
      work()
    ]]
    assert.are.equal(1, code)
    assert.is_truthy(output:find "interrupted!\nstack traceback", output)
  end)

  it("works for `lua -lfern` and for lines that are typed", function()
    local output, code = interrupt_who_asks(
      [[echo 'fern = require "fern"
        print "parks"
        function ask() print("interrupt " .. require "spec.support.unix".getpid()) io.stdout:flush() end
        fern.spawn(ask) fern.sleep(60)
        print "goes on"' | ]] .. script.command("-i"))
    check_contains(output, "parks")
    check_contains(output, "interrupted!")
    check_contains(output, "goes on")
    assert.are.equal(0, code)
    output, code = run("interrupt_later() fern.sleep(60)", "-lfern")
    check_contains(output, "interrupted!")
    assert.are.equal(1, code)
  end)
end)

describe("SIGPIPE", function()
  it("never ends a script: the write fails", function()
    local output, code = run [[
      local reader, writer = unix.pipe()
      unix.close(reader)
      print((select(2, unix.write(writer, "x"))))
      local pipe = io.popen("exit 0", "w")
      repeat local ok, err = pipe:write(("x"):rep(1e5)) until not ok or print "again"
      print "goes on"
    ]]
    assert.are.equal("Broken pipe\n", output:match "^[^\n]+\n")
    check_contains(output, "goes on\n")
    assert.are.equal(0, code)
  end)

  it("still ends the programs that a script starts", function()
    local output = run [[
      local _, how, number = os.execute "kill -PIPE $$; echo survived"
      print(how, number)
    ]]
    check_contains(output, "signal\t" .. SIGPIPE .. "\n")
    assert.is_nil(output:find "survived")
  end)
end)

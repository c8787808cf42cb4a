-- SPDX-License-Identifier: MIT
-- ends: however a script ends, its threads are unwound while its state is
-- whole, and its exit code and its messages are those of the plain `lua`.
-- Each is a process of its own; see parked.lua for what its threads wait for.

local script = require "spec.support.script"

local PARK = [[
local parked = require "spec.support.parked"
local fern = require "fern"
parked.spawn(tonumber(os.getenv "FERN_PARKED"))
]]

-- There are two seconds to unwind them: with a slow tool there are fewer.
local flavour = os.getenv "FLAVOUR"
local THREADS = (flavour == "valgrind" or flavour == "tsan") and 100 or 1000
local environment = ("export FERN_PARKED=%d; "):format(THREADS)

-- Runs PARK and then `text`. Returns what it wrote without the counted line,
-- its exit code, and whether all was closed (nil if there is no such line).
local function park_and(text)
  local output, code = script.run_text(environment, PARK .. text)
  local closed, opened = output:match("closed (%d+) of (%d+)\n")
  output = output:gsub("closed %d+ of %d+\n", "")
  if not closed then return output, code, nil end
  assert.is_true(tonumber(opened) > THREADS)
  return output, code, closed == opened or closed .. " of " .. opened
end

local function check_end(text, expected_code, expected_closed, expected_output)
  local output, code, closed = park_and(text)
  assert.are.equal(expected_output or "", output)
  assert.are.equal(expected_code, code)
  assert.are.equal(expected_closed, closed)
end

describe("with a thousand threads in every kind of wait", function()
  it("a script that comes to its end unwinds them", function()
    check_end("", 0, true)
  end)

  it("an error in the main chunk is told as lua tells it", function()
    local output, code, closed = park_and "error('this is the end', 0)"
    assert.are.equal(1, code)
    assert.is_true(closed)
    assert.is_truthy(output:find("^lua[^\n]*: this is the end\nstack traceback:\n"), output)
    assert.are.equal(1, select(2, output:gsub("traceback", "")))
  end)

  it("os.exit(n) unwinds nothing, as in lua", function()
    check_end("os.exit(7)", 7, nil)
    check_end("os.exit(false)", 1, nil)
    check_end("fern.spawn(os.exit, 8) fern.sleep(1e9)", 8, nil)
  end)

  it("os.exit(n, true) unwinds them", function()
    check_end("os.exit(7, true)", 7, true)
    check_end("os.exit(true, true)", 0, true)
    check_end("os.exit(false, true)", 1, true)
  end)

  it("os.exit(n, true) unwinds them from a green thread", function()
    check_end([[
      fern.spawn(function()
        local _ <close> = parked.closing()
        os.exit(7, true)
      end):wait()
    ]], 7, true)
  end)

  it("os.exit(n, true) unwinds them from deep inside of a thread and of main", function()
    check_end([[
      local function leave() table.sort({ 3, 2, 1 }, function() os.exit(7, true) end) end
      fern.spawn(function()
        local _ <close> = parked.closing()
        coroutine.wrap(function() pcall(string.gsub, "x", "x", leave) end)()
      end)
      coroutine.wrap(function() table.sort({ 3, 2, 1 }, function() fern.sleep(1e9) end) end)()
    ]], 7, true)
    check_end([[
      coroutine.wrap(function()
        table.sort({ 3, 2, 1 }, function() os.exit(7, true) end)
      end)()
    ]], 7, true)
  end)

  it("local fern <close> unwinds them where its scope ends", function()
    check_end([[
      do
        local _ <close> = fern
      end
      print(parked.opened == parked.closed, pcall(fern.spawn, print))
    ]], 0, true, "true\tfalse\tfern is closed\n")
    local output, code, closed = park_and "local _ <close> = fern; error 'first'"
    assert.are.equal(1, code)
    assert.is_true(closed)
    assert.is_truthy(output:find("first\nstack traceback", 1, true), output)
  end)
end)

-- Runs `text` with `fern` there. Returns what it wrote, and its exit code.
local function run(text)
  return script.run_text("", 'local fern = require "fern"; ' .. text)
end

describe("at the end", function()
  it("a thread that never began is told of", function()
    local output, code = run "fern.spawn(print, 'never')"
    assert.are.equal(0, code)
    assert.is_truthy(output:find("^fern: 1 green thread never began %(spawned at [^\n]+:1%); "
      .. "fern.waitall%(%) waits for all\n$"), output)
    output = run "for i = 1, 3 do fern.spawn(print, 'never') end"
    assert.is_truthy(output:find("^fern: 3 green threads never began "), output)
  end)

  it("an error that nobody asked for is told once, with its traceback", function()
    local output, code = run [[
      local function fails() error "unasked" end
      fern.spawn(function() fails() end):name "careless"
      fern.sleep(0)
      print "main ends"
    ]]
    assert.are.equal(0, code)
    assert.is_truthy(output:find("main ends\n", 1, true))
    assert.is_truthy(output:find("fern: green thread #1 'careless' failed: [^\n]+:1: unasked\n"), output)
    assert.is_truthy(output:find("stack traceback:.+in upvalue 'fails'"), output)
    assert.is_truthy(output:find("spawned at [^\n]+:2\n"), output)
    assert.are.equal(1, select(2, output:gsub("unasked", "")))
  end)

  it("a thread that is unwound cannot spawn, but can say goodbye", function()
    local output, code = run [[
      fern.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          print(pcall(fern.spawn, print))
          fern.sleep(0.01)
          print "goodbye"
        end })
        fern.sleep(1e9)
      end)
      fern.sleep(0)
    ]]
    assert.are.equal("false\tfern is closing\ngoodbye\n", output)
    assert.are.equal(0, code)
  end)

  it("what a shield keeps from its kill is left behind after two seconds", function()
    local output, code = run [[
      local others = setmetatable({}, { __close = function() print "unwound" end })
      fern.spawn(function() fern.shield(fern.sleep, 1e9) end)
      fern.spawn(function() local _ <close> = others; fern.sleep(1e9) end)
      fern.sleep(0)
      os.exit(9, true)
    ]]
    assert.are.equal("unwound\n", output)
    assert.are.equal(9, code)
  end)

  it("os.exit while everything is being unwound still ends the process", function()
    for _, close in ipairs { "true", "false" } do
      local output, code = run([[
        fern.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() os.exit(5, ]] .. close .. [[) end })
          fern.sleep(1e9)
        end)
        fern.sleep(0)
        print "main ends"
      ]])
      assert.are.equal("main ends\n", output)
      assert.are.equal(5, code)
    end
  end)

  it("os.exit(n, true) again, or while everything is being unwound, leaves the others their time", function()
    for name, thread in pairs {
      ["a message handler"] = "xpcall(error, function() os.exit(5, true) end)",
      ["a loop"] = "while true do pcall(os.exit, 5, true) end",
      ["on_error"] = "fern.on_error(function() os.exit(5, true) end) error 'x'",
      ["__close"] = "local _ <close> = closing(function() os.exit(5, true) end) fern.sleep(1e9)",
    } do
      local output, code = run([[
        local function closing(fn) return setmetatable({}, { __close = fn }) end
        fern.spawn(function()
          local _ <close> = closing(function() fern.sleep(0.01) print "closed" end)
          fern.sleep(1e9)
        end)
        fern.spawn(function() ]] .. thread .. [[ end)
        fern.sleep(0)
      ]])
      assert.are.equal("closed\n", output, name)
      assert.are.equal(5, code, name)
    end
  end)

  it("os.exit(n, true) in a finalizer ends the process", function()
    local output, code = run [[
      fern.spawn(fern.sleep, 1e9)
      fern.sleep(0)
      setmetatable({}, { __gc = function() os.exit(6, true) end })
      collectgarbage()
    ]]
    assert.are.equal("", output)
    assert.are.equal(6, code)
  end)

  it("two threads that call os.exit(n, true) end the process once", function()
    local output, code = run [[
      for i = 1, 3 do
        fern.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() print "closed" end })
          os.exit(i, true)
        end)
      end
      fern.waitall()
      print "never"
    ]]
    assert.are.equal("closed\nclosed\nclosed\n", output)
    assert.are.equal(1, code)
  end)

  it("a killed main thread ends the script", function()
    local output, code = run [[
      local main = fern.current()
      local _ <close> = setmetatable({}, { __close = function() print "closed" end })
      fern.spawn(function() main:kill "enough" end)
      fern.sleep(1e9)
    ]]
    assert.are.equal(1, code)
    assert.is_truthy(output:find("^closed\n"), output)
    assert.is_truthy(output:find("killed: enough", 1, true), output)
  end)

  it("a deadlock ends the script, and names who waits for what", function()
    local output, code = run [[
      local a, b
      a = fern.spawn(function() b:wait() end)
      b = fern.spawn(function() a:wait() end)
      a:name "one" b:name "other"
      a:wait()
    ]]
    assert.are.equal(1, code)
    assert.is_truthy(output:find("deadlock", 1, true), output)
    assert.is_truthy(output:find("thread #1 'one' waits for the end of #2 'other'", 1, true), output)
    assert.is_truthy(output:find("thread #2 'other' waits for the end of #1 'one'", 1, true), output)
  end)

  -- A file that a thread has opened is newer than what unwinds the threads,
  -- and would be finalized first.
  local waits = {
    sleep = "fern.sleep(0.001)",
    yield = "for _ = 1, 3 do fern.sleep(0) end",
    ["many yields"] = "for _ = 1, 1000 do fern.sleep(0) end spawn() fern.sleep(1e-4)",
    ["sleeps in a row"] = "for _ = 1, 3 do fern.sleep(1e-6) spawn() end fern.sleep(1e-6)",
    join = "thread:join(0.01)",
    waitall = "fern.waitall(0.01)",
    timeout = "fern.timeout(0.01, fern.sleep, 1e9)",
    trampoline = "fern.trampoline((require 'spec.support.unix'.pipe()), 'r', 0.01)",
    coroutine = "coroutine.wrap(function() fern.sleep(0.01) end)()",
    pool = "local pool = fern.pool(1) pool:spawn(fern.sleep, 0) pool:waitall()",
    ["full pool"] = "local pool = fern.pool(1) pool:spawn(fern.sleep, 0.001) pool:spawn(print) pool:waitall()",
    imap = "for _ in fern.pool(1):imap(function(i) fern.sleep(0) return i end, { 1, 2 }) do end",
    future = "fern.executor { max_workers = 1 }:submit(fern.sleep, 0):result()",
    ["many joins"] = "for _ = 1, 1000 do fern.spawn(fern.now):join() end spawn() fern.sleep(0.001)",
  }

  for name, wait in pairs(waits) do
    it("files that threads opened during main's " .. name .. " are still open for them", function()
      local path = os.tmpname()
      local output, code = run(([[
        local path, opened = %q, 0
        local function work()
          opened = opened + 1
          local file <close> = assert(io.open(path, "a"))
          local _ <close> = setmetatable({}, { __close = function() assert(file:write "goodbye\n") end })
          fern.sleep(1e9)
        end
        local thread
        local function spawn() thread = fern.spawn(work) end
        spawn()
        %s
        io.stdout:write(opened)
      ]]):format(path, wait))
      local file <close> = assert(io.open(path))
      assert.are.equal(0, code)
      assert.are.equal(("goodbye\n"):rep(tonumber(output)), file:read "a")
      os.remove(path)
    end)
  end
end)

describe("the module", function()
  it("can be required again, before and after its end", function()
    local output, code = run [[
      package.loaded["fern"], package.loaded["fern.core"] = nil, nil
      local again = require "fern"
      local a, b = fern.spawn(fern.sleep, 0.001), again.spawn(again.sleep, 0.001)
      print(again.current() == fern.current(), a:join(), b:join())
      do local _ <close> = again end
      package.loaded["fern"], package.loaded["fern.core"] = nil, nil
      local third = require "fern"
      print(third.spawn(function() third.sleep(0.001) return "third" end):wait())
      print(fern.spawn(function() fern.sleep(0.001) return "first" end):wait())
    ]]
    assert.are.equal("true\ttrue\ttrue\nthird\nfirst\n", output)
    assert.are.equal(0, code)
  end)
end)

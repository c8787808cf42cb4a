-- SPDX-License-Identifier: MIT
-- `fern test`: busted with specs that may park, and what a spec leaves behind is a
-- failure that names it. Each run here is of a file of its own, and a process.
local script = require "spec.support.script"

-- Runs specs given as text. Returns what busted wrote, and the exit code.
local function run(text, ...)
  local stem = os.tmpname()
  local name = stem .. "_spec.lua"
  local _ <close> = setmetatable({}, { __close = function()
    os.remove(stem)
    os.remove(name)
  end })
  local file = assert(io.open(name, "w"))
  file:write("local fern = require 'fern'\n", text)
  file:close()
  -- no .busted of this folder: it has another output
  return script.run("", "bin/fern", "test", "--config-file=spec/support/busted_config.lua", "-o", "TAP", name, ...)
end

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), ("no '%s' in:\n%s"):format(part, text))
end

local function check_fine(text, ...)
  local output, code = run(text, ...)
  assert.are.equal(0, code, output)
  assert.is_nil(output:find("\nnot ok", 1, true), output)
end

-- One spec, which leaves behind what the parts of the message tell of.
local function check_left(text, ...)
  local output, code = run(("it('careless', function() %s end)"):format(text))
  assert.are_not.equal(0, code, output)
  contains(output, ":2: 'careless' leaves behind:")
  for _, part in ipairs { ... } do contains(output, part) end
  return output
end

describe("a spec", function()
  it("may park, and others run meanwhile", function()
    check_fine [[
      it("waits", function()
        local event = fern.event()
        fern.spawn(function() fern.sleep(0.01) event:send("woken") end)
        assert.equal("woken", event:wait())
      end)
    ]]
  end)

  it("that fails makes the run fail, as with busted", function()
    local output, code = run("it('fails', function() assert.is_true(false) end)")
    assert.are.equal(1, code)
    contains(output, "not ok 1")
    output, code = run("it('is an error', function() fern.spawn(error, 'of a thread', 0):wait() end)")
    assert.are.equal(1, code)
    contains(output, "of a thread")
  end)

  it("does not end the process, and the others with it", function()
    local output, code = run("it('ends', function() os.exit(true) end) it('goes on', function() end)")
    assert.are_not.equal(0, code)
    contains(output, "os.exit in a spec would end all the others, too")
    contains(output, "ok 2 - goes on")
  end)

  it("that leaves nothing behind is fine: before_each and after_each are part of it", function()
    check_fine [[
      local thread
      describe("pair", function()
        before_each(function() thread = fern.spawn(fern.sleep, 60) end)
        after_each(function() thread:kill() end)
        it("uses it", function() fern.sleep(0) end)
      end)
      local listener
      setup(function() listener = fern.net.listen("127.0.0.1", 0) end)
      teardown(function() listener:close() end)
      it("uses what is there for all", function() assert(listener) end)
      it("lets threads end by themselves", function() fern.spawn(fern.sleep, 0.05) end)
      it("leaves garbage", function() io.open("/etc/passwd") fern.net.listen("127.0.0.1", 0) end)
      it("leaves idle workers", function() fern.pool(3):map(fern.sleep, { 0, 0, 0 }) end)
      it("kills", function() fern.spawn(fern.sleep, 60):kill() end)
    ]]
  end)
end)

describe("what a spec leaves behind is named:", function()
  it("a thread, where it was spawned, what it waits for, and where", function()
    check_left("fern.spawn(function() fern.sleep(60) return 1 end):name 'worker' fern.sleep(0)",
      "thread #", " 'worker', spawned at ", ":2, waits for sleep\n", "in function <")
  end)

  it("a thread that never began", function()
    check_left("fern.spawn_after(60, print)", "spawned at ", ", is new")
  end)

  it("threads, not more than one can read", function()
    local output = check_left("for _ = 1, 50 do fern.spawn(fern.sleep, 60) end", "40 threads more")
    assert.are.equal(10, select(2, output:gsub("thread #", "")))
  end)

  it("a thread that waits for a descriptor", function()
    check_left("listener = fern.net.listen('127.0.0.1', 0) fern.spawn(listener.accept, listener) fern.sleep(0)",
      "waits for ", "socket:[")
  end)

  it("an open descriptor, a socket's with its address", function()
    check_left("listener = fern.net.listen('127.0.0.1', 0)", "descriptor ", ", which is open: socket:[", "] 127.0.0.1:")
    check_left("file = io.open('/etc/passwd')", "which is open: /etc/passwd")
  end)

  it("periodic work", function()
    check_left("series = fern.every(60, print)", "'periodic'", "waits for the next run of periodic work")
  end)

  it("an error that nobody asked for, and not with the next spec", function()
    local output = run([[
      it("careless", function() fern.spawn(error, "unasked", 0):name "failing" fern.sleep(0) end)
      it("innocent", function() end)
    ]])
    contains(output, "'careless' leaves behind:\n")
    contains(output, "an error that nobody asked for, of fern.thread #")
    contains(output, "unasked")
    assert.is_nil(output:find("'innocent' leaves", 1, true), output)
  end)

  it("but only once: the next spec is not to blame", function()
    local output = run([[
      it("careless", function() left = fern.spawn(fern.sleep, 60) listener = fern.net.listen("127.0.0.1", 0) end)
      it("innocent", function() end)
    ]])
    contains(output, "'careless' leaves behind:\n")
    assert.is_nil(output:find("'innocent' leaves", 1, true), output)
  end)
end)

describe("--timeout", function()
  local SLOW <const> = "bin/fern"

  local function check_limited(text, message)
    local output, code = run(("it('endless', function() %s end) it('next', function() end)"):format(text),
      "--timeout=0.2")
    assert.are.equal(1, code, output)
    contains(output, "fern test: 'endless' has run for 0.2 s:\nTHREADS:\n  thread #0 'main'")
    contains(output, "'endless' takes more than 0.2 s")
    contains(output, message)
    contains(output, "ok 2")
  end

  it("ends a spec that waits, with all threads shown", function()
    check_limited("fern.spawn(fern.sleep, 0.5):name 'other' fern.event():wait()", "'other': waits")
  end)

  it("ends a spec that computes", function()
    check_limited("while true do end", "it computes for more than 0.2 s")
  end)

  it("is nothing that a spec waits for", function()
    check_fine([[
      it('at once', function() assert.is_true(fern.waitall(0)) end)
      it('in the end', function() fern.spawn(fern.sleep, 0.01) assert.is_true(fern.waitall(10)) end)
      it('beside', function() assert.is_true(fern.spawn(fern.waitall, 10):wait()) end)]], "--timeout=20")
  end)

  it("ends the run if a spec takes no notice", function()
    local output, code = run("it('endless', function() while true do pcall(fern.sleep, 1) end end)",
      "--timeout=0.1")
    assert.are.equal(1, code, output)
    contains(output, "'endless' does not end even so")
  end)

  it("is nothing to a spec that ends in time", function()
    check_fine("it('quick', function() fern.sleep(0.01) end)", "--timeout=60")
  end)

  it("takes a number of seconds above 0", function()
    for _, wrong in ipairs { "--timeout=", "--timeout=soon", "--timeout=0", "--timeout=-1", "--timeout=nan" } do
      local output, code = script.run("", SLOW, "test", wrong)
      assert.are.equal(1, code)
      contains(output, "fern: --timeout takes a number of seconds above 0")
    end
    assert.are.equal(1, (select(2, script.run("", SLOW, "test", "--timeout"))))
  end)
end)

describe("without busted", function()
  it("a clear line says how to get it", function()
    local output, code = script.run("LUA_INIT=\"package.path = package.path:gsub('/usr[^;]*;', '')\" ; export LUA_INIT; ",
      "bin/fern", "test")
    assert.are.equal(1, code)
    contains(output, "fern: `fern test` needs busted")
    contains(output, "luarocks --lua-version 5.4 install busted")
    assert.is_nil(output:find("traceback", 1, true), output)
  end)
end)

describe("busted's own", function()
  it("help and mistakes are told under our name", function()
    for _, option in ipairs { "--help", "-h" } do
      local help, status = script.run("", "bin/fern", "test", option)
      contains(help, "--timeout=SECONDS")
      contains(help, "--filter")
      assert.is_nil(help:find("error: ", 1, true), help)
      assert.are.equal(0, status)
    end
    local output, code = script.run("", "bin/fern", "test", "--no-such-option")
    assert.are.equal(1, code)
    contains(output, "fern test: error: ")
  end)
end)

-- SPDX-License-Identifier: MIT
-- report: nothing vanishes. Errors that nobody asked for are told, and a wait
-- that could never end is an error that says who waits for what.
local fern = require "fern"
local support = require "spec.support.threads"

local NEVER = math.huge
local let_run, fails_with, run = support.let_run, support.fails_with, support.run

describe("an error that nobody asked for", function()
  -- One experiment for all: errors of every kind, a second and a bit, and
  -- what on_error then has heard, by the value of the error.
  local function culprit() error("told") end

  local function fail_in_a_closed_scope()
    local _ <close> = fern.spawn(error, "closed", 0)
    let_run()
  end

  local function fail_unasked(result)
    result.told = fern.spawn(function() culprit() end)
    result.value = {}
    result.with_value = fern.spawn(error, result.value)
    result.linked = fern.spawn(error, "linked", 0)
    result.linked:link(function() end)
    result.linked:link(function() error("in a link", 0) end)
    fern.spawn(error, "forgotten", 0)
    fern.spawn(fail_in_a_closed_scope)
    for _ = 1, 100 do fern.spawn(error, "many", 0) end
  end

  local function fail_asked()
    local threads = {}
    for i = 1, 4 do threads[i] = fern.spawn(error, "asked", 0) end
    let_run()
    assert(not pcall(threads[1].wait, threads[1]))
    threads[2]:join()
    threads[3]:traceback()
    return threads[4]
  end

  local result

  local function experiment()
    if result then return result end
    result = { heard = {}, count = {}, ticks = 0 }
    fern.on_error(function(err, traceback, thread)
      fern.sleep(0.001)                 -- it may park, and spawn
      fern.spawn(function()
        local name = type(err) == "string" and err:match("%a[%a ]*$") or err
        result.heard[name] = table.pack(err, traceback, thread)
        result.count[name] = (result.count[name] or 0) + 1
      end):wait()
    end)
    fail_unasked(result)
    local late = fail_asked()
    collectgarbage()
    for _ = 1, 100 do fern.sleep(0.005) result.ticks = result.ticks + 1 end
    late:join()
    result.too_early = next(result.heard)
    fern.sleep(0.7)
    return result
  end

  it("is told after a second, with its traceback and its thread", function()
    local r = experiment()
    assert.is_nil(r.too_early)
    local heard = r.heard.told
    assert.matches("report_spec%.lua:%d+: told", heard[1])
    assert.matches("in upvalue 'culprit'", heard[2])
    assert.is_true(rawequal(r.told, heard[3]))
  end)

  it("is told unchanged", function()
    local r = experiment()
    assert.is_true(rawequal(r.value, r.heard[r.value][1]))
    assert.is_true(rawequal(r.with_value, r.heard[r.value][3]))
  end)

  it("is not told if somebody asked, by wait, join or traceback", function()
    assert.is_nil(experiment().heard.asked)
  end)

  it("is told once", function()
    local r = experiment()
    assert.are.equal(100, r.count.many)
    r.count.many = nil
    for name, count in pairs(r.count) do assert.are.equal(1, count, name) end
  end)

  it("is told even if the thread is forgotten", function()
    assert.is_table(experiment().heard.forgotten)
  end)

  it("is told although there are links, and so are the links' own", function()
    local r = experiment()
    assert.is_true(rawequal(r.linked, r.heard.linked[3]))
    assert.is_table(r.heard["in a link"])
  end)

  it("is told although a <close> variable held the thread when it failed", function()
    assert.is_table(experiment().heard.closed)
  end)

  it("can still be asked for after it was told", function()
    local r = experiment()
    assert.are.same({ false, "linked" }, { r.linked:join() })
    assert.matches("culprit", r.told:traceback())
  end)

  it("ends neither the process nor anybody else", function()
    assert.are.equal(100, experiment().ticks)
  end)

  -- Its outcome is the kill, so nobody can ask.
  it("is told at once of a thread that failed besides being killed", function()
    local output = run [[
      local fern = require "fern"
      local function closing(fn) return setmetatable({}, { __close = fn }) end
      local threads = {
        fern.spawn(function() local _ <close> = closing(function() error "in close" end) fern.sleep(9) end),
        fern.spawn(function() pcall(fern.sleep, 9) error { "no text" } end),
        fern.spawn(function() local ok, e = pcall(fern.sleep, 9) error("wrapped: " .. tostring(e)) end),
        fern.spawn(function() local ok, e = pcall(fern.sleep, 9) error(e) end),
        fern.spawn(fern.sleep, 9),
      }
      fern.sleep(0)
      for _, thread in ipairs(threads) do
        thread:kill()
        local ok, e = thread:join()
        print(ok, fern.is_killed(e))
      end
    ]]
    assert.matches("fern: green thread #1 failed: [^\n]*:4: in close\nstack traceback:", output)
    assert.matches("fern: green thread #2 failed: table", output)
    assert.is_nil(output:find("green thread #[345]"))
    assert.are.equal(5, select(2, output:gsub("false\ttrue\n", "")))
  end)

  it("goes to stderr by default, with all that is known", function()
    local output = run [[
      local fern = require "fern"
      local function culprit() error("boom") end
      fern.spawn(function() culprit() end):name("worker")
      fern.spawn(error, setmetatable({}, { __tostring = function() return "an object" end }))
      fern.spawn(error)
      fern.sleep(1.2)
      print("and the script went on")
    ]]
    assert.matches("fern: green thread #1 'worker' failed: [^\n]*:2: boom", output)
    assert.matches("in upvalue 'culprit'", output)
    assert.matches("spawned at [^\n]*:3", output)
    assert.matches("green thread #2 failed: an object", output)
    assert.matches("green thread #3 failed: nil", output)
    assert.matches("and the script went on", output)
  end)

  it("is told by the end of the script at the latest", function()
    local output, code = run [[
      local fern = require "fern"
      fern.spawn(error, "first", 0)
      fern.waitall()
      fern.on_error(function(err) fern.sleep(0.001) print("heard", err) end)
      fern.spawn(error, "second", 0)
      fern.waitall()
    ]]
    assert.matches("heard\tfirst", output)
    assert.matches("heard\tsecond", output)
    assert.are.equal(0, code)
  end)

  it("is told on stderr when on_error itself fails", function()
    local output = run [[
      local fern = require "fern"
      fern.on_error(function(err) error("no handler for " .. err, 0) end)
      fern.spawn(error, "boom", 0)
      fern.sleep(1.2)
    ]]
    assert.matches("on_error failed: no handler for boom", output)
    assert.matches("failed: boom", output)
  end)

  it("goes to stderr again after on_error(nil)", function()
    local output = run [[
      local fern = require "fern"
      fern.on_error(function() print("never") end)
      fern.on_error(nil)
      fern.spawn(error, "boom", 0)
      fern.waitall()
    ]]
    assert.matches("failed: boom", output)
    assert.is_nil(output:find("never", 1, true))
  end)

  it("needs a function to be told to", function()
    fails_with("function expected", fern.on_error, 42)
    fails_with("function expected", fern.on_error, {})
    fails_with("value expected", fern.on_error)
  end)
end)

describe("a deadlock", function()
  it("is an error in main that names every waiter", function()
    local stone = fern.spawn(function() fern.sleep(NEVER) end)
    stone:name("stone")
    local waiter = fern.spawn(function() stone:wait() end)
    local line = debug.getinfo(1, "l").currentline - 1
    local ok, message = pcall(waiter.wait, waiter)
    assert.is_false(ok)
    assert.matches("^deadlock: ", message)
    assert.matches("'main' waits for the end of #%d+\n    %[C%]: in %?\n    %[C%]: in [^\n]*'pcall'\n", message)
    assert.matches("'stone' waits for sleep, spawned at [^\n]*report_spec%.lua:" .. line - 2, message)
    assert.matches("waits for the end of #%d+ 'stone', spawned at [^\n]*report_spec%.lua:" .. line, message)
    assert.matches("in method 'wait'", message, 1, true)
    assert.matches("report_spec%.lua:" .. line .. ": in function", message)
    stone:kill()
    waiter:join()
  end)

  it("does not name workers that idle", function()
    fern.pool(1):map(math.abs, { 1 })
    local ok, message = pcall(fern.sleep, NEVER)
    assert.is_false(ok)
    assert.matches("^deadlock: .*'main' waits for sleep", message)
    assert.not_matches("a job", message, 1, true)
  end)

  it("harms nobody: all can go on", function()
    local thread = fern.spawn(fern.sleep, NEVER)
    fails_with("deadlock", thread.wait, thread)
    fails_with("deadlock", fern.sleep, NEVER)
    fails_with("deadlock", fern.waitall)
    fails_with("deadlock", thread.join, thread)
    assert.are.equal("waiting", thread:status())
    assert.are.equal(1, fern.spawn(function() fern.sleep(0.001) return 1 end):wait())
    thread:kill()
  end)

  it("of others does not matter while main has something to do", function()
    local a, b
    a = fern.spawn(function() fern.sleep(0) b:wait() end)
    b = fern.spawn(function() a:wait() end)
    fern.sleep(0.005)
    assert.are.equal("waiting", a:status())
    fails_with("deadlock", a.wait, a)
    a:kill()
    b:join()
  end)

  it("ends a script with an error and the list", function()
    local output, code = run [[
      local fern = require "fern"
      local t = fern.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() print("unwound") end })
        fern.current():wait_for_nobody()
      end)
      t:join()
      t = fern.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() print("unwound") end })
        fern.sleep(math.huge)
      end)
      t:wait()
    ]]
    assert.matches("deadlock: ", output)
    assert.matches("waits for sleep", output)
    assert.matches("unwound.*unwound", output)
    assert.are.equal(1, code)
  end)
end)

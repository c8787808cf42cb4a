-- SPDX-License-Identifier: MIT
-- fern.every: its strategies, what it tells of failures, and its end.
local fern = require "fern"
local threads = require "spec.support.threads"

local let_run, closing, run = threads.let_run, threads.closing, threads.run

local SPACING = 0.02

-- Runs `fn(i)` as a series until its `most`-th run. Returns when each began and
-- ended, and the series.
local function series(most, options, fn)
  local started, ended, periodic = {}, {}, nil
  periodic = fern.every(options.spacing or SPACING, function()
    local i = #started + 1
    started[i] = fern.now()
    local _ <close> = closing(function()
      ended[i] = fern.now()
      if i == most then periodic:stop() end
    end)
    if fn then fn(i) end
  end, { strategy = options.strategy, immediately = options.immediately, on_failure = options.on_failure })
  periodic:wait()
  return started, ended, periodic
end

describe("periodic work", function()
  it("begins a spacing away, and counts from the last start", function()
    local before = fern.now()
    local started = series(3, {}, function() fern.sleep(SPACING / 2) end)
    for i = 1, 3 do assert.is_true(started[i] >= before + i * SPACING) end
  end)

  it("begins at once if that is asked for", function()
    local count = 0
    local periodic <close> = fern.every(3600, function() count = count + 1 end, { immediately = true })
    let_run()
    assert.equal(1, count)
    assert.equal(1, periodic:statistics().runs)
  end)

  it("counts from the last end", function()
    local started, ended = series(3, { strategy = "last_finished" }, function() fern.sleep(SPACING) end)
    assert.is_true(started[2] >= ended[1] + SPACING)
    assert.is_true(started[3] >= ended[2] + SPACING)
  end)

  it("keeps to multiples of the spacing, one run each", function()
    local started = series(4, { strategy = "aligned_last_finished" })
    for i = 2, 4 do
      local slot, last = (started[i] + 1e-6) // SPACING, (started[i - 1] + 1e-6) // SPACING
      assert.is_true(slot > last)
    end
  end)

  it("knows all six strategies, and no seventh", function()
    for _, name in ipairs { "last_started", "last_finished", "aligned_last_finished" } do
      series(1, { strategy = name, spacing = 0.001 })
      series(1, { strategy = name .. "_jitter", spacing = 0.001 })
    end
    threads.fails_with("bad option 'strategy' %(no strategy is called 'first'%)",
      fern.every, 1, print, { strategy = "first" })
    assert.has_error(function() fern.every(1, print, { strategy = 1 }) end)
  end)

  it("begins no earlier with jitter than without", function()
    local started, ended = series(3, { strategy = "last_finished_jitter" })
    assert.is_true(started[2] > ended[1] + SPACING)
    assert.is_true(started[3] > ended[2] + SPACING)
  end)

  it("never overlaps itself, and makes up for nothing", function()
    local running, most = 0, 0
    local started, ended = series(4, {}, function(i)
      running = running + 1
      most = math.max(most, running)
      if i == 1 then fern.sleep(4 * SPACING) end
      running = running - 1
    end)
    assert.equal(1, most)
    assert.is_true(started[2] >= ended[1])                -- late, and so at once
    assert.is_true(started[3] >= ended[1] + SPACING)      -- but no burst
    assert.is_true(started[4] >= ended[1] + 2 * SPACING)
  end)

  it("lets others run though it always comes too late", function()
    local others = 0
    local other <close> = fern.spawn(function()
      while true do others = others + 1 fern.sleep(0) end
    end)
    series(20, { spacing = 1e-9 })
    assert.is_true(others >= 20, other:status())
  end)

  it("reports failures to on_failure, unchanged, and goes on", function()
    local err, heard, traces = {}, {}, {}
    local _, _, periodic = series(3, {
      spacing = 0.001,
      on_failure = function(e, traceback)
        heard[#heard + 1] = e
        traces[#traces + 1] = traceback
      end,
    }, function(i) if i < 3 then error(err) end end)
    assert.equal(2, #heard)
    assert.equal(err, heard[1])
    assert.equal(err, heard[2])
    assert.matches("periodic_spec", traces[1])
    local statistics = periodic:statistics()
    assert.equal(3, statistics.runs)
    assert.equal(2, statistics.failures)
    assert.equal(1, statistics.successes)
  end)

  it("reports failures to on_error if nobody else is to hear", function()
    local heard = {}
    fern.on_error(function(e, traceback, thread) heard[#heard + 1] = { e, traceback, thread } end)
    series(2, { spacing = 0.001 }, function(i) if i == 1 then error("no", 0) end end)
    let_run()
    assert.equal(1, #heard)
    assert.equal("no", heard[1][1])
    assert.matches("periodic_spec", heard[1][2])
    assert.matches("^fern.thread", tostring(heard[1][3]))
  end)

  it("reports both errors when on_failure fails", function()
    local heard = {}
    fern.on_error(function(e) heard[#heard + 1] = e end)
    series(1, { spacing = 0.001, on_failure = function() error("worse", 0) end }, function() error("bad", 0) end)
    let_run()
    assert.same({ "worse", "bad" }, heard)
  end)

  it("waits for an on_failure that parks", function()
    local order = {}
    series(2, {
      spacing = 0.001,
      on_failure = function()
        fern.sleep(0.01)
        order[#order + 1] = "heard"
      end,
    }, function(i)
      order[#order + 1] = "run"
      if i == 1 then error("no") end
    end)
    assert.same({ "run", "heard", "run" }, order)
  end)

  it("takes the kill of another thread for a failure", function()
    local heard
    local killed = fern.spawn(fern.sleep, 100)
    let_run()
    killed:kill()
    local _, _, periodic = series(2, { spacing = 0.001, on_failure = function(e) heard = e end }, function(i)
      if i == 1 then killed:wait() end
    end)
    assert.is_true(fern.is_killed(heard))
    assert.equal(2, periodic:statistics().runs)
  end)

  it("knows no division by zero", function()
    local periodic <close> = fern.every(3600, print)
    assert.same({
      runs = 0, successes = 0, failures = 0, elapsed = 0.0, average_elapsed = 0.0,
      elapsed_waiting = 0.0, average_elapsed_waiting = 0.0, requested_stop = false,
    }, periodic:statistics())
  end)

  it("tells how long its runs took", function()
    local _, _, periodic = series(2, { spacing = 0.001 }, function() fern.sleep(0.005) end)
    local statistics = periodic:statistics()
    assert.is_true(statistics.elapsed >= 0.01)
    assert.equal(statistics.elapsed / 2, statistics.average_elapsed)
    assert.is_true(statistics.elapsed_waiting >= 0)
    assert.is_true(statistics.requested_stop)
  end)
end)

describe("the end of periodic work", function()
  it("is waited for by stop, with the run in flight", function()
    local ended = false
    local periodic = fern.every(0.001, function()
      fern.sleep(0.01)
      ended = true
    end, { immediately = true })
    let_run()
    assert.equal(true, periodic:stop())
    assert.is_true(ended)
    assert.equal(1, periodic:statistics().runs)
    assert.equal(true, periodic:stop())
    assert.equal(true, periodic:wait())
  end)

  it("comes at once while no run is in flight", function()
    local count = 0
    local periodic = fern.every(3600, function() count = count + 1 end)
    assert.equal(true, periodic:stop())                 -- it has not even begun
    periodic = fern.every(3600, function() count = count + 1 end)
    let_run()
    assert.equal(true, periodic:stop())
    assert.equal(0, count)
  end)

  it("is not waited for longer than the timeout", function()
    local release = false
    local periodic = fern.every(1, function()
      while not release do fern.sleep(0.001) end
    end, { immediately = true })
    let_run()
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { periodic:wait(0) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { periodic:stop(0.002) })
    release = true
    assert.equal(true, periodic:stop())
    assert.equal(1, periodic:statistics().runs)
  end)

  it("can be called from inside, where nothing is waited for", function()
    local periodic, inside
    periodic = fern.every(0.001, function()
      inside = { periodic:wait() }
      assert(periodic:stop())
      assert(periodic:stop(1))
    end)
    assert.equal(true, periodic:wait())
    assert.equal("EDEADLK", inside[3])
    assert.equal(1, periodic:statistics().successes)
  end)

  it("can be called from inside on_failure", function()
    local periodic
    periodic = fern.every(0.001, error, { on_failure = function() periodic:stop() end })
    assert.equal(true, periodic:wait())
    assert.equal(1, periodic:statistics().failures)
  end)

  it("comes when the block is left that has it", function()
    local count = 0
    do
      local _ <close> = fern.every(0.001, function() count = count + 1 end)
      fern.sleep(0.01)
    end
    local before = count
    fern.sleep(0.005)
    assert.equal(before, count)
  end)

  it("comes with the kill of its thread, in fn or in on_failure", function()
    local unwound
    local periodic = fern.every(0.001, function()
      local _ <close> = closing(function(e) unwound = e end)
      fern.current():kill("enough")
      fern.sleep(10)
    end)
    assert.equal(true, periodic:wait())
    assert.is_true(fern.is_killed(unwound))
    assert.equal(0, periodic:statistics().runs)

    local thread
    periodic = fern.every(0.001, error, {
      on_failure = function()
        thread = fern.current()
        thread:kill()
        fern.sleep(10)
      end,
    })
    assert.equal(true, periodic:wait())
    assert.equal("killed", thread:status())
  end)

  it("comes after a run that swallows the kill", function()
    local thread
    local periodic = fern.every(0.001, function()
      thread = fern.current()
      thread:kill()
      pcall(fern.sleep, 10)
    end)
    assert.equal(true, periodic:wait())
    assert.equal(1, periodic:statistics().runs)
    assert.equal("done", thread:status())
  end)

  it("does not come with the collector", function()
    local count = 0
    local stop
    do
      local periodic
      periodic = fern.every(0.001, function()
        count = count + 1
        if stop then periodic:stop() end
      end)
    end
    collectgarbage() collectgarbage()
    local limit = fern.now() + 60
    while count == 0 and fern.now() < limit do fern.sleep(0.001) end
    stop = true
    assert.is_true(count > 0)
    assert.equal(true, fern.waitall(5))
  end)

  it("comes with the script's, without a word", function()
    local output, code = run [[
      local fern = require "fern"
      local begun = fern.event()
      fern.every(0.001, function()
        local _ <close> = setmetatable({}, { __close = function() print "unwound" end })
        begun:send()
        fern.sleep(10)
      end)
      begun:wait()
      print "end"
    ]]
    assert.equal("end\nunwound\n", output)
    assert.equal(0, code)
  end)

  it("leaves its methods usable when fern is closed", function()
    local output = run [[
      local fern = require "fern"
      local periodic = fern.every(0.001, function() end)
      fern.sleep(0.01)
      getmetatable(fern).__close()
      print(periodic:stop(), periodic:wait(), periodic:statistics().runs > 0, tostring(periodic):match "over")
      print(pcall(fern.every, 1, print))
    ]]
    assert.equal("true\ttrue\ttrue\tover\nfalse\tfern is closed\n", output)
  end)

  it("wakes all who wait for it, however many, and forgets those who do not any more", function()
    local periodic, awake = fern.every(3600, print), 0
    for _ = 1, threads.MANY do
      fern.spawn(function()
        assert(periodic:wait())
        awake = awake + 1
      end)
    end
    let_run()
    local late, impatient = 0, {}
    for i = 1, threads.MANY do
      impatient[i] = fern.spawn(function()
        if select(3, periodic:wait(0.001)) == "ETIMEDOUT" then late = late + 1 end
      end)
    end
    for _, thread in ipairs(impatient) do thread:wait() end
    assert.equal(threads.MANY, late)
    periodic:stop()
    fern.waitall()
    assert.equal(threads.MANY, awake)
  end)
end)

describe("fern.every", function()
  it("refuses a spacing that is none", function()
    for _, spacing in ipairs { 0, -1, 0 / 0, -math.huge } do
      threads.fails_with("above 0 expected", fern.every, spacing, print)
    end
    for _, spacing in ipairs { {}, "x", print } do assert.has_error(function() fern.every(spacing, print) end) end
    assert.has_error(function() fern.every(nil, print) end)
  end)

  it("takes spacings that are hardly any, or for ever", function()
    for _, strategy in ipairs { "last_started_jitter", "last_finished", "aligned_last_finished_jitter" } do
      for _, spacing in ipairs { 1e9, math.huge } do
        local count = 0
        local periodic = fern.every(spacing, function() count = count + 1 end,
          { strategy = strategy, immediately = true })
        while count == 0 do fern.sleep(0) end
        threads.let_run()
        assert.equal(true, periodic:stop())
        assert.equal(1, count)
      end
      series(10, { strategy = strategy, spacing = 1e-300 })
    end
  end)

  it("refuses what is no function, and options that are none", function()
    assert.has_error(function() fern.every(1) end)
    assert.has_error(function() fern.every(1, {}) end)
    assert.has_error(function() fern.every(1, print, 1) end)
    threads.fails_with("unknown option 'spacing'", fern.every, 1, print, { spacing = 1 })
    threads.fails_with("bad option 'on_failure'", fern.every, 1, print, { on_failure = true })
  end)

  it("takes what can be called", function()
    local count = 0
    local callable = setmetatable({}, { __call = function() count = count + 1 end })
    local periodic <close> = fern.every(1, callable, { immediately = true })
    let_run()
    assert.equal(1, count)
    assert.matches("^fern.periodic %(every 1 seconds, 1 runs, 0 failed%)$", tostring(periodic))
  end)

  it("refuses methods on something else", function()
    local periodic <close> = fern.every(1, print)
    for _, name in ipairs { "stop", "wait", "statistics" } do
      assert.has_error(function() periodic[name]({}) end)
      assert.has_error(function() periodic[name](io.stdout) end)
    end
    assert.has_error(function() periodic:wait("soon") end)
    assert.has_error(function() periodic:stop(0 / 0) end)
    assert.is_false(periodic:statistics().requested_stop)
  end)
end)

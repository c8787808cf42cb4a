-- SPDX-License-Identifier: MIT
-- fern.graph: tasks that begin when what they need has ended.
local fern = require "fern"
local script = require "spec.support.script"
local support = require "spec.support.threads"

local let_run, nap, MANY = support.let_run, support.nap, support.MANY
local fails_with = support.fails_with

-- For tasks, whose first argument is what they need.
local function fail(_, err) error(err, 0) end
local function sleep(_, seconds) fern.sleep(seconds) end

-- A graph, and a log of its tasks' names in the order in which they ran.
local function logged(...)
  local graph, log = fern.graph(...), {}
  return graph, log, function(name, needs, seconds)
    graph:add(name, needs, function()
      if seconds then fern.sleep(seconds) end
      log[#log + 1] = name
      return name:upper()
    end)
  end
end

describe("a graph", function()
  it("begins each task as soon as all that it needs has ended", function()
    local graph, log, add = logged()
    add("d", { "b", "c" })
    add("b", { "a" }, 0.002)
    add("c", { "a" })
    add("e", { "c" })
    let_run()
    assert.same({}, log)
    add("a")
    assert.equal(true, graph:join())
    assert.same({ "a", "c", "e", "b", "d" }, log)
  end)

  it("gives a task the first results of what it needs, by name, then its arguments", function()
    local graph = fern.graph()
    graph:add("two", {}, function() return 2, "more" end)
    graph:add("nothing", {}, function() end)
    graph:add("no", function() return false end)
    graph:post("five", 5, "more")
    graph:add("all", { "two", "nothing", "no", "five", "two" }, function(needs, ...)
      return needs, select("#", ...), ...
    end, "a", nil, nil)
    local needs, count, a = graph:result("all")
    assert.same({ two = 2, no = false, five = 5 }, needs)
    assert.same({ 3, "a" }, { count, a })
  end)

  it("gives all values of a result, as often as it is asked", function()
    local graph = fern.graph()
    graph:add("a", nil, function() return 1, nil, 3, nil end)
    graph:post("b", nil, "x", nil)
    graph:post("c")
    for _ = 1, 2 do
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(graph:result("a")))
      assert.same({ nil, "x", nil, n = 3 }, table.pack(graph:result("b")))
      assert.same({ n = 0 }, table.pack(graph:result("c")))
    end
  end)

  it("waits for names that nobody has added yet", function()
    local graph = fern.graph()
    local result = fern.spawn(graph.result, graph, "late")
    local waited = fern.spawn(graph.wait, graph, { "late", "later" })
    let_run()
    assert.equal("missing", graph:status("late"))
    graph:add("late", { "later" }, function(needs) return needs.later + 1 end)
    assert.same({ "later" }, graph:waiting_for("late"))
    graph:post("later", 41)
    assert.equal(42, result:wait())
    assert.same({ late = 42, later = 41 }, waited:wait())
  end)

  it("waits for all, or for those named, and gives a table of first results", function()
    local graph, _, add = logged()
    add("a", {}, 0.002)
    add("b", { "a" })
    graph:post("c", 3)
    add("stuck", { "nobody" })
    assert.same({ a = "A", c = 3 }, graph:wait { "a", "c" })
    assert.same({}, graph:wait {})
    fails_with("^timeout$", graph.wait, graph, nil, 0.002)
    graph:post("nobody")
    assert.same({ a = "A", b = "B", c = 3, stuck = "STUCK" }, graph:wait())
  end)

  it("gives names and outcomes in the order of their ends", function()
    local graph, _, add = logged()
    add("slow", {}, 0.002)
    add("last", { "slow", "bad" })
    add("quick")
    graph:add("bad", { "quick" }, fail, "no")
    graph:add("fine", { "slow" }, function() return 1, 2 end)
    local got = {}
    for name, ok, a, b in graph:each() do
      got[#got + 1] = name
      if name == "fine" then assert.same({ true, 1, 2 }, { ok, a, b }) end
      if name == "bad" then assert.is_false(ok) end
      if name == "last" then assert.same({ false, "bad" }, { ok, a.chain[2] }) end
    end
    assert.same({ "quick", "bad", "last", "slow", "fine" }, got)
    local count = 0
    for _ in graph:each() do count = count + 1 end
    assert.equal(5, count)
  end)

  it("takes tasks that its tasks, or a loop over it, add", function()
    local graph, sum = fern.graph(), 0
    local function walk(_, depth)
      if depth > 0 then
        for i = 1, 2 do graph:add(("%s.%d"):format(fern.current(), i), {}, walk, depth - 1) end
      end
      return depth
    end
    graph:add("root", {}, walk, 4)
    for _, ok, depth in graph:each() do
      assert.is_true(ok)
      sum = sum + 2 ^ depth
    end
    assert.equal(5 * 16, sum)
  end)

  it("raises a timeout of a wait, of a result and of a loop, and is usable after it", function()
    local graph = fern.graph()
    graph:add("a", { "b" }, nap, "late")
    for _, wait in ipairs {
      function() return graph:result("a", 0.002) end,
      function() return graph:wait({ "a" }, 0) end,
      function() return graph:wait(nil, -1) end,
      function() for _ in graph:each(0.002) do error("no") end end,
    } do
      local ok, err = pcall(wait)
      assert.is_false(ok)
      assert.equal("ETIMEDOUT", err.code)
    end
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { graph:join(0.002) })
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.002, graph.join, graph) })
    graph:post("b")
    assert.equal(true, graph:join())
  end)

  it("says of each task where it stands", function()
    local graph = fern.graph(1)
    graph:add("runs", {}, sleep, 0)
    graph:add("ready", {}, nap)
    graph:add("waits", { "runs", "nobody" }, nap)
    assert.equal("missing", graph:status("unheard of"))
    assert.equal("missing", graph:status("nobody"))
    assert.equal("ready", graph:status("runs"))
    let_run()
    assert.equal("waiting", graph:status("waits"))
    assert.same({ "nobody" }, graph:waiting_for("waits"))
    assert.same({ waits = { "nobody" } }, graph:waiting_for())
    assert.same({}, graph:waiting_for("runs"))
    assert.same({}, graph:waiting_for("unheard of"))
    assert.same({ "runs", "ready", "waits" }, graph:names())
    assert.same({ "nobody" }, graph:names("missing"))
    assert.same({ "waits" }, graph:names("waiting"))
    graph:kill("waits")
    graph:join()
    assert.same({ "runs", "ready" }, graph:names("done"))
    assert.equal("killed", graph:status("waits"))
    assert.has_error(function() graph:names("wating") end)
    assert.equal("fern.graph (0 waiting, 0 running, 2 done, 1 failed)", tostring(graph))
    assert.equal("fern.graph", getmetatable(graph).__name)
    assert.is_true(fern.is_killed(select(2, pcall(graph.result, graph, "waits"))))
  end)

  it("runs as many as its pool has slots, in the order in which they became ready", function()
    local pool = fern.pool(2)
    local graph, log, add = logged(pool)
    local running, most = 0, 0
    for i = 1, 8 do
      graph:add("m" .. i, {}, function()
        running = running + 1
        most = math.max(most, running)
        nap()
        running = running - 1
        log[#log + 1] = i
      end)
    end
    add("last", { "m8" })
    graph:wait()
    assert.equal(2, most)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, "last" }, log)
    assert.equal(true, pool:waitall())
  end)

  it("lets a task that waits for others lend them its slot", function()
    local graph = fern.graph(1)
    local function tree(_, name, depth)
      if depth == 0 then return 1 end
      graph:add(name .. "l", {}, tree, name .. "l", depth - 1)
      graph:add(name .. "r", {}, tree, name .. "r", depth - 1)
      local both = graph:wait { name .. "l", name .. "r" }
      return both[name .. "l"] + both[name .. "r"]
    end
    graph:add("t", {}, tree, "t", 5)
    assert.equal(32, graph:result("t"))
  end)

  it("runs no task twice and none too early, whatever the order of adding", function()
    for seed = 1, 30 do
      math.randomseed(seed)
      local graph, ended, order = fern.graph(seed % 3 > 0 and seed % 3 or nil), {}, {}
      for i = 1, 40 do order[i] = i end
      for i = 40, 2, -1 do
        local k = math.random(i)
        order[i], order[k] = order[k], order[i]
      end
      for _, i in ipairs(order) do
        local needs = {}
        for _ = 1, math.random(0, 3) do
          if i > 1 then needs[#needs + 1] = "t" .. math.random(i - 1) end
        end
        graph:add("t" .. i, needs, function(results)
          assert(not ended[i])
          for _, need in ipairs(needs) do assert(ended[results[need]]) end
          if math.random(3) == 1 then fern.sleep(0) end
          ended[i] = true
          return i
        end)
        if math.random(4) == 1 then fern.sleep(0) end
      end
      local results = graph:wait()
      for i = 1, 40 do assert.equal(i, results["t" .. i]) end
    end
  end)

  it("lets many waiters go in one turn, in order, whether it comes or not", function()
    local graph, threads, gone, order = fern.graph(), {}, 0, {}
    for i = 1, MANY do
      threads[i] = fern.spawn(function()
        local ok, err = pcall(graph.result, graph, "x", 0.05)
        gone = gone + (not ok and fern.is_timeout(err) and 1 or 0)
      end)
    end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.equal(MANY, gone)
    for i = 1, MANY do
      threads[i] = fern.spawn(function()
        local x = graph:result("x")
        order[#order + 1] = x + i
      end)
    end
    let_run()
    threads[5]:kill()
    graph:post("x", 0)
    for _, thread in ipairs(threads) do thread:join() end
    assert.equal(MANY - 1, #order)
    assert.equal(MANY, order[MANY - 1])
    for i = 2, #order do assert(order[i - 1] < order[i]) end
  end)
end)

describe("a graph's failures", function()
  it("are raised unchanged by whoever asks for the task itself", function()
    local graph, err = fern.graph(), { "the very one" }
    graph:add("a", {}, fail, err)
    for _, ask in ipairs { graph.result, graph.wait } do
      local ok, got = pcall(ask, graph, ask == graph.result and "a" or { "a" })
      assert.is_false(ok)
      assert.equal(err, got)
    end
    local ok, got = graph:join()
    assert.is_false(ok)
    assert.equal(err, got)
  end)

  it("are passed on with the chain of names to those who need it", function()
    local graph, err, ran = fern.graph(), { "why" }, false
    local function never() ran = true end
    graph:add("c", { "b", "slow" }, never)
    graph:add("b", { "a" }, never)
    graph:add("slow", { "nobody" }, never)
    graph:add("a", {}, fail, err)
    local ok, got = pcall(graph.result, graph, "c")
    assert.is_false(ok)
    assert.same({ "c", "b", "a" }, got.chain)
    assert.equal(err, got.cause)
    assert.equal("EDEPENDENCY", got.code)
    assert.equal(got, select(2, pcall(graph.result, graph, "c")))
    graph:add("d", { "c" }, never)
    assert.same({ "d", "c", "b", "a" }, select(2, pcall(graph.result, graph, "d")).chain)
    graph:kill("slow")
    graph:join()
    assert.is_false(ran)
    assert.equal("failed", graph:status("c"))
  end)

  it("say in words how it came to that", function()
    local graph = fern.graph()
    graph:add("c", { "b" }, nap)
    graph:add("b", { "a" }, nap)
    graph:add("a", {}, fail, "no luck")
    local _, err = pcall(graph.result, graph, "c")
    assert.equal("task 'c' needs 'b', which needs 'a', which failed: no luck", tostring(err))
    _, err = pcall(graph.result, graph, "b")
    assert.equal("task 'b' needs 'a', which failed: no luck", tostring(err))
  end)

  it("end a wait for several at once, and leave the others alone", function()
    local graph, _, add = logged()
    add("slow", {}, 0.01)
    graph:add("bad", {}, fail, "bad")
    fails_with("^bad", graph.wait, graph)
    fails_with("^bad", graph.wait, graph, { "slow", "bad" })
    assert.equal("running", graph:status("slow"))
    assert.same({ slow = "SLOW" }, graph:wait { "slow" })
  end)

  it("are reported when nobody asked before the graph was collected", function()
    local output = script.run_text("", [[
      local fern = require "fern"
      fern.on_error(function(err, _, thread) print("reported", err) end)
      local graph = fern.graph()
      local function fail(_, err) error(err, 0) end
      graph:add("a", {}, fail, "asked for")
      graph:add("b", {}, fail, "nobody's")
      graph:add("c", { "a" }, print)
      print(pcall(graph.result, graph, "c"))
      fern.sleep(1.1)
      print "nothing yet"
      graph = nil
      collectgarbage()
      collectgarbage()
      fern.sleep(1.1)
    ]])
    assert.equal("false\ttask 'c' needs 'a', which failed: asked for\nnothing yet\n" ..
                 "reported\tnobody's\n", output)
  end)

  it("are told when somebody has spoilt the results with the task's coroutine", function()
    local graph, gone = fern.graph(), "results are gone"
    local thread
    graph:add("a", {}, function() thread = coroutine.running() return 1 end)
    graph:wait()
    coroutine.close(thread)
    graph:add("b", { "a" }, nap)
    fails_with(gone, graph.result, graph, "a")
    fails_with(gone, graph.wait, graph, { "a" })
    fails_with(gone, graph.result, graph, "b")
    fails_with(gone, function() for _ in graph:each() do assert(true) end end)
  end)

  it("of a killed task are its kill, with the reason", function()
    local graph = fern.graph()
    graph:add("runs", {}, sleep, 100)
    graph:add("waits", { "nobody" }, nap)
    graph:add("needs", { "runs" }, nap)
    let_run()
    assert.is_true(graph:kill("runs", "enough"))
    assert.is_true(graph:kill("waits", "of this"))
    assert.is_false(graph:kill("waits", "twice"))
    assert.is_false(graph:kill("nobody"))
    fails_with("^killed: enough$", graph.result, graph, "runs")
    fails_with("^killed: of this$", graph.result, graph, "waits")
    fails_with("^task 'needs' needs 'runs', which failed: killed: enough$",
               graph.result, graph, "needs")
    assert.is_false(graph:kill("runs", "again"))
    fails_with("^killed: enough$", graph.result, graph, "runs")
  end)

  it("do not keep a task from cleaning up, and killing it from outside is the same", function()
    local graph, closed = fern.graph(), false
    local thread
    graph:add("a", {}, function()
      thread = fern.current()
      local _ <close> = support.closing(function() fern.sleep(0) closed = true end)
      fern.sleep(100)
    end)
    let_run()
    thread:kill("outside")
    fails_with("outside", graph.result, graph, "a")
    assert.is_true(closed)
    assert.equal("killed", graph:status("a"))
  end)
end)

describe("a graph refuses", function()
  it("circles, by name, and stays as it was", function()
    local graph, log, add = logged()
    fails_with("task 'a' would need itself: a %-> a$", add, "a", { "b", "a" })
    assert.same({}, graph:names())
    assert.same({}, graph:names("missing"))
    add("c", { "b" })
    add("b", { "a" })
    fails_with("task 'a' would need itself: a %-> b %-> a$", add, "a", { "x", "b" })
    fails_with("task 'a' would need itself: a %-> c %-> b %-> a$", add, "a", { "c" })
    assert.same({ "a" }, graph:names("missing"))
    add("a")
    graph:wait()
    assert.same({ "a", "b", "c" }, log)
  end)

  it("a name that it has", function()
    local graph, _, add = logged()
    add("a", { "x" })
    graph:post("b")
    for _, name in ipairs { "a", "b" } do
      fails_with("task '" .. name .. "' has been added or posted before", add, name)
      fails_with("task '" .. name .. "' has been added or posted before", graph.post, graph, name)
    end
    graph:post("x")
    graph:join()
    fails_with("has been added", add, "a")
  end)

  it("what is no name, no array of names, no function and no time", function()
    local graph = fern.graph()
    for _, bad in ipairs { 42, {}, print, true, 0 / 0, "a\0b" } do
      assert.has_error(function() graph:add(bad, {}, print) end)
      assert.has_error(function() graph:post(bad, 1) end)
      assert.has_error(function() graph:result(bad) end)
      assert.has_error(function() graph:status(bad) end)
      assert.has_error(function() graph:kill(bad) end)
      assert.has_error(function() graph:waiting_for(bad) end)
      assert.has_error(function() graph:add("n", { "a", bad }, print) end)
      assert.has_error(function() graph:wait({ "a", bad }, 0) end)
    end
    for _, bad in ipairs { 42, "b", true } do
      assert.has_error(function() graph:add("n", bad, print) end)
      assert.has_error(function() graph:add("n", {}, bad) end)
      assert.has_error(function() graph:wait(bad) end)
    end
    for _, bad in ipairs { "x", {}, 0 / 0 } do
      assert.has_error(function() graph:result("n", bad) end)
      assert.has_error(function() graph:wait(nil, bad) end)
      assert.has_error(function() graph:join(bad) end)
      assert.has_error(function() graph:each(bad) end)
    end
    for _, bad in ipairs { -1, 1.5, 0 / 0, "many", {}, print } do
      assert.has_error(function() fern.graph(bad) end)
    end
    assert.error_matches(function() graph:add("n", {}, 42) end,
      "^bad argument #3 to 'add' %(function expected, got number%)$")
    assert.error_matches(function() graph:add("n", { "a", 2 }, print) end,
      "^bad argument #2 to 'add' %(item 2 is no name, but a number%)$")
    assert.has_error(function() graph:add("n") end)
    assert.has_error(function() graph.add({}, "n", {}, print) end)
    assert.same({}, graph:names())
    assert.is_true(fern.graph(1e9):join() and fern.graph(math.huge):join())
  end)

  it("to let a task wait for itself", function()
    local graph = fern.graph()
    graph:add("a", {}, function()
      fails_with("a task cannot wait for itself", graph.result, graph, "a")
      fails_with("a task cannot wait for itself", graph.wait, graph, { "b", "a" })
      fails_with("a task cannot wait for itself", graph.wait, graph)
      fails_with("a task cannot wait for itself", function() for _ in graph:each() do error("no") end end)
      assert.same({ nil, "a task of the graph waits for the graph", "EDEADLK" }, { graph:join() })
      return graph:result("b")
    end)
    graph:add("b", {}, nap, "b's")
    assert.same({}, graph:result("a"))
  end)
end)

describe("a graph's end", function()
  it("kills what has not ended, and waits for it", function()
    local closed = 0
    local graph
    do
      local inner <close> = fern.graph(1)
      graph = inner
      inner:add("runs", {}, function()
        local _ <close> = support.closing(function() fern.sleep(0) closed = closed + 1 end)
        fern.sleep(100)
      end)
      inner:add("ready", {}, nap)
      inner:add("waits", { "nobody" }, nap)
      inner:post("done", 1)
      let_run()
    end
    assert.equal(1, closed)
    graph:close()
    assert.same({ "runs", "ready", "waits" }, graph:names("killed"))
    assert.equal(1, graph:result("done"))
    fails_with("the graph is closed", graph.add, graph, "new", {}, nap)
    fails_with("the graph is closed", graph.post, graph, "new")
    fails_with("the graph is closed", graph.result, graph, "nobody")
    fails_with("the graph is closed", graph.wait, graph, { "done", "nobody" })
    assert.is_false((graph:join()))
  end)

  it("wakes those who wait for what will never be added", function()
    local graph = fern.graph()
    local waits = { fern.spawn(graph.result, graph, "x"), fern.spawn(graph.wait, graph, { "x" }) }
    let_run()
    graph:close()
    for _, thread in ipairs(waits) do fails_with("the graph is closed", thread.wait, thread) end
  end)

  it("may be brought about by one of its tasks", function()
    local graph = fern.graph()
    graph:add("other", {}, sleep, 100)
    graph:add("a", {}, function()
      graph:close()
      fern.sleep(100)
    end)
    assert.is_false((graph:join()))
    assert.equal("killed", graph:status("a"))
    assert.equal("killed", graph:status("other"))
  end)

  it("does not come while something runs, though nobody has it", function()
    local ran = {}
    do
      local graph = fern.graph()
      graph:add("a", {}, function() nap() collectgarbage() ran[1] = "a" return {} end)
      graph:add("b", { "a" }, function(needs) collectgarbage() ran[2] = type(needs.a) end)
    end
    collectgarbage()
    collectgarbage()
    fern.waitall()
    assert.same({ "a", "table" }, ran)
  end)

  it("lets go of everything when nothing runs and nobody has it", function()
    local held = setmetatable({}, { __mode = "k" })
    do
      local graph, big = fern.graph(), { "big" }
      held[graph], held[big] = true, true
      graph:add("waits", { "nobody" }, nap, big)
      graph:add("done", {}, nap, big)
      graph:wait { "done" }
    end
    nap()
    collectgarbage()
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(held))
  end)

  it("names who was never added, when nothing can go on", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local graph = fern.graph()
      graph:add("cake", { "dough", "oven" }, print)
      graph:add("dough", { "flour", "eggs" }, print)
      graph:post("oven")
      print(select(2, pcall(graph.result, graph, "cake")):match("[^\n]*\n[^\n]*"))
      print(select(2, pcall(graph.wait, graph)):match("[^\n]*\n[^\n]*"))
    ]])
    assert.equal(0, code)
    assert.equal([[
deadlock: nothing is left that could wake any of these:
  thread #0 'main' waits for task 'cake' of a graph, which needs 'dough', which needs 'flour', which nobody has added
deadlock: nothing is left that could wake any of these:
  thread #0 'main' waits for the tasks of a graph: nobody has added 'flour', 'eggs'
]], output)
  end)

  it("is clean at a script's end, whatever runs and waits", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      graph = fern.graph(1)
      graph:add("a", {}, function()
        local _ <close> = setmetatable({}, { __close = function() print("closed") end })
        fern.sleep(100)
      end)
      graph:add("b", {}, print)
      graph:add("c", { "a" }, print)
      fern.sleep(0.01)
      print("end")
    ]])
    assert.equal("end\nclosed\n", output)
    assert.equal(0, code)
  end)
end)

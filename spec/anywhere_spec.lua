-- SPDX-License-Identifier: MIT
-- anywhere: every place where Lua code can be called is a place where a green
-- thread can park. Each is tried by a thread that sleeps there and must get
-- the right result, and by one that is killed there and must be unwound, while
-- another thread collects garbage all the time.
local fern = require "fern"

-- Calls `f`, and raises what it raises, but only after pcall has had it.
local function again(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

-- An object whose metamethod `event` parks and then returns `value`.
local function object(event, park, value)
  return setmetatable({}, { [event] = function() park() return value end })
end

-- A table of `n` items that has them from its metamethods only.
local function proxy(n, park)
  return setmetatable({}, {
    __len = function() park() return n end,
    __index = function(_, i) park() return i <= n and "v" .. i or nil end,
    __newindex = function(t, i, v) park() rawset(t, i, v) end,
  })
end

local function closable(park)
  return setmetatable({}, { __close = function() park() end })
end

-- Runs `f` with a hook that parks, once: at the first event after it was set.
local function hooked(mask, count, park, f)
  local done = false
  debug.sethook(function()
    if not done then done = true park() end
  end, mask, count)
  local _ <close> = setmetatable({}, { __close = function() debug.sethook() end })
  return f()
end

local function temporary_file(text)
  local name = os.tmpname()
  local file <close> = assert(io.open(name, "w"))
  file:write(text)
  return name
end

local function binary(event, operator)
  local f = assert(load("local a, b = ... return a " .. operator .. " b"))
  return function(park) return f(object(event, park, 42), 7) end
end

-- Name, what to do with a function that parks, what it must return.
local places = {
  { "a pcall body", function(park) return again(pcall(function() park() return 42 end)) end, 42 },
  { "pcall itself", function(park) again(pcall(park)) return 42 end, 42 },
  { "an xpcall body", function(park)
    return again(xpcall(function() park() return 42 end, function(e) return e end))
  end, 42 },
  { "an xpcall message handler", function(park)
    local ok, e = xpcall(error, function(e) park() return e .. "!" end, "oops")
    if type(e) ~= "string" or e ~= "oops!" then again(ok, e) end
    return e
  end, "oops!" },
  { "__index", function(park) return object("__index", park, 42).field end, 42 },
  { "an __index of an __index", function(park)
    return setmetatable({}, { __index = object("__index", park, 42) }).field
  end, 42 },
  { "an _ENV", function(park)
    return load("return some_global", "chunk", "t", object("__index", park, 42))()
  end, 42 },
  { "__newindex", function(park)
    local t = object("__newindex", park)
    t.field = 1
    return rawget(t, "field") == nil
  end, true },
  { "__call", function(park) return object("__call", park, 42)() end, 42 },
  { "a tail call", function(park)
    local function last() park() return 42 end
    return (function() return last() end)()
  end, 42 },
  { "__add", binary("__add", "+"), 42 },
  { "__sub", binary("__sub", "-"), 42 },
  { "__mul", binary("__mul", "*"), 42 },
  { "__div", binary("__div", "/"), 42 },
  { "__mod", binary("__mod", "%"), 42 },
  { "__pow", binary("__pow", "^"), 42 },
  { "__idiv", binary("__idiv", "//"), 42 },
  { "__band", binary("__band", "&"), 42 },
  { "__bor", binary("__bor", "|"), 42 },
  { "__bxor", binary("__bxor", "~"), 42 },
  { "__shl", binary("__shl", "<<"), 42 },
  { "__shr", binary("__shr", ">>"), 42 },
  { "__concat", binary("__concat", ".."), 42 },
  { "a __concat of many", function(park)
    return "a" .. "b" .. object("__concat", park, "c") .. "d" .. "e"
  end, "abc" },
  { "__unm", function(park) return -object("__unm", park, 42) end, 42 },
  { "__bnot", function(park) return ~object("__bnot", park, 42) end, 42 },
  { "__len", function(park) return #object("__len", park, 42) end, 42 },
  { "__eq", function(park) return object("__eq", park, 1) == object("__eq", park, 1) end, true },
  { "__lt", function(park) return object("__lt", park, 1) < 1 end, true },
  { "__le", function(park) return 1 <= object("__le", park, false) end, false },
  { "a condition", function(park)
    if object("__lt", park, 1) < 1 then return 42 end
  end, 42 },
  { "an arithmetic metamethod of strings", function(park)
    return "10" + object("__add", park, 42)
  end, 42 },
  { "a for iterator", function(park)
    local sum = 0
    for i in function(_, i) park() return i < 3 and i + 1 or nil end, nil, 0 do sum = sum + i end
    return sum
  end, 6 },
  { "a for's closing value, at its end", function(park)
    for _ in next, {}, nil, closable(park) do error("never") end
    return 42
  end, 42 },
  { "a for's closing value, at a break", function(park)
    for i in next, { 1, 2 }, nil, closable(park) do
      if i == 1 then break end
    end
    return 42
  end, 42 },
  { "__pairs", function(park)
    local t = setmetatable({}, { __pairs = function() park() return next, { 42 } end })
    local sum = 0
    for _, v in pairs(t) do sum = sum + v end
    return sum
  end, 42 },
  { "ipairs", function(park)
    local n = 0
    for _ in ipairs(proxy(3, park)) do n = n + 1 end
    return n
  end, 3 },
  { "tostring", function(park) return tostring(object("__tostring", park, "t")) end, "t" },
  { "string.format", function(park)
    return ("<%s>"):format(object("__tostring", park, "t"))
  end, "<t>" },
  { "a string.gsub function", function(park)
    return (("abc"):gsub(".", function(c) park() return c:upper() end))
  end, "ABC" },
  { "a string.gsub table", function(park)
    return (("abc"):gsub(".", object("__index", park, "x")))
  end, "xxx" },
  { "a table.sort comparator", function(park)
    local t = { 3, 1, 2 }
    table.sort(t, function(a, b) park() return a < b end)
    return table.concat(t)
  end, "123" },
  { "table.sort by __lt", function(park)
    local meta = { __lt = function(a, b) park() return a.n < b.n end }
    local function item(n) return setmetatable({ n = n }, meta) end
    local t = { item(3), item(1), item(2) }
    table.sort(t)
    return t[1].n .. t[2].n .. t[3].n
  end, "123" },
  { "table.concat", function(park) return table.concat(proxy(3, park), ",") end, "v1,v2,v3" },
  { "table.unpack", function(park) return (select("#", table.unpack(proxy(3, park)))) end, 3 },
  { "table.insert", function(park)
    local t = proxy(0, park)
    table.insert(t, "x")
    return rawget(t, 1)
  end, "x" },
  { "table.remove", function(park) return table.remove(proxy(3, park)) end, "v3" },
  { "table.move", function(park) return table.move(proxy(3, park), 1, 3, 1, {})[3] end, "v3" },
  { "a load reader", function(park)
    local pieces = { "return ", "4", "2" }
    local chunk, err = load(function() park() return table.remove(pieces, 1) end)
    return (chunk or error(err))()
  end, 42 },
  { "a chunk of dofile", function(park)
    local name <const> = temporary_file("package.loaded.fern_spec_park() return 42")
    package.loaded.fern_spec_park = park
    local _ <close> = setmetatable({}, { __close = function()
      package.loaded.fern_spec_park = nil
      os.remove(name)
    end })
    return dofile(name)
  end, 42 },
  { "a module that require loads", function(park)
    package.preload.fern_spec_module = function() park() return 42 end
    local _ <close> = setmetatable({}, { __close = function()
      package.preload.fern_spec_module, package.loaded.fern_spec_module = nil, nil
    end })
    return (require "fern_spec_module")
  end, 42 },
  { "a searcher of require", function(park)
    local function searcher(name)
      if name ~= "fern_spec_sought" then return nil end
      park()
      return function() return 42 end
    end
    table.insert(package.searchers, searcher)
    local _ <close> = setmetatable({}, { __close = function()
      for i, s in ipairs(package.searchers) do
        if s == searcher then table.remove(package.searchers, i) end
      end
      package.loaded.fern_spec_sought = nil
    end })
    return (require "fern_spec_sought")
  end, 42 },
  { "coroutine.wrap", function(park)
    return coroutine.wrap(function() park() return 42 end)()
  end, 42 },
  { "coroutine.resume", function(park)
    return again(coroutine.resume(coroutine.create(function() park() return 42 end)))
  end, 42 },
  { "a coroutine between two yields", function(park)
    local sum = 0
    for i in coroutine.wrap(function()
      for i = 1, 3 do park() coroutine.yield(i) park() end
    end) do sum = sum + i end
    return sum
  end, 6 },
  { "a pcall in a coroutine that yields out of it", function(park)
    local f = coroutine.wrap(function()
      return again(pcall(function() coroutine.yield(1) park() return 42 end))
    end)
    f()
    return f()
  end, 42 },
  { "a coroutine in a coroutine in a coroutine", function(park)
    local function nest(depth)
      if depth == 0 then park() return 42 end
      return coroutine.wrap(nest)(depth - 1)
    end
    return nest(5)
  end, 42 },
  { "coroutine.close", function(park)
    local co = coroutine.create(function()
      local _ <close> = closable(park)
      coroutine.yield()
    end)
    coroutine.resume(co)
    again(coroutine.close(co))
    return coroutine.status(co)
  end, "dead" },
  { "the <close> of a coroutine that failed", function(park)
    local ok, e = pcall(coroutine.wrap(function()
      local _ <close> = closable(park)
      error("oops", 0)
    end))
    if e ~= "oops" then again(ok, e) end
    return e
  end, "oops" },
  { "__close at the end of a block", function(park)
    do local _ <close> = closable(park) end
    return 42
  end, 42 },
  { "__close at a return", function(park)
    local function f()
      local _ <close> = closable(park)
      return 42
    end
    return f()
  end, 42 },
  { "__close at a goto", function(park)
    do
      local _ <close> = closable(park)
      goto out
    end
    ::out::
    return 42
  end, 42 },
  { "__close on an error", function(park)
    local ok, e = pcall(function()
      local _ <close> = closable(park)
      error("oops", 0)
    end)
    if e ~= "oops" then again(ok, e) end
    return e
  end, "oops" },
  { "several __close, one after another", function(park)
    local ok, e = pcall(function()
      local _ <close> = closable(park)
      local _ <close> = closable(park)
      local _ <close> = closable(function() park() error("second", 0) end)
      error("first", 0)
    end)
    if e ~= "second" then again(ok, e) end
    return e
  end, "second" },
  { "a line hook", function(park)
    return hooked("l", 0, park, function()
      local x = 41
      return x + 1
    end)
  end, 42 },
  { "a call hook", function(park)
    return hooked("c", 0, park, function() return math.abs(-42) end)
  end, 42 },
  { "a return hook", function(park)
    return hooked("r", 0, park, function() return math.abs(-42) end)
  end, 42 },
  { "a count hook", function(park)
    return hooked("", 1, park, function()
      local x = 0
      for i = 1, 42 do x = i end
      return x
    end)
  end, 42 },
  { "all of them at once", function(park)
    local function deepest() park() return 42 end
    local function sorted()
      local t, value = { 2, 1 }, nil
      table.sort(t, function(a, b) value = deepest() return a < b end)
      return value
    end
    local function gsubbed()
      local value
      ("x"):gsub(".", function() value = again(pcall(sorted)) end)
      return value
    end
    return coroutine.wrap(function()
      return setmetatable({}, { __index = function() return gsubbed() end }).field
    end)()
  end, 42 },
}

-- Something to disturb the others: a thread that collects all the time.
local function with_collector(f)
  local stop, turns = false, 0
  local collector <close> = fern.spawn(function()
    while not stop do
      turns = turns + 1
      collectgarbage()
      fern.sleep(0)
    end
  end)
  local _ <close> = setmetatable({}, { __close = function() stop = true end })
  f(function() return turns end)
  stop = true
  collector:wait()
end

local function sleep_there(run, expected)
  with_collector(function(turns)
    local parked, before, garbage = 0, nil, nil
    local thread = fern.spawn(run, function()
      parked, before = parked + 1, turns()
      fern.sleep(0.001)
      garbage = { ("%p"):format({}) }
    end)
    assert.are.equal(expected, thread:wait())
    assert.is_true(parked > 0 and #garbage == 1)
    assert.is_true(turns() > before)    -- the others went on meanwhile
    assert.are.equal("done", thread:status())
  end)
end

local function be_killed_there(run)
  with_collector(function(turns)
    local parked, order = false, {}
    local thread = fern.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() order[#order + 1] = "outer" end })
      local _ <close> = setmetatable({}, { __close = function(_, e)
        order[#order + 1] = "inner"
        -- an error in a message handler is the one thing that Lua replaces
        assert(fern.is_killed(e) or type(e) == "string", e)
      end })
      return run(function()
        parked = true
        fern.sleep(math.huge)
      end)
    end)
    while not parked do fern.sleep(0) end
    local before = turns()
    assert.are.equal("waiting", thread:status())
    thread:kill("enough")
    local ok, e = thread:join()
    assert.is_false(ok)
    assert.is_true(fern.is_killed(e))
    assert.are.equal("enough", e.reason)
    assert.are.equal("killed", thread:status())
    assert.are.same({ "inner", "outer" }, order)
    fern.sleep(0)
    fern.sleep(0)
    assert.is_true(turns() > before)
  end)
end

describe("a green thread", function()
  for _, place in ipairs(places) do
    local name, run, expected = place[1], place[2], place[3]
    it("sleeps in " .. name, function() sleep_there(run, expected) end)
    it("can be killed in " .. name, function() be_killed_there(run) end)
  end

  it("keeps its main thread's places as well", function()
    for _, place in ipairs(places) do
      assert.are.equal(place[3], place[2](function() fern.sleep(0.0001) end), place[1])
    end
  end)

  it("lets a thousand threads park in places of every kind", function()
    with_collector(function()
      local threads = {}
      for i = 1, 1000 do
        local place = places[i % #places + 1]
        local name = place[1]
        if not name:find("require") and not name:find("dofile") then    -- these share a name
          threads[#threads + 1] = { place, fern.spawn(place[2], function() fern.sleep(i % 7 * 0.0005) end) }
        end
      end
      for _, entry in ipairs(threads) do
        assert.are.equal(entry[1][3], entry[2]:wait(), entry[1][1])
      end
    end)
  end)
end)

describe("a finalizer", function()
  local function collect_one(finalize)
    setmetatable({}, { __gc = finalize })
    collectgarbage()
    collectgarbage()
  end

  -- Every call that would park, tried in a __gc: what did it say?
  local function in_gc(call)
    local heard, ok, message
    fern.on_error(function(err, traceback) heard = { err, traceback } end)
    collect_one(function() ok, message = pcall(call) end)
    for _ = 1, 3 do fern.sleep(0) end
    return ok, message, heard
  end

  local calls = {
    ["sleep"] = function() fern.sleep(1) end,
    ["sleep(0)"] = function() fern.sleep(0) end,
    ["waitall"] = function() fern.waitall() end,
    ["trampoline"] = function() fern.trampoline(0, "r") end,
  }
  for name, call in pairs(calls) do
    it("gets a clear error from " .. name .. ", and on_error hears of it", function()
      local ok, message, heard = in_gc(call)
      assert.is_false(ok)
      assert.matches("attempt to park inside a finalizer %(__gc%)", message)
      assert.matches("attempt to park inside a finalizer %(__gc%)", tostring(heard[1]))
      assert.matches("^stack traceback:.*anywhere_spec%.lua:%d+", heard[2])
    end)
  end

  it("gets it from a wait for a thread, too, which is not harmed", function()
    local thread = fern.spawn(fern.sleep, 0.005)
    local ok, message, heard = in_gc(function() thread:wait() end)
    assert.is_false(ok)
    assert.matches("finalizer", message)
    assert.is_table(heard)
    local _ = thread:wait()
    assert.are.equal("done", thread:status())
  end)

  it("may spawn, kill and look", function()
    local spawned, ran
    local victim = fern.spawn(fern.sleep, math.huge)
    fern.sleep(0)
    collect_one(function()
      spawned = fern.spawn(function() ran = true end)
      victim:kill("from a finalizer")
      assert(victim:status() == "ready")
    end)
    spawned:wait()
    assert.is_true(ran)
    local ok, e = victim:join()
    assert.is_false(ok)
    assert.are.equal("from a finalizer", e.reason)
  end)

  it("of one thread may run while another is parked anywhere", function()
    local finalized = 0
    local thread = fern.spawn(function()
      return (("abc"):gsub(".", function(c)
        fern.sleep(0.002)
        return c .. "."
      end))
    end)
    fern.sleep(0)
    for _ = 1, 50 do
      setmetatable({}, { __gc = function() finalized = finalized + 1 end })
      collectgarbage()
    end
    assert.are.equal("a.b.c.", thread:wait())
    assert.are.equal(50, finalized)
  end)
end)

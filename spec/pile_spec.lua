-- SPDX-License-Identifier: MIT
-- fern.pile: threads of a pool, and their results in the order of their spawns.
local fern = require "fern"
local support = require "spec.support.threads"

local let_run, nap, MANY = support.let_run, support.nap, support.MANY

-- All results of an iterator: the first value of each.
local function collect(...)
  local list = {}
  for value in ... do list[#list + 1] = value end
  return list
end

local function value(...) return ... end

-- A function that waits until it is let go, and what lets it go.
local function new_gate()
  local open = false
  return function(...)
    while not open do fern.sleep(0.0005) end
    return ...
  end, function() open = true end
end

describe("a pile", function()
  it("gives results in the order of the spawns, whatever ends first", function()
    local pile = fern.pile(10)
    for i = 1, 10 do
      pile:spawn(function() fern.sleep(0.001 * (10 - i)) return i end)
    end
    assert.same(support.numbers(10), collect(pile:results()))
  end)

  it("gives arguments in and all values of a result out", function()
    local pile = fern.pile()
    pile:spawn(value, 1, nil, "three", nil)
    pile:spawn(function(...) return select("#", ...) end, nil, nil)
    local next_result = pile:results()
    assert.same({ 1, nil, "three", nil, n = 4 }, table.pack(next_result()))
    assert.equal(2, next_result())
    assert.is_nil(next_result())
  end)

  it("hands out its threads, whose results anybody may ask for besides", function()
    local pile = fern.pile(2)
    local thread = pile:spawn(nap, "a", "b")
    assert.same({ "a", "b" }, { thread:wait() })
    assert.same({ "a", "b" }, { pile:results()() })
    assert.same({ "a", "b" }, { thread:wait() })
  end)

  it("runs no more at once than its pool's size", function()
    local pool, running, most = fern.pool(3), 0, 0
    local pile = fern.pile(pool)
    for i = 1, 10 do
      pile:spawn(function()
        running = running + 1
        most = math.max(most, running)
        nap()
        running = running - 1
        return i
      end)
    end
    assert.same(support.numbers(10), collect(pile:results()))
    assert.equal(3, most)
    assert.equal(3, pool:free())
  end)

  it("shares its pool with other piles, and with spawn", function()
    local pool = fern.pool(2)
    local a, b = fern.pile(pool), fern.pile(pool)
    for i = 1, 5 do
      a:spawn(nap, "a" .. i)
      pool:spawn(nap, "nobody's")
      b:spawn(nap, "b" .. i)
      assert.is_true(pool:running() <= 2)
    end
    assert.same({ "b1", "b2", "b3", "b4", "b5" }, collect(b:results()))
    assert.same({ "a1", "a2", "a3", "a4", "a5" }, collect(a:results()))
    assert.equal(true, pool:waitall())
  end)

  it("ends when all that was spawned so far is taken, and goes on after the next spawn", function()
    local pile = fern.pile(2)
    assert.same({}, collect(pile:results()))
    pile:spawn(nap, 1)
    local next_result = pile:results()
    assert.equal(1, next_result())
    assert.is_nil(next_result())
    assert.is_nil(next_result())
    pile:spawn(nap, 2)
    assert.equal(2, next_result())
    for x in pile:results() do error(x) end
  end)

  it("takes what its loop spawns along", function()
    local pile, got = fern.pile(2), {}
    pile:spawn(nap, 1)
    for x in pile:results() do
      got[#got + 1] = x
      if x < 5 then pile:spawn(nap, x + 1) end
    end
    assert.same({ 1, 2, 3, 4, 5 }, got)
  end)

  it("does not end while others wait for a slot to spawn into it", function()
    local pile = fern.pile(1)
    local spawner = fern.spawn(function()
      for i = 1, 20 do pile:spawn(nap, i) end
    end)
    let_run()
    assert.same(support.numbers(20), collect(pile:results()))
    spawner:wait()
  end)

  it("raises an item's error at its position, unchanged, and goes on by hand", function()
    local err = { "the very one" }
    local pile = fern.pile(3)
    pile:spawn(nap, 1)
    pile:spawn(error, err)
    pile:spawn(nap, 3)
    local next_result = pile:results()
    assert.equal(1, next_result())
    local ok, got = pcall(next_result)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal(3, next_result())
    assert.is_nil(next_result())
  end)

  it("raises when a result is nil first, with its position and why", function()
    local pile = fern.pile(3)
    pile:spawn(value, 1)
    pile:spawn(value, nil, "100% full", "ENOSPC")
    pile:spawn(value)
    pile:spawn(value, false)
    local next_result = pile:results()
    assert.equal(1, next_result())
    assert.has_error(next_result, "item 2 returned nil first, which would end the loop: 100% full")
    assert.has_error(next_result, "item 3 returned nil first, which would end the loop")
    assert.is_false(next_result())
    assert.is_nil(next_result())
  end)

  it("raises the kill of a killed item at its position", function()
    local pile = fern.pile(3)
    local begun, unbegun
    begun = pile:spawn(fern.sleep, 100)
    let_run()
    unbegun = pile:spawn(fern.sleep, 100)
    pile:spawn(nap, 3)
    begun:kill("enough")
    unbegun:kill()
    local next_result = pile:results()
    local ok, err = pcall(next_result)
    assert.is_false(ok)
    assert.equal("killed: enough", tostring(err))
    ok, err = pcall(next_result)
    assert.is_false(ok)
    assert.is_true(fern.is_killed(err))
    assert.equal(3, next_result())
  end)

  it("keeps the sequence when a spawn is stopped by a kill or a time limit", function()
    local gate, open = new_gate()
    local pile = fern.pile(1)
    pile:spawn(gate, 1)
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.002, pile.spawn, pile, value, "late") })
    local killed = fern.spawn(pile.spawn, pile, value, "killed")
    let_run()
    assert.equal("fern.pile (0 taken, 2 to come)", tostring(pile))
    killed:kill()
    assert.is_false((killed:join()))
    assert.equal("fern.pile (0 taken, 1 to come)", tostring(pile))
    open()
    pile:spawn(value, 2)
    assert.same({ 1, 2 }, collect(pile:results()))
  end)

  it("hands results to several consumers in the order in which they came", function()
    local pile, got = fern.pile(5), {}
    local gate, open = new_gate()
    for i = 1, 5 do pile:spawn(gate, i) end
    local next_result = pile:results()
    local consumers = {}
    for i = 1, 7 do
      consumers[i] = fern.spawn(function() got[i] = next_result() or "end" end)
    end
    let_run()
    consumers[2]:kill()
    open()
    for i = 1, 7 do consumers[i]:join() end
    assert.same({ 1, nil, 2, 3, 4, 5, "end" }, got)
  end)

  it("lets no newcomer take what a waiting consumer was handed", function()
    local pile = fern.pile(5)
    local first = pile:spawn(nap, "first")
    pile:spawn(function() fern.sleep(0.004) return "second" end)
    local next_result = pile:results()
    local waiter = fern.spawn(next_result)
    let_run()
    first:join()                -- we run before the waiter does
    assert.equal("ready", waiter:status())
    assert.equal("second", next_result())
    assert.equal("first", waiter:wait())
  end)

  it("gives a killed consumer's turn to the next, and loses no result", function()
    local pile = fern.pile(5)
    local gate, open = new_gate()
    pile:spawn(gate, "result")
    local next_result = pile:results()
    local consumer = fern.spawn(next_result)
    let_run()
    consumer:kill()
    open()
    assert.equal("result", next_result())
    assert.is_false((consumer:join()))
    pile:spawn(nap, "again")
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0, next_result) })
    assert.equal("again", next_result())
  end)

  it("kills what is in flight when its loop is left, and may be used again", function()
    local pool, closed = fern.pool(4), 0
    local pile = fern.pile(pool)
    for i = 1, 4 do
      pile:spawn(function()
        local _ <close> = support.closing(function() closed = closed + 1 end)
        fern.sleep(i == 1 and 0 or 100)
        return i
      end)
    end
    for x in pile:results() do
      if x == 1 then break end
    end
    assert.equal(true, pool:waitall(10))
    assert.equal(4, closed)
    assert.same({}, collect(pile:results()))
    pile:spawn(nap, "new")
    assert.same({ "new" }, collect(pile:results()))
  end)

  it("kills the rest when its loop is left by an error, an item's or the loop's own", function()
    local pool = fern.pool(4)
    local pile = fern.pile(pool)
    local function loop()
      for x in pile:results() do error(x, 0) end
    end
    pile:spawn(error, "item", 0)
    pile:spawn(fern.sleep, 100)
    assert.error_matches(loop, "^item")
    assert.equal(true, pool:waitall(10))
    pile:spawn(value, "loop")
    pile:spawn(fern.sleep, 100)
    assert.error_matches(loop, "^loop$")
    assert.equal(true, pool:waitall(10))
  end)

  it("is emptied by close, any number of times, and at the end of its block", function()
    local pool = fern.pool(4)
    local thread
    do
      local pile <close> = fern.pile(pool)
      thread = pile:spawn(fern.sleep, 100)
      let_run()
      pile:close()
      pile:close()
      assert.same({}, collect(pile:results()))
      pile:spawn(fern.sleep, 100)
    end
    assert.is_true(fern.is_killed(select(2, thread:join())))
    assert.equal(true, pool:waitall(10))
  end)

  it("ends the consumers that wait when it is closed", function()
    local pile, got = fern.pile(2), {}
    pile:spawn(fern.sleep, 100)
    for i = 1, 3 do fern.spawn(function() got[i] = table.pack(pile:results()()) end) end
    let_run()
    pile:close()
    let_run()
    local nothing = { n = 1 }
    assert.same({ nothing, nothing, nothing }, got)
  end)

  it("lets its threads go on when nobody has it any more", function()
    local done = 0
    do
      local pile = fern.pile(2)
      for _ = 1, 4 do pile:spawn(function() nap() done = done + 1 end) end
    end
    collectgarbage()
    collectgarbage()
    fern.waitall()
    assert.equal(4, done)
  end)

  it("keeps results for as long as they are not taken, whatever is collected", function()
    local pile = fern.pile(5)
    for i = 1, 100 do pile:spawn(function() return { i } end) end
    fern.waitall()
    collectgarbage()
    collectgarbage()
    local i = 0
    for result in pile:results() do
      i = i + 1
      assert.same({ i }, result)
      if i % 10 == 0 then collectgarbage() end
    end
    assert.equal(100, i)
  end)

  it("is not collected under a consumer or a spawner that waits", function()
    local results, spawner
    do
      local pile = fern.pile(1)
      pile:spawn(nap, 1)
      spawner = fern.spawn(pile.spawn, pile, nap, 2)
      results = fern.spawn(collect, pile:results())
    end
    fern.sleep(0)
    collectgarbage()
    collectgarbage()
    assert.same({ 1, 2 }, results:wait())
    spawner:wait()
  end)

  it("works with many items, and many consumers that time out at once", function()
    local pile, gone = fern.pile(MANY), 0
    local next_result = pile:results()
    local gate, open = new_gate()
    pile:spawn(gate, "late")
    local threads, limit = {}, 0.05
    for i = 1, MANY do
      threads[i] = fern.spawn(function()
        local ok, _, code = fern.timeout(limit, next_result)
        if not ok and code == "ETIMEDOUT" then gone = gone + 1 end
      end)
    end
    for _, thread in ipairs(threads) do thread:wait() end
    assert.equal(MANY, gone)
    open()
    assert.equal("late", next_result())
    for i = 1, MANY do pile:spawn(value, i) end
    local sum = 0
    for x in next_result do sum = sum + x end
    assert.equal(MANY * (MANY + 1) // 2, sum)
  end)

  it("gives every result once and in order, whatever is killed, resized and late", function()
    for seed = 1, 40 do
      math.randomseed(seed)
      local pool = fern.pool(math.random(3))
      local pile, spawned, taken, threads = fern.pile(pool), {}, {}, {}
      local next_result = pile:results()
      local function pause() if math.random(3) == 1 then fern.sleep(0.0005 * math.random(2)) end end
      local function work(id) pause() return id end
      local function spawn()
        for _ = 1, 10 do
          pause()
          local ok = fern.timeout(0.002, pile.spawn, pile, function()
            local id = #spawned + 1
            spawned[id] = true
            return work(id)
          end)
          assert(ok or ok == nil)
        end
      end
      local function consume()
        for id in next_result do
          taken[#taken + 1] = id
          pause()
        end
      end
      for i = 1, 6 do threads[i] = fern.spawn(i % 2 == 0 and spawn or consume) end
      for _ = 1, 5 do
        fern.sleep(0.001)
        pool:resize(math.random(4))
        if math.random(2) == 1 then threads[math.random(6)]:kill() end
      end
      for _, thread in ipairs(threads) do thread:join() end
      for id in next_result do taken[#taken + 1] = id end
      table.sort(taken)
      assert.same(support.numbers(#spawned), taken)
      assert.equal(true, pool:waitall(10))
    end
  end)

  it("refuses what is no pool and no size, and what is no function", function()
    for _, bad in ipairs { -1, 0 / 0, 1.5, "many", {}, print, false } do
      assert.has_error(function() fern.pile(bad) end)
    end
    assert.error_matches(function() fern.pile {} end,
      "^bad argument #1 to 'pile' %(pool or size expected, got table%)$")
    local pile = fern.pile(math.huge)
    assert.error_matches(function() pile:spawn(42) end, "function expected, got number")
    assert.has_error(function() pile:spawn() end)
    assert.has_error(function() pile.spawn({}, print) end)
    assert.has_error(function() pile.results(fern.pool(1)) end)
    assert.same({}, collect(fern.pile(1e9):results()))
    assert.same({}, collect(pile:results()))
  end)

  it("of size 0 holds spawners until its pool grows", function()
    local pool = fern.pool(0)
    local pile = fern.pile(pool)
    local spawner = fern.spawn(pile.spawn, pile, nap, "at last")
    let_run()
    pool:resize(1)
    assert.same({ "at last" }, collect(pile:results()))
    spawner:wait()
  end)

  it("tells about itself", function()
    local pile = fern.pile(3)
    assert.equal("fern.pile", getmetatable(pile).__name)
    pile:spawn(nap, 1)
    pile:spawn(nap, 2)
    assert.equal(1, (pile:results())())
    assert.equal("fern.pile (1 taken, 1 to come)", tostring(pile))
    pile:close()
  end)
end)

describe("a pile used by its own pool's threads", function()
  it("runs at once what is spawned while the pool is full, in the order of the spawns", function()
    local pool = fern.pool(1)
    local pile = fern.pile(pool)
    local function down(n)
      if n > 0 then pile:spawn(down, n - 1) end
      return n
    end
    pile:spawn(down, 3)
    assert.same({ 3, 2, 1, 0 }, collect(pile:results()))
  end)

  it("gives a worker the results of what it spawned", function()
    local pool = fern.pool(1)
    local got = pool:spawn(function()
      local pile = fern.pile(pool)
      for i = 1, 3 do pile:spawn(nap, i) end
      return collect(pile:results())
    end):wait()
    assert.same({ 1, 2, 3 }, got)
  end)

  it("does not let a worker wait for those who wait for its slot", function()
    local pool = fern.pool(1)
    local pile = fern.pile(pool)
    local got
    pool:spawn(function()
      fern.sleep(0.002)
      got = collect(pile:results())
    end)
    pile:spawn(nap, "after the worker")
    assert.same({}, got)
    assert.same({ "after the worker" }, collect(pile:results()))
  end)

  it("says so when an item waits for its own result", function()
    local pile = fern.pile(2)
    local message = "a thread of the pile waits for its own result"
    pile:spawn(function() return select(2, pcall(pile:results())) end)
    assert.equal(message, pile:results()())
    -- It becomes the first one while it waits, and inline.
    local gate, open = new_gate()
    pile:spawn(gate, 1)
    local other = fern.spawn(pile:results())
    let_run()
    pile:spawn(function() return select(2, pcall(pile:results())) end)
    let_run()
    open()
    assert.same({ message }, collect(pile:results()))
    assert.equal(1, other:wait())
    pile = fern.pile(1)
    pile:spawn(function()
      pile:spawn(function() return select(2, pcall(pile:results())) end)
      return true
    end)
    assert.same({ true, message }, collect(pile:results()))
  end)

  it("ends a spawn without end with an error of Lua's", function()
    local pool = fern.pool(1)
    local pile = fern.pile(pool)
    local function spawn() return pile:spawn(spawn):wait() end
    assert.matches("C stack overflow", select(2, pool:spawn(spawn):join()), 1, true)
    pile:close()
    assert.equal(1, pool:free())
  end)

  it("lets a time limit of the worker through, and forgets the item", function()
    local pool = fern.pool(1)
    local pile = fern.pile(pool)
    local ok, message, code = pool:spawn(function()
      return fern.timeout(0.002, pile.spawn, pile, fern.sleep, 100)
    end):wait()
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { ok, message, code })
    assert.same({}, collect(pile:results()))
  end)

  it("hands nobody what its spawner was killed in", function()
    local pool = fern.pool(1)
    local pile = fern.pile(pool)
    local worker = pool:spawn(function() pile:spawn(fern.sleep, 100) end)
    let_run()
    local consumer = fern.spawn(pile:results())
    let_run()
    worker:kill()
    assert.is_false((worker:join()))
    assert.is_nil(consumer:wait())
  end)

  it("tells a consumer that waits already of the time limit that stopped an item", function()
    local pool = fern.pool(1)
    local pile = fern.pile(pool)
    local worker = pool:spawn(fern.timeout, 0.005, pile.spawn, pile, fern.sleep, 100)
    let_run()
    local consumer = fern.spawn(pile:results())
    assert.equal("ETIMEDOUT", select(3, worker:wait()))
    assert.is_true(fern.is_timeout(select(2, consumer:join())))
    assert.same({}, collect(pile:results()))
  end)
end)

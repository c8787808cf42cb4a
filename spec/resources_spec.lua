-- SPDX-License-Identifier: MIT
-- fern.resources: never more than there may be, first come first served,
-- whatever fails, parks, is killed or collected.
local fern = require "fern"
local threads = require "spec.support.threads"

local let_run, run, closing = threads.let_run, threads.run, threads.closing

-- Options for a pool of numbered things, and what has become of them.
local function numbered(options)
  local seen = { made = 0, there = 0, most = 0, destroyed = {} }
  local all = {
    create = function()
      seen.there = seen.there + 1
      seen.most = math.max(seen.most, seen.there)
      seen.made = seen.made + 1
      local number = seen.made
      if seen.create_takes then fern.sleep(seen.create_takes) end
      return { number = number }
    end,
    destroy = function(value)
      if seen.destroy_takes then fern.sleep(seen.destroy_takes) end
      seen.there = seen.there - 1
      table.insert(seen.destroyed, value.number)
    end,
  }
  for name, value in pairs(options or {}) do all[name] = value end
  return fern.resources(all), seen
end

-- A pool that is closed when the block is left, and that must be empty then.
local function pool_of(options)
  local pool, seen = numbered(options)
  return pool, seen, closing(function()
    pool:close()
    for _ = 1, 1000 do
      if seen.there == 0 then break end
      fern.sleep(0.001)
    end
    assert.equal(0, seen.there)
  end)
end

local function hear_errors()
  local heard = {}
  fern.on_error(function(e, traceback) heard[#heard + 1] = { e, traceback } end)
  return heard
end

describe("a pool of resources", function()
  it("makes them when they are needed, and hands out what is idle", function()
    local pool, seen, _ <close> = pool_of { max = 2 }
    assert.equal(0, seen.made)
    local a, b = pool:get(), pool:get()
    assert.equal(1, a.value.number)
    assert.equal(2, b.value.number)
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { pool:get(0) })
    b:release()
    a:release()
    local c <close> = pool:get()
    assert.equal(2, c.value.number)
    assert.equal(2, seen.made)
  end)

  it("hands out what came back last, if it is to be a stack", function()
    local pool, _, _ <close> = pool_of { order = "stack" }
    local a, b = pool:get(), pool:get()
    a:release()
    b:release()
    local c <close> = pool:get()
    assert.equal(2, c.value.number)
  end)

  it("gives them back when the block is left", function()
    local pool, seen, _ <close> = pool_of { max = 1 }
    for _ = 1, 3 do
      local lease <close> = pool:get()
      assert.equal(1, lease.value.number)
      assert.equal(0, pool:free())
    end
    assert.equal(1, pool:free())
    assert.equal(1, seen.made)
  end)

  it("does not hand out again what a block that failed has had", function()
    local pool, seen, _ <close> = pool_of { max = 1 }
    assert.is_false(pcall(function()
      local _ <close> = pool:get()
      error("in the middle of a request")
    end))
    assert.same({ 1 }, seen.destroyed)
    local killed = fern.spawn(function()
      local _ <close> = pool:get()
      fern.sleep(10)
    end)
    let_run()
    killed:kill()
    threads.killed_join(killed)
    assert.same({ 1, 2 }, seen.destroyed)
    pcall(function()
      local lease <close> = pool:get()
      lease:release()                                   -- it was done with it
      error("later")
    end)
    assert.equal(1, pool:statistics().idle)
  end)

  it("serves the longest waiter first, and lets nobody overtake", function()
    local pool, _, _ <close> = pool_of { max = 1 }
    local first, order = pool:get(), {}
    local waiters = {}
    for i = 1, 5 do
      waiters[i] = fern.spawn(function()
        local _ <close> = pool:get()
        order[#order + 1] = i
        fern.sleep(0)
      end)
    end
    let_run()
    assert.equal(5, pool:waiting())
    first:release()
    assert.is_nil((pool:get(0)))
    for _, waiter in ipairs(waiters) do waiter:wait() end
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end)

  it("never has more than its size, counting those being made or destroyed", function()
    local pool, seen, _ <close> = pool_of { max = 3 }
    seen.create_takes, seen.destroy_takes = 0.001, 0.001
    for i = 1, 20 do
      fern.spawn(function()
        local lease <close> = pool:get()
        fern.sleep(0)
        if i % 2 == 0 then lease:discard() end
      end)
    end
    fern.waitall()
    assert.equal(3, seen.most)
    assert.equal(0, pool:waiting())
  end)

  it("tells a create that fails to its caller, and lets the next one try", function()
    local tries, err = 0, { "no" }
    local pool, _, _ <close> = pool_of {
      max = 1,
      create = function()
        tries = tries + 1
        local mine = tries
        fern.sleep(0.001)
        if mine == 1 then return nil, "connection refused", "ECONNREFUSED" end
        if mine == 2 then error(err) end
        if mine == 3 then return end
        return { number = mine }
      end,
      destroy = function() end,
    }
    local results = {}
    for i = 1, 4 do
      fern.spawn(function() results[i] = table.pack(pcall(pool.get, pool)) end)
    end
    fern.waitall()
    assert.same({ true, nil, "connection refused", "ECONNREFUSED", n = 4 }, results[1])
    assert.is_false(results[2][1])
    assert.equal(err, results[2][2])
    assert.matches("create returned nothing", results[3][2])
    assert.equal(4, results[4][2].value.number)
    results[4][2]:release()
    assert.equal(3, pool:statistics().failed)
    assert.equal(1, pool:statistics().size)
  end)

  it("limits waiting, checking and making by one timeout", function()
    local slow = true
    local pool, seen, _ <close> = pool_of {
      max = 1,
      check = function()
        if slow then fern.sleep(10) end
        return true
      end,
    }
    seen.create_takes = 10
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { pool:get(0.002) })
    assert.equal(0, pool:statistics().size)
    seen.create_takes, seen.there = nil, 0
    pool:get():release()
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { pool:get(0.002) })
    assert.same({ 2 }, seen.destroyed)                  -- who knows what it is in the middle of
    slow = false
    pool:get(0.5):release()
    assert.equal(1, pool:statistics().idle)
  end)

  it("passes on an outer limit that runs out in create, and the kill of its caller", function()
    local pool, seen, _ <close> = pool_of { max = 1 }
    seen.create_takes = 10
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.002, pool.get, pool, 5) })
    local killed = fern.spawn(pool.get, pool)
    let_run()
    killed:kill()
    threads.killed_join(killed)
    seen.create_takes, seen.there = nil, 0
    pool:get():release()
    assert.equal(1, pool:statistics().size)
  end)

  it("forgets a waiter that is killed or out of time, and loses nothing that it was handed", function()
    local pool, seen, _ <close> = pool_of { max = 1 }
    local lease = pool:get()
    local killed, late = fern.spawn(pool.get, pool), fern.spawn(pool.get, pool, 0.002)
    let_run()
    assert.equal(2, pool:waiting())
    killed:kill()
    assert.equal(1, pool:waiting())
    assert.is_nil((late:wait()))
    assert.equal(0, pool:waiting())
    threads.killed_join(killed)
    local handed = fern.spawn(function()
      local _ <close> = pool:get()
      fern.sleep(10)
    end)
    let_run()
    lease:release()
    handed:kill()
    threads.killed_join(handed)
    assert.equal(1, #seen.destroyed)                    -- its block was left by the kill
    pool:get(1):release()
  end)

  it("survives very many waiters that all give up in one turn", function()
    local pool, _, _ <close> = pool_of { max = 1 }
    local lease, late = pool:get(), 0
    for _ = 1, threads.MANY do
      fern.spawn(function()
        if select(3, pool:get(0.01)) == "ETIMEDOUT" then late = late + 1 end
      end)
    end
    fern.waitall()
    assert.equal(threads.MANY, late)
    assert.equal(0, pool:waiting())
    lease:release()
  end)

  it("replaces what its check refuses, whether it says so or raises", function()
    local verdict = function() return true end
    local pool, seen, _ <close> = pool_of { max = 1, check = function(value) return verdict(value) end }
    pool:get():release()
    pool:get():release()
    assert.equal(1, seen.made)
    verdict = function(value) return value.number > 1 end
    pool:get():release()
    assert.same({ 1 }, seen.destroyed)
    verdict = function(value) assert(value.number > 2, "broken pipe") return true end
    pool:get():release()
    assert.same({ 1, 2 }, seen.destroyed)
    verdict = function() return nil, "closed", "EPIPE" end
    pool:get():release()
    assert.same({ 1, 2, 3 }, seen.destroyed)
    assert.equal(1, seen.most)
  end)

  it("destroys what is idle too long though nobody calls", function()
    local pool, seen, _ <close> = pool_of { max = 3, max_idle = 0.005, min = 1 }
    for _, lease in ipairs { pool:get(), pool:get(), pool:get() } do lease:release() end
    for _ = 1, 1000 do
      if seen.there == 1 then break end
      fern.sleep(0.001)
    end
    fern.sleep(0.02)
    assert.equal(1, seen.there)                         -- that many are kept
  end)

  it("destroys what is too old, and replaces it", function()
    local pool, seen, _ <close> = pool_of { max = 2, max_age = 0.005, min = 1 }
    for _ = 1, 1000 do
      if seen.made >= 3 then break end
      fern.sleep(0.001)
    end
    assert.is_true(seen.made >= 3)
    local lease = pool:get()
    local mine = lease.value.number
    fern.sleep(0.01)
    assert.equal(mine, lease.value.number)              -- not while somebody has it
    lease:release()
    assert.equal(mine, seen.destroyed[#seen.destroyed])
  end)

  it("keeps nothing idle with limits of 0, and all with limits of math.huge", function()
    for _, name in ipairs { "max_idle", "max_age" } do
      local pool, seen, _ <close> = pool_of { [name] = 0 }
      pool:get():release()
      assert.same({ 1 }, seen.destroyed)
      local lasting, kept, _ <close> = pool_of { [name] = math.huge }
      lasting:get():release()
      fern.sleep(0.002)
      assert.same({}, kept.destroyed)
    end
  end)

  it("keeps a minimum, made beforehand", function()
    local pool, seen, _ <close> = pool_of { min = 2 }
    seen.create_takes = 0.001
    for _ = 1, 1000 do
      if pool:statistics().idle == 2 then break end
      fern.sleep(0.001)
    end
    assert.equal(2, seen.made)
    local lease = pool:get(0)
    lease:discard()
    for _ = 1, 1000 do
      if pool:statistics().idle == 2 then break end
      fern.sleep(0.001)
    end
    assert.equal(2, pool:statistics().idle)
  end)

  it("reports a minimum that cannot be made", function()
    local heard = hear_errors()
    local err = {}
    local pool = fern.resources { min = 2, create = function() error(err) end }
    let_run()
    assert.equal(2, #heard)
    assert.equal(err, heard[1][1])
    assert.matches("resources_spec.lua:%d+", heard[1][2])
    pool:close()
    pool = fern.resources { min = 1, create = function() return nil, "connection refused" end }
    let_run()
    assert.equal("connection refused", heard[3][1])
    pool:close()
  end)

  it("wakes waiters when it grows, and sheds what is too many when it shrinks", function()
    local pool, seen, _ <close> = pool_of { max = 0 }
    local leases = {}
    for i = 1, 3 do fern.spawn(function() leases[i] = pool:get() end) end
    let_run()
    assert.equal(3, pool:waiting())
    pool:resize(2)
    let_run()
    assert.equal(1, pool:waiting())
    pool:resize(math.huge)
    let_run()
    assert.equal(3, #leases)
    leases[1]:release()
    pool:resize(1)
    assert.same({ 1 }, seen.destroyed)
    leases[2]:release()
    assert.same({ 1, 2 }, seen.destroyed)
    leases[3]:release()
    assert.equal(1, pool:statistics().idle)
    assert.equal(1, pool:free())
  end)

  it("counts what there is", function()
    local pool, _, _ <close> = pool_of { max = 3 }
    local lease = pool:get()
    pool:get():release()
    local waiters = { pool:get(), pool:get() }
    fern.spawn(function() waiters[3] = pool:get() end)
    let_run()
    local statistics = pool:statistics()
    assert.same({
      max = 3, min = 0, size = 3, idle = 0, in_use = 3, free = 0, waiting = 1,
      created = 3, destroyed = 0, failed = 0,
    }, statistics)
    assert.equal("fern.resources (3 of 3 in use, 0 idle, 1 waiting)", tostring(pool))
    lease:discard()
    let_run()
    for _, waiter in ipairs(waiters) do waiter:release() end
    assert.equal(3, pool:free())
    assert.equal(1, pool:statistics().destroyed)
  end)
end)

describe("a lease", function()
  it("can be given back once, in whichever way", function()
    local pool, seen, _ <close> = pool_of()
    local lease = pool:get()
    assert.matches("^fern.lease of table", tostring(lease))
    assert.equal(true, pool:put(lease))
    assert.equal("fern.lease (given back)", tostring(lease))
    for _, way in ipairs { "release", "discard" } do
      threads.fails_with("given back", lease[way], lease)
    end
    threads.fails_with("given back", pool.put, pool, lease)
    threads.fails_with("given back", function() return lease.value end)
    assert.equal(true, lease:close())
    assert.equal(1, pool:statistics().idle)
    assert.same({}, seen.destroyed)
    assert.equal(true, pool:get():release())
    assert.equal(true, pool:get():discard())
    assert.same({ 1 }, seen.destroyed)
  end)

  it("goes back to its own pool only", function()
    local pool, _, _ <close> = pool_of()
    local other, _, _ <close> = pool_of()
    local lease <close> = pool:get()
    threads.fails_with("another pool", other.put, other, lease)
    assert.has_error(function() pool:put({}) end)
    assert.has_error(function() pool:put() end)
    assert.has_error(function() lease.release(pool) end)
    assert.equal(1, pool:statistics().in_use)
  end)

  it("may be given back by another thread", function()
    local pool, _, _ <close> = pool_of { max = 1 }
    local lease = pool:get()
    fern.spawn(lease.release, lease):wait()
    assert.equal(1, pool:statistics().idle)
  end)

  it("that is collected gives its resource up, and that is told", function()
    local heard = hear_errors()
    local pool, seen, _ <close> = pool_of { max = 1 }
    do pool:get() end
    collectgarbage()
    collectgarbage()
    let_run()
    assert.same({ 1 }, seen.destroyed)
    assert.equal(1, #heard)
    assert.matches("got at .*resources_spec.lua:%d+, was not given back", heard[1][1])
    pool:get(1):release()
  end)

  it("that is collected while others wait serves them", function()
    hear_errors()
    local pool, seen, _ <close> = pool_of { max = 1 }
    do pool:get() end
    local waiter = fern.spawn(function() pool:get():release() return "served" end)
    let_run()
    seen.destroy_takes = 0.001
    collectgarbage()
    collectgarbage()
    assert.equal("served", waiter:wait(5))
    assert.equal(1, seen.most)
  end)
end)

describe("destroy", function()
  it("may fail: that is reported, and the slot is free", function()
    local heard = hear_errors()
    local pool = fern.resources {
      max = 1, create = function() return "x" end, destroy = function() error("no goodbye", 0) end,
    }
    pool:get():discard()
    let_run()
    assert.equal("no goodbye", heard[1][1])
    assert.matches("resources_spec", heard[1][2])
    pool:get(1):discard()
    pool:close()
  end)

  it("passes on the kill and the limits of whoever is in it", function()
    local pool, seen, _ <close> = pool_of { max = 1 }
    seen.destroy_takes = 10
    local lease = pool:get()
    local killed = fern.spawn(lease.discard, lease)
    let_run()
    assert.equal(1, pool:statistics().size)
    killed:kill()
    threads.killed_join(killed)
    assert.equal(0, pool:statistics().size)
    lease = pool:get()
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.002, lease.discard, lease) })
    assert.equal(0, pool:statistics().size)
    seen.there, seen.destroy_takes = 0, nil
  end)

  it("closes what a block would close, if there is none", function()
    local closed = 0
    local meta = { __close = function() closed = closed + 1 end }
    local pool = fern.resources { create = function() return setmetatable({}, meta) end }
    pool:get():release()
    pool:close()
    assert.equal(1, closed)
    pool = fern.resources { create = function() return 42 end }
    pool:get():discard()
    pool:close()
  end)

  it("may take its time in a worker, while others get what they want", function()
    local pool, seen, _ <close> = pool_of { max = 2, max_idle = 0.002 }
    pool:get():release()
    seen.destroy_takes = 0.01
    for _ = 1, 1000 do
      if pool:statistics().idle == 0 then break end
      fern.sleep(0.001)
    end
    assert.equal(1, pool:statistics().size)
    local lease <close> = pool:get(0)
    assert.equal(2, lease.value.number)
    seen.destroy_takes = nil
  end)

  it("may kill the thread that it runs in", function()
    hear_errors()
    local pool
    pool = fern.resources {
      max = 1, max_idle = 0, create = function() return "x" end,
      destroy = function()
        fern.current():kill()
        fern.sleep(1)
      end,
    }
    local thread = fern.spawn(function() pool:get():release() end)
    threads.killed_join(thread)
    do pool:get() end                                   -- and a worker
    collectgarbage()
    collectgarbage()
    let_run()
    assert.equal(0, pool:statistics().size)
    pool:close()
  end)
end)

describe("the end of a pool of resources", function()
  it("comes with close: waiters are told, what is out is destroyed when it comes back", function()
    local pool, seen = numbered { max = 2 }
    local lease = pool:get()
    pool:get():release()
    local held = pool:get()
    local waiter = fern.spawn(pool.get, pool)
    let_run()
    pool:close()
    assert.same({ nil, "closed", "EPIPE" }, { waiter:wait() })
    assert.same({ nil, "closed", "EPIPE" }, { pool:get() })
    lease:release()
    held:release()
    assert.equal(0, seen.there)
    assert.equal(true, pool:close())
    assert.equal(0, pool:free())
    assert.matches("closed", tostring(pool))
  end)

  it("comes with its block", function()
    local seen
    do
      local pool <close>, noted = numbered()
      seen = noted
      pool:get():release()
    end
    assert.same({ 1 }, seen.destroyed)
  end)

  it("tells somebody whose resource is just being made", function()
    local pool, seen = numbered { max = 1 }
    seen.create_takes = 0.002
    local getter = fern.spawn(pool.get, pool)
    let_run()
    pool:close()
    assert.same({ nil, "closed", "EPIPE" }, { getter:wait() })
    assert.equal(0, seen.there)
  end)

  it("comes with the collector, though what is out lives on", function()
    local seen, lease
    do
      local pool
      pool, seen = numbered { min = 2 }
      let_run()
      pool:get():release()
      pool = nil -- luacheck: ignore
    end
    collectgarbage()
    collectgarbage()
    fern.sleep(0.002)
    assert.equal(2, seen.made)
    assert.equal(0, seen.there)
    do
      local pool
      pool, seen = numbered()
      lease = pool:get()
      pool = nil -- luacheck: ignore
    end
    collectgarbage()
    collectgarbage()
    fern.sleep(0.002)
    assert.equal(1, seen.there)
    lease:release()
    lease = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    fern.sleep(0.002)
    assert.equal(0, seen.there)
  end)

  it("does not hold up the script's, nor hide a deadlock", function()
    local output, code = run [[
      local fern = require "fern"
      local pool = fern.resources { max = 1, max_idle = 3600, min = 1, create = function() return 1 end }
      fern.sleep(0.001)
      local lease = pool:get()
      lease:release()
      print(pcall(function() fern.pool(0):spawn(print) end))
      local kept = pool:get()
      print "end"
    ]]
    assert.equal(0, code)
    assert.matches("^false\tdeadlock.*\nend\n$", output)
  end)

  it("leaves its methods usable when fern is closed", function()
    local output, code = run [[
      local fern = require "fern"
      local pool = fern.resources { max_idle = 3600, create = function() return 1 end }
      local lease, other = pool:get(), pool:get()
      pool:get():release()
      getmetatable(fern).__close()
      lease:release()
      other:close()
      pool:close()
      print(pcall(pool.get, pool))
      print(pool:statistics().in_use, pcall(fern.resources, { create = print }))
    ]]
    assert.equal("false\tfern is closed\n0\tfalse\tfern is closed\n", output)
    assert.equal(0, code)
  end)
end)

describe("fern.resources", function()
  it("works inside an executor's functions, a coroutine, and a callback", function()
    local pool, seen, _ <close> = pool_of { max = 1 }
    seen.create_takes = 0.001
    local executor <close> = fern.executor { max_workers = 2 }
    local futures = {}
    for i = 1, 6 do
      futures[i] = executor:submit(function()
        return coroutine.wrap(function()
          local lease <close> = pool:get()
          if i % 3 == 0 then lease:discard() end
          coroutine.wrap(function() fern.sleep(0) end)()
          return i
        end)()
      end)
    end
    for i = 1, 6 do assert.equal(i, futures[i]:result(5)) end
    local list = { 2, 1, 3 }
    table.sort(list, function(a, b)
      local _ <close> = pool:get()
      return a < b
    end)
    assert.same({ 1, 2, 3 }, list)
    assert.equal(1, seen.most)
  end)

  it("refuses what makes no sense", function()
    local function create() return 1 end
    assert.has_error(function() fern.resources() end)
    assert.has_error(function() fern.resources(create) end)
    threads.fails_with("'create', a function, is missing", fern.resources, {})
    threads.fails_with("'create'", fern.resources, { create = 1 })
    threads.fails_with("'check'", fern.resources, { create = create, check = "x" })
    threads.fails_with("'destroy'", fern.resources, { create = create, destroy = {} })
    threads.fails_with("unknown option 'size'", fern.resources, { create = create, size = 1 })
    threads.fails_with("'min'", fern.resources, { create = create, min = 2, max = 1 })
    threads.fails_with("'order'", fern.resources, { create = create, order = "heap" })
    threads.fails_with("'order'", fern.resources, { create = create, order = 1 })
    for _, bad in ipairs { -1, 0 / 0, "1", {}, 1.5 } do
      assert.has_error(function() fern.resources { create = create, max = bad } end)
      assert.has_error(function() fern.resources { create = create, min = bad } end)
    end
    for _, bad in ipairs { -1, 0 / 0, "1", {} } do
      assert.has_error(function() fern.resources { create = create, max_idle = bad } end)
      assert.has_error(function() fern.resources { create = create, max_age = bad } end)
    end
    local pool <close> = fern.resources { create = create, max = 1e9 }
    assert.equal(1000000000, pool:free())
    for _, bad in ipairs { -1, 0 / 0, "x", {}, 1.5 } do
      assert.has_error(function() pool:resize(bad) end)
    end
    assert.has_error(function() pool:resize() end)
    assert.has_error(function() pool:get("soon") end)
    assert.has_error(function() pool:get(0 / 0) end)
    for _, name in ipairs { "get", "put", "resize", "free", "waiting", "statistics", "close" } do
      assert.has_error(function() pool[name]({}) end)
      assert.has_error(function() pool[name](io.stdout) end)
    end
  end)

  it("gives back nothing in a finalizer but what needs no waiting", function()
    local heard = hear_errors()
    local pool, _, _ <close> = pool_of { max = 1 }
    do
      local lease = pool:get()
      setmetatable({}, { __gc = function() lease:release() end })
    end
    collectgarbage()
    collectgarbage()
    let_run()
    assert.matches("inside a finalizer", heard[1][1])
    assert.equal(0, pool:statistics().in_use)
  end)
end)

-- A program of random calls under a seed: threads that get, give back, fail and
-- are killed, while functions fail and park, and the pool shrinks and grows.
local function random_program(seed)
  math.randomseed(seed)
  local random = math.random
  local max, there, problem = random(4), 0, nil
  local function claim(truth, what) if not truth then problem = what end end
  local function chance(n) return random(n) == 1 end
  local function park()
    if chance(3) then fern.sleep(chance(2) and 0 or random() * 5e-4) end
  end
  local pool = fern.resources {
    max = max, min = random(0, max), order = chance(2) and "stack" or "queue",
    max_idle = chance(3) and random() * 1e-3 or nil, max_age = chance(3) and random() * 2e-3 or nil,
    create = function()
      there = there + 1
      claim(there <= max, "too many")
      local made
      local _ <close> = closing(function() if not made then there = there - 1 end end)
      park()
      if chance(12) then return nil, "refused" end
      if chance(12) then error("create") end
      made = {}
      return made
    end,
    check = chance(2) and function()
      park()
      if chance(10) then error("check") end
      return not chance(5)
    end or nil,
    destroy = function(value)
      local _ <close> = closing(function() there = there - 1 end)
      claim(not value.dead and not value.owner, "destroyed in use")
      value.dead = true
      park()
      if chance(8) then error("destroy") end
    end,
  }
  local function use(value)
    claim(not value.owner and not value.dead, "shared")
    value.owner = true
    local _ <close> = closing(function() value.owner = nil end)
    park()
    if chance(8) then error("use") end
  end
  local users = {}
  for i = 1, 20 do
    users[i] = fern.spawn(function()
      for _ = 1, random(4) do
        local lease <close> = pool:get(chance(2) and random() * 2e-3 or nil)
        if lease then use(lease.value) end
        if lease and chance(4) then lease:discard() elseif lease and chance(4) then lease:release() end
      end
    end)
  end
  for _ = 1, 10 do
    park()
    if chance(2) then users[random(20)]:kill() end
    if chance(4) then pool:resize(random(max)) end
    if chance(4) then collectgarbage("step", 100) end
  end
  pool:resize(max)
  for _, user in ipairs(users) do claim(user:join(10) ~= nil, "a user hangs") end
  local statistics = pool:statistics()
  claim(statistics.waiting == 0 and statistics.in_use == 0, "somebody is left")
  if chance(3) then
    pool = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
  else
    pool:close()
  end
  for _ = 1, 2000 do
    if there == 0 then break end
    fern.sleep(0.001)
  end
  claim(there == 0, "something is left")
  return problem
end

it("a pool of resources keeps its promises in random programs", function()
  hear_errors()
  for seed = 1, 60 do
    local problem = random_program(seed)
    assert.is_nil(problem, ("seed %d: %s"):format(seed, problem))
  end
end)

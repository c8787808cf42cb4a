-- SPDX-License-Identifier: MIT
-- fern.queue, fern.lifo_queue, fern.priority_queue: what comes out, in which
-- order, who waits for whom, and what happens when somebody leaves early.
local fern = require "fern"
local support = require "spec.support.threads"

local let_run, fails_with, killed_join = support.let_run, support.fails_with, support.killed_join

-- All that is in the queue, until a get would wait.
local function drain(queue)
  local list = {}
  while queue:size() > 0 do list[#list + 1] = queue:get() end
  return list
end

local function packed(...) return table.pack(...) end

local TIMEOUT = { nil, "timeout", "ETIMEDOUT", n = 3 }
local CLOSED = { nil, "closed", "EPIPE", n = 3 }

-- Something that is ordered by `key`; `happens` is called when it is compared.
local function item(key, happens)
  return setmetatable({ key = key, happens = happens }, { __lt = function(a, b)
    if a.happens then a.happens() end
    return a.key < b.key
  end })
end

local function keys(list)
  local all = {}
  for i, one in ipairs(list) do all[i] = one.key end
  return table.concat(all)
end

describe("a queue", function()
  it("gives what was put, in order, whatever it is", function()
    local queue, values = fern.queue(), { 1, "two", { 3 }, print, false, 0.5, coroutine.create(print) }
    for _, value in ipairs(values) do assert.equal(true, queue:put(value)) end
    assert.equal(#values, queue:size())
    for _, value in ipairs(values) do assert.same({ value, n = 1 }, packed(queue:get())) end
    assert.equal(0, queue:size())
  end)

  it("tells a nil from a timeout, whichever way it travels", function()
    local buffered, channel = fern.queue(), fern.queue(0)
    buffered:put(nil)
    assert.same({ nil, n = 1 }, packed(buffered:get()))
    assert.same(TIMEOUT, packed(buffered:get(0)))
    local putter = fern.spawn(channel.put, channel, nil)
    assert.same({ nil, n = 1 }, packed(channel:get(1)))
    assert.equal(true, putter:wait())
    local getter = fern.spawn(channel.get, channel)
    let_run()
    assert.equal(true, channel:put(nil))
    assert.same({ nil, n = 1 }, packed(getter:wait()))
    assert.same(TIMEOUT, packed(channel:get(0.001)))
  end)

  it("makes putters wait in order while it is full", function()
    local queue, order, putters = fern.queue(1), {}, {}
    for i = 1, 5 do
      putters[i] = fern.spawn(function()
        queue:put(i)
        order[#order + 1] = i
      end)
    end
    let_run()
    assert.equal(4, queue:putting())
    assert.is_true(queue:full())
    for i = 1, 5 do assert.equal(i, queue:get()) end
    for _, putter in ipairs(putters) do putter:wait() end
    assert.same({ 1, 2, 3, 4, 5 }, order)
    assert.is_true(queue:empty())
  end)

  it("serves getters in the order they came, and no newcomer before them", function()
    local queue, got, getters = fern.queue(), {}, {}
    for i = 1, 4 do getters[i] = fern.spawn(function() got[i] = queue:get() end) end
    let_run()
    assert.equal(4, queue:getting())
    for i = 1, 4 do queue:put(i * 10) end
    assert.same(TIMEOUT, packed(queue:get(0)))
    for _, getter in ipairs(getters) do getter:wait() end
    assert.same({ 10, 20, 30, 40 }, got)
  end)

  it("lets no newcomer put before those who wait", function()
    local queue = fern.queue(1)
    queue:put("a")
    local putter = fern.spawn(queue.put, queue, "b")
    let_run()
    assert.equal("a", queue:get())
    assert.same(TIMEOUT, packed(queue:put("c", 0)))
    assert.equal("b", queue:get())
    putter:wait()
  end)

  it("loses nothing when a getter is killed after it was served", function()
    for _, max in ipairs { 0, 1, math.huge } do
      local queue, got = fern.queue(max), nil
      local getter = fern.spawn(function()
        got = queue:get()
        fern.sleep(1)
      end)
      let_run()
      queue:put("precious")
      getter:kill()
      killed_join(getter)
      assert.equal("precious", got)
    end
  end)

  it("loses nothing when a getter is killed or out of time before", function()
    local queue = fern.queue(0)
    local killed, late = fern.spawn(queue.get, queue), fern.spawn(queue.get, queue, 0.001)
    let_run()
    killed:kill()
    assert.equal(1, queue:getting())
    assert.same(TIMEOUT, packed(late:wait()))
    assert.same(TIMEOUT, packed(queue:put(1, 0)))
    killed_join(killed)
  end)

  it("forgets the item of a putter that is killed or out of time", function()
    for _, max in ipairs { 0, 1 } do
      local queue = fern.queue(max)
      if max == 1 then queue:put("first") end
      local killed = fern.spawn(queue.put, queue, "killed")
      local late = fern.spawn(queue.put, queue, "late", 0.001)
      let_run()
      killed:kill()
      assert.same(TIMEOUT, packed(late:wait()))
      killed_join(killed)
      assert.equal(0, queue:putting())
      if max == 1 then assert.equal("first", queue:get()) end
      assert.same(TIMEOUT, packed(queue:get(0)))
    end
  end)

  it("says that a put succeeded, to a putter that is killed right after it", function()
    for _, max in ipairs { 0, 1 } do
      local queue, said = fern.queue(max), nil
      if max == 1 then queue:put("first") end
      local putter = fern.spawn(function()
        said = queue:put("second")
        fern.sleep(1)
      end)
      let_run()
      queue:get()
      putter:kill()
      killed_join(putter)
      assert.equal(true, said)
    end
  end)

  it("passes an enclosing limit through", function()
    local queue = fern.queue()
    assert.same(TIMEOUT, packed(fern.timeout(0.001, queue.get, queue)))
    assert.same(TIMEOUT, packed(fern.timeout(0.001, queue.get, queue, 5)))
    assert.equal(0, queue:getting())
  end)

  it("works from inside coroutines, sort and metamethods, and from the main thread", function()
    local there, back = fern.queue(0), fern.queue(0)
    local echo = fern.spawn(function()
      for value in there:iter() do back:put(value) end
    end)
    local co = coroutine.wrap(function(value)
      there:put(value)
      coroutine.yield(back:get())
    end)
    assert.equal("deep", co("deep"))
    local list = { 3, 1, 2 }
    table.sort(list, function(a, b)
      there:put(a < b)
      return back:get()
    end)
    assert.same({ 1, 2, 3 }, list)
    there:close()
    echo:wait()
  end)

  it("carries values between many coroutines of one thread and another", function()
    local queue, sum = fern.queue(3), 0
    local getter = fern.spawn(function()
      for value in queue:iter() do sum = sum + value end
    end)
    for i = 1, 100 do
      coroutine.wrap(function(n) queue:put(n) end)(i)
      if i % 10 == 0 then collectgarbage() end
    end
    queue:close()
    getter:wait()
    assert.equal(5050, sum)
  end)

  it("keeps what is in it from the collector, and nothing else", function()
    local weak = setmetatable({}, { __mode = "v" })
    local queue = fern.queue()
    for i = 1, 20 do
      weak[i] = { i }
      queue:put(weak[i])
    end
    for _ = 1, 10 do queue:get() end
    collectgarbage()
    collectgarbage()
    for i = 1, 20 do assert.equal(i > 10, weak[i] ~= nil) end
    local putter = fern.spawn(function() queue:put({}) end)
    putter:wait()
    queue = nil
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak), tostring(queue))
  end)

  it("holds many, and lets go of the memory afterwards", function()
    local queue, many = fern.queue(), 100000
    for i = 1, many do queue:put(i) end
    for i = 1, many do
      if queue:get() ~= i then error(i) end
    end
    queue:put("a")
    queue:put("b")
    assert.same({ "a", "b" }, drain(queue))
  end)

  it("costs nothing for a size of 1e9", function()
    local queue = fern.queue(1e9)
    queue:put(1)
    assert.equal(1, queue:get())
    assert.matches("of 1000000000", tostring(queue))
  end)

  it("looks at the next item without taking it", function()
    local queue, channel = fern.queue(), fern.queue(0)
    assert.equal("EAGAIN", select(3, queue:peek()))
    queue:put(nil)
    assert.same({ nil, n = 1 }, packed(queue:peek()))
    assert.equal(1, queue:size())
    queue:close()
    queue:get()
    assert.same(CLOSED, packed(queue:peek()))
    local putter = fern.spawn(channel.put, channel, "soon")
    let_run()
    assert.equal("soon", channel:peek())
    assert.equal("soon", channel:peek())
    assert.equal("soon", channel:get())
    putter:wait()
    local lifo = fern.lifo_queue()
    lifo:put(1)
    lifo:put(2)
    assert.equal(2, lifo:peek())
  end)

  it("can be waited for with fern.wait", function()
    local full, empty, channel, closed = fern.queue(), fern.queue(), fern.queue(0), fern.queue()
    full:put(1)
    closed:close()
    local late = fern.spawn(function()
      fern.sleep(0.001)
      channel:put(2)
    end)
    local done, pending = fern.wait({ empty, channel, full, closed }, { count = 3, timeout = 5 })
    assert.same({ full, closed, channel }, done)
    assert.same({ empty }, pending)
    assert.equal(2, channel:get(0))
    late:wait()
  end)

  it("refuses what makes no sense", function()
    for _, size in ipairs { -1, 0 / 0, 1.5, "many", {} } do
      for _, new in ipairs { fern.queue, fern.lifo_queue, fern.priority_queue } do
        assert.has_error(function() new(size) end)
        assert.has_error(function() new():resize(size) end)
      end
    end
    local queue = fern.queue()
    assert.has_error(function() queue:put() end)
    assert.has_error(function() queue:put(1, 0 / 0) end)
    assert.has_error(function() queue:put(1, {}) end)
    assert.has_error(function() queue:get("soon") end)
    assert.has_error(function() queue:get(0 / 0) end)
    for _, name in ipairs { "put", "get", "iter", "close", "size", "resize", "task_done", "join", "peek" } do
      for _, self in ipairs { {}, 1, "x", io.stdout, fern.pool(1) } do
        fails_with("fern.queue expected", queue[name], self, 1)
      end
    end
    assert.equal(0, queue:size())
  end)

  it("waits for nothing at once with a timeout of 0 or less", function()
    local queue = fern.queue(0)
    for _, seconds in ipairs { 0, -1, -math.huge } do
      assert.same(TIMEOUT, packed(queue:get(seconds)))
      assert.same(TIMEOUT, packed(queue:put(1, seconds)))
    end
    local getter = fern.spawn(queue.get, queue, math.huge)
    let_run()
    assert.equal(true, queue:put(5, 0))
    assert.equal(5, getter:wait())
  end)

  it("times ten thousand getters out in one turn", function()
    local queue, getters, late = fern.queue(), {}, 0
    for i = 1, support.MANY do
      getters[i] = fern.spawn(function()
        local value, message = queue:get(0.05)
        if value == nil and message == "timeout" then late = late + 1 end
      end)
    end
    for _, getter in ipairs(getters) do getter:join() end
    assert.equal(support.MANY, late)
    assert.equal(0, queue:getting())
    queue:put(1)
    assert.equal(1, queue:get())
  end)

  it("cannot be waited in by a finalizer", function()
    local queue, why = fern.queue(), nil
    fern.on_error(function(err) why = err end)
    setmetatable({}, { __gc = function() queue:get() end })
    collectgarbage()
    let_run()
    assert.matches("finalizer", why)
    assert.equal(0, queue:getting())
  end)

  it("is collected while nobody has it, and by the end of the script while somebody waits", function()
    local output, code = support.run [[
      local fern = require "fern"
      fern.spawn(function() fern.queue():get() end)
      fern.spawn(function() fern.queue(0):put({}) end)
      fern.spawn(function()
        local queue <close> = setmetatable({}, { __close = function() print("unwound") end })
        fern.priority_queue(0):put(1)
      end)
      fern.sleep(0)
      collectgarbage()
      print("end")
    ]]
    assert.equal(0, code, output)
    assert.equal("end\nunwound\n", output)
  end)

  it("survives a finalizer called by hand, with somebody in it and somebody watching", function()
    local queue, finalize = fern.queue(0), getmetatable(fern.queue()).__gc
    local getter = fern.spawn(queue.get, queue)
    let_run()
    local watcher = fern.spawn((fern.as_completed { queue }))
    let_run()
    finalize(queue)
    finalize(queue)
    fails_with("finalized", queue.put, queue, 1)
    fails_with("finalized", tostring, queue)
    queue:close()
    getter:kill()
    killed_join(getter)
    watcher:kill()
    killed_join(watcher)
    assert.is_false((pcall(finalize, {})))
  end)

  it("names what is waited for when all wait", function()
    local output, code = support.run [[
      local fern = require "fern"
      local queue = fern.queue(0)
      fern.spawn(queue.put, queue, 1)
      fern.sleep(0)
      fern.queue():get()
    ]]
    assert.equal(1, code)
    assert.matches("waits for room in a queue", output, 1, true)
    assert.matches("waits for an item of a queue", output, 1, true)
  end)

  it("tells about itself", function()
    local queue = fern.queue(2)
    queue:put(1)
    assert.equal("fern.queue (1 of 2 items, 0 putting, 0 getting)", tostring(queue))
    queue:close()
    assert.equal("fern.queue (1 of 2 items, 0 putting, 0 getting, closed)", tostring(queue))
    assert.equal("fern.priority_queue (0 items, 0 putting, 0 getting)", tostring(fern.priority_queue()))
    assert.matches("^fern.lifo_queue", tostring(fern.lifo_queue()))
    assert.equal("fern.queue", getmetatable(queue).__name)
  end)
end)

describe("a channel", function()
  it("is empty and full, and a put ends when the item is taken", function()
    local channel, order = fern.queue(0), {}
    assert.is_true(channel:empty())
    assert.is_true(channel:full())
    local putter = fern.spawn(function()
      order[#order + 1] = "putting"
      channel:put(1)
      order[#order + 1] = "put"
    end)
    let_run()
    assert.same({ "putting" }, order)
    assert.equal(0, channel:size())
    order[#order + 1] = channel:get()
    putter:wait()
    assert.same({ "putting", 1, "put" }, order)
  end)

  it("carries a value and another back, many times", function()
    local there, back, sum = fern.queue(0), fern.queue(0), 0
    local a = fern.spawn(function()
      for i = 1, 10000 do
        there:put(i)
        sum = sum + back:get()
      end
    end)
    local b = fern.spawn(function()
      for _ = 1, 10000 do back:put(2 * there:get()) end
    end)
    a:wait()
    b:wait()
    assert.equal(10000 * 10001, sum)
  end)
end)

describe("closing", function()
  it("leaves what is there to be read, then says closed", function()
    local queue = fern.queue()
    queue:put(1)
    queue:put(nil)
    queue:close()
    queue:close()
    assert.same(CLOSED, packed(queue:put(2)))
    assert.same(CLOSED, packed(queue:put(2, 0)))
    assert.same({ 1, n = 1 }, packed(queue:get()))
    assert.same({ nil, n = 1 }, packed(queue:get()))
    assert.same(CLOSED, packed(queue:get()))
    assert.same(CLOSED, packed(queue:get(1)))
  end)

  it("wakes those who wait for room and for items", function()
    local full, empty, channel = fern.queue(1), fern.queue(), fern.queue(0)
    full:put(1)
    local waiters = {
      fern.spawn(full.put, full, 2), fern.spawn(empty.get, empty),
      fern.spawn(channel.put, channel, 3), fern.spawn(fern.queue(0).put, channel, 4),
    }
    let_run()
    for _, queue in ipairs { full, empty, channel } do queue:close() end
    for _, waiter in ipairs(waiters) do assert.same(CLOSED, packed(waiter:wait())) end
    assert.equal(1, full:get())
    assert.same(CLOSED, packed(channel:get()))
  end)

  it("comes with the end of a block", function()
    local getter
    do
      local queue <close> = fern.queue()
      getter = fern.spawn(queue.get, queue)
      let_run()
    end
    assert.same(CLOSED, packed(getter:wait()))
  end)
end)

describe("iter", function()
  it("gives each item until the queue is closed", function()
    local queue, got = fern.queue(2), {}
    local putter = fern.spawn(function()
      for i = 1, 6 do queue:put(i) end
      queue:close()
    end)
    for value in queue:iter() do got[#got + 1] = value end
    putter:wait()
    assert.same({ 1, 2, 3, 4, 5, 6 }, got)
  end)

  it("is shared by several loops", function()
    local queue, sum, count = fern.queue(), 0, 0
    local loops = {}
    for i = 1, 3 do
      loops[i] = fern.spawn(function()
        for value in queue:iter() do
          sum, count = sum + value, count + 1
          fern.sleep(0)
        end
      end)
    end
    for i = 1, 100 do queue:put(i) end
    queue:close()
    for _, loop in ipairs(loops) do loop:wait() end
    assert.equal(5050, sum)
    assert.equal(100, count)
  end)

  it("raises at a nil, with its position, and goes on by hand", function()
    local queue = fern.queue()
    for i = 1, 8 do queue:put(i ~= 7 and i or nil) end
    queue:close()
    local next_item, count = queue:iter(), 0
    fails_with("item 7 is nil, which would end the loop", function()
      for _ in next_item do count = count + 1 end
    end)
    assert.equal(6, count)
    assert.equal(8, next_item())
    assert.is_nil(next_item())
    assert.is_nil(next_item())
  end)

  it("takes nothing more when the loop is left", function()
    local queue = fern.queue()
    for i = 1, 3 do queue:put(i) end
    for value in queue:iter() do
      if value == 2 then break end
    end
    assert.same({ 3 }, drain(queue))
  end)
end)

describe("resize", function()
  it("lets as many putters in as fit when it grows", function()
    for _, from in ipairs { 0, 1 } do
      local queue, putters = fern.queue(from), {}
      for i = 1, 6 do putters[i] = fern.spawn(queue.put, queue, i) end
      let_run()
      assert.equal(6 - from, queue:putting())
      queue:resize(4)
      assert.equal(4, queue:size())
      assert.equal(2, queue:putting())
      collectgarbage()
      for i = 1, 6 do assert.equal(i, queue:get()) end
      for _, putter in ipairs(putters) do assert.equal(true, putter:wait()) end
    end
  end)

  it("to nothing, or math.huge, lets all of them in", function()
    for _, argument in ipairs { false, math.huge } do
      local queue, putters = fern.queue(0), {}
      for i = 1, 20 do putters[i] = fern.spawn(queue.put, queue, i) end
      let_run()
      queue:resize(argument or nil)
      assert.equal(20, queue:size())
      for _, putter in ipairs(putters) do putter:wait() end
      for i = 1, 20 do assert.equal(i, queue:get()) end
    end
  end)

  it("keeps what is there when it shrinks", function()
    local queue = fern.queue()
    for i = 1, 3 do queue:put(i) end
    queue:resize(0)
    assert.is_true(queue:full())
    local putter = fern.spawn(queue.put, queue, 4)
    let_run()
    for i = 1, 3 do
      assert.equal(i, queue:get())
      assert.equal(1, queue:putting())
    end
    assert.equal(4, queue:get())
    putter:wait()
  end)

  it("lets the item of a killed putter that it let in stay", function()
    local queue = fern.queue(0)
    local putter = fern.spawn(function() return queue:put({ "v" }) end)
    local out_of_time = fern.spawn(queue.put, queue, "no", 0.001)
    let_run()
    queue:resize(1)
    putter:kill()
    putter:join()
    assert.same(TIMEOUT, packed(out_of_time:wait()))
    collectgarbage()
    assert.same({ "v" }, queue:get())
    assert.equal(0, queue:size())
  end)

  it("forgets the item of a putter that still does not fit, when it goes", function()
    local queue = fern.queue(0)
    local fits, waits = fern.spawn(queue.put, queue, 1), fern.spawn(queue.put, queue, 2)
    let_run()
    queue:resize(1)
    assert.equal(1, queue:putting())
    waits:kill()
    killed_join(waits)
    fits:wait()
    assert.same({ 1 }, drain(queue))
    for i = 1, 5 do
      queue:put(i)
      assert.equal(i, queue:get())
    end
  end)
end)

describe("task_done and join", function()
  it("join waits until every item that was put is done", function()
    local queue, done = fern.queue(), 0
    for i = 1, 5 do queue:put(i) end
    assert.equal(5, queue:unfinished())
    local worker = fern.spawn(function()
      for _ in queue:iter() do
        fern.sleep(0)
        done = done + 1
        queue:task_done()
      end
    end)
    assert.equal(true, queue:join())
    assert.equal(5, done)
    assert.equal(0, queue:unfinished())
    queue:close()
    worker:wait()
  end)

  it("join returns at once for a queue that was never used, and says timeout", function()
    local queue = fern.queue()
    assert.equal(true, queue:join())
    assert.equal(true, queue:join(0))
    queue:put(1)
    assert.same(TIMEOUT, packed(queue:join(0)))
    assert.same(TIMEOUT, packed(queue:join(0.001)))
    queue:get()
    assert.same(TIMEOUT, packed(queue:join(0)))
    queue:task_done()
    assert.equal(true, queue:join(0))
  end)

  it("counts what went from hand to hand too", function()
    local channel = fern.queue(0)
    local getter = fern.spawn(channel.get, channel)
    let_run()
    channel:put(1)
    assert.equal(1, channel:unfinished())
    getter:wait()
    local putter = fern.spawn(channel.put, channel, 2)
    channel:get()
    putter:wait()
    assert.equal(2, channel:unfinished())
    channel:task_done()
    channel:task_done()
    assert.equal(true, channel:join(0))
  end)

  it("task_done once too often raises", function()
    local queue = fern.queue()
    fails_with("task_done was called more often than put", queue.task_done, queue)
    queue:put(1)
    queue:task_done()
    fails_with("task_done", queue.task_done, queue)
  end)
end)

describe("a LIFO queue", function()
  it("gives the last first, and lets putters in in order", function()
    local queue = fern.lifo_queue(2)
    queue:put(1)
    queue:put(2)
    local a, b = fern.spawn(queue.put, queue, 3), fern.spawn(queue.put, queue, 4)
    let_run()
    local got = {}
    for i = 1, 4 do got[i] = queue:get() end
    assert.same({ 2, 3, 4, 1 }, got)
    a:wait()
    b:wait()
  end)
end)

describe("a priority queue", function()
  it("gives the least first: numbers, texts, objects with __lt", function()
    local queue = fern.priority_queue()
    for _, value in ipairs { 5, 1.5, 9, -2, 3, 1.5 } do queue:put(value) end
    assert.same({ -2, 1.5, 1.5, 3, 5, 9 }, drain(queue))
    for _, value in ipairs { "pear", "apple", "fig" } do queue:put(value) end
    assert.same({ "apple", "fig", "pear" }, drain(queue))
    for key in ("scramble"):gmatch "." do queue:put(item(key)) end
    assert.equal("abcelmrs", keys(drain(queue)))
  end)

  it("keeps equal ones as they came", function()
    local queue, list = fern.priority_queue(), {}
    for i = 1, 200 do
      list[i] = item(tostring(i * 7 % 4))
      list[i].number = i
      queue:put(list[i])
    end
    table.sort(list, function(a, b)
      if a.key ~= b.key then return a.key < b.key end
      return a.number < b.number
    end)
    for i = 1, 200 do assert.equal(list[i], queue:get()) end
  end)

  it("orders many", function()
    local queue, random, last = fern.priority_queue(), 42, -1
    for _ = 1, 20000 do
      random = (random * 1103515245 + 12345) % 2147483648
      queue:put(random)
    end
    for _ = 1, 20000 do
      local value = queue:get()
      if value < last then error("out of order") end
      last = value
    end
  end)

  it("raises what a comparison raises in put, and nothing was put", function()
    local queue, err = fern.priority_queue(), {}
    queue:put(item("m"))
    local ok, got = pcall(queue.put, queue, item("a", function() error(err) end))
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal(1, queue:size())
    queue:put(item("b"))
    assert.equal("bm", keys(drain(queue)))
    queue:put(1)
    for _, other in ipairs { "x", {}, false, print } do
      fails_with("attempt to compare", queue.put, queue, other)
    end
    fails_with("attempt to compare", queue.put, queue, nil)
    assert.same({ 1 }, drain(queue))
  end)

  it("lets others go on while a comparison waits", function()
    local queue, gate = fern.priority_queue(), fern.queue(0)
    queue:put(item("m"))
    queue:put(item("p"))
    local slow = fern.spawn(queue.put, queue, item("n", function() gate:get() end))
    let_run()
    assert.equal("m", queue:get().key)      -- getters need no comparison
    assert.equal("p", queue:get().key)
    assert.same(TIMEOUT, packed(queue:get(0)))
    local getter = fern.spawn(queue.get, queue)
    local second = fern.spawn(queue.put, queue, item("a"))
    let_run()
    assert.equal(2, queue:putting())        -- who came first puts first
    for _ = 1, 20 do
      if slow:done() then break end
      gate:put(true, 0)
      fern.sleep(0)
    end
    slow:wait()
    second:wait()
    assert.equal("n", getter:wait().key)
    assert.equal("a", queue:get().key)
  end)

  it("takes a value from a putter to a getter, both of whom waited for a comparison", function()
    local queue, gate = fern.priority_queue(), fern.queue(0)
    queue:put(item("m"))
    local slow = fern.spawn(queue.put, queue, item("n", function() gate:get() end))
    let_run()
    queue:get()
    local first, second = fern.spawn(queue.get, queue), fern.spawn(queue.get, queue)
    let_run()
    queue:resize(0)
    local putter = fern.spawn(function()
      queue:put(item("p"))
      return table.concat({ "its", "stack", "is", "used", "anew" }, " ")
    end)
    let_run()
    gate:put(true)
    slow:wait()
    assert.equal("n", first:wait().key)
    assert.equal("p", second:wait().key)
    putter:wait()
  end)

  it("hands the turn on when a putter is killed or out of time in a comparison", function()
    local queue = fern.priority_queue()
    queue:put(item("m"))
    local killed = fern.spawn(queue.put, queue, item("a", function() fern.sleep(100) end))
    let_run()
    local next_one = fern.spawn(queue.put, queue, item("b"))
    local late = fern.spawn(queue.put, queue, item("c"), 0.001)
    assert.same(TIMEOUT, packed(late:wait()))
    killed:kill()
    killed_join(killed)
    next_one:wait()
    assert.same(TIMEOUT, packed(fern.timeout(0.001, queue.put, queue, item("d", function() fern.sleep(100) end))))
    assert.equal("bm", keys(drain(queue)))
  end)

  it("may be used by a comparison, but for another put", function()
    local queue = fern.priority_queue()
    queue:put(item("m"))
    fails_with("puts into the queue that it orders", queue.put, queue, item("a", function() queue:put(item("x")) end))
    queue:put(item("k", function() assert.equal(1, queue:size()) queue:get() end))
    queue:close()
    assert.equal("k", queue:get().key)
    assert.equal(0, queue:size())
  end)

  it("orders what putters bring when there is room again", function()
    local queue = fern.priority_queue(2)
    queue:put(item("m"))
    queue:put(item("f"))
    local putters = {}
    for i, key in ipairs { "z", "a", "k" } do putters[i] = fern.spawn(queue.put, queue, item(key)) end
    let_run()
    local got = {}
    for i = 1, 5 do
      got[i] = queue:get()
      let_run()
    end
    assert.equal("fmakz", keys(got))
    for _, putter in ipairs(putters) do putter:wait() end
  end)

  it("with one place gives an item as soon as there is one", function()
    local queue = fern.priority_queue(1)
    queue:put(item("m"))
    local a, b = fern.spawn(queue.put, queue, item("a")), fern.spawn(queue.put, queue, item("b"))
    let_run()
    assert.equal("m", queue:get(0).key)
    assert.equal("a", queue:get(0).key)
    assert.equal("b", queue:get(0).key)
    a:wait()
    b:wait()
  end)

  it("of size 0 is a channel, also when it grows", function()
    local queue = fern.priority_queue(0)
    local putters = {}
    for i, key in ipairs { "c", "a", "b" } do putters[i] = fern.spawn(queue.put, queue, item(key)) end
    let_run()
    queue:resize()
    for _, putter in ipairs(putters) do putter:wait() end
    assert.equal("abc", keys(drain(queue)))
  end)

  it("is left as it was when a comparison ends the script", function()
    local output = support.run [[
      local fern = require "fern"
      local queue = fern.priority_queue()
      local meta = { __lt = function() pcall(fern.sleep, 100) return true end }
      queue:put(setmetatable({}, meta))
      fern.spawn(queue.put, queue, setmetatable({}, meta))
      fern.spawn(queue.put, queue, setmetatable({}, meta))
      fern.sleep(0)
      print("end")
    ]]
    assert.equal("end\n", output)
  end)
end)

-- SPDX-License-Identifier: MIT
-- bad input: what is misused says so, what cannot be had fails clearly, and
-- nothing of it is anybody else's trouble: beside each spec here a thread
-- counts, and must go on counting. (Pools, executors, the net and HTTP have
-- theirs in their own specs.)

local fern = require "fern"
local script = require "spec.support.script"
local unix = require "spec.support.unix"

local SIGSEGV = 11

local ticks, ticker = 0, nil

before_each(function()
  ticker = fern.spawn(function()
    while true do
      ticks = ticks + 1
      fern.sleep(0)
    end
  end)
end)

after_each(function()
  local before = ticks
  for _ = 1, 3 do fern.sleep(0) end
  assert.is_true(ticks > before)
  ticker:kill()
  ticker:join()
end)

describe("an argument", function()
  local thread = "local thread <close> = fern.spawn(fern.sleep, 60) "
  local pipe = "local reader, writer = unix.pipe() local _ <close> = closing(reader) local _ <close> = closing(writer) "
  local wrong = {
    { "fern.spawn()", "#1 to 'spawn' (function expected, got no value)" },
    { "fern.spawn(42)", "#1 to 'spawn' (function expected, got number)" },
    { "fern.spawn({})", "#1 to 'spawn' (function expected, got table)" },
    { "fern.spawn_after('x', print)", "#1 to 'spawn_after' (number expected, got string)" },
    { "fern.spawn_after(0/0, print)", "#1 to 'spawn_after' (a number of seconds expected, got NaN)" },
    { "fern.spawn_after(1, 42)", "#2 to 'spawn_after' (function expected, got number)" },
    { "fern.sleep('x')", "#1 to 'sleep' (number expected, got string)" },
    { "fern.sleep(print)", "#1 to 'sleep' (number expected, got function)" },
    { "fern.sleep(0/0)", "#1 to 'sleep' (a number of seconds expected, got NaN)" },
    { "fern.waitall(0/0)", "#1 to 'waitall' (a number of seconds expected, got NaN)" },
    { "fern.waitall({})", "#1 to 'waitall' (number expected, got table)" },
    { "fern.on_error(42)", "#1 to 'on_error' (function expected, got number)" },
    { "fern.timeout(0/0, print)", "#1 to 'timeout' (a number of seconds expected, got NaN)" },
    { "fern.timeout('x', print)", "#1 to 'timeout' (number expected, got string)" },
    { "fern.timeout(1)", "#2 to 'timeout' (function expected, got no value)" },
    { "fern.deadline()", "#1 to 'deadline' (value expected)" },
    { "fern.deadline(0/0)", "#1 to 'deadline' (a number of seconds expected, got NaN)" },
    { "fern.shield(42)", "#1 to 'shield' (function expected, got number)" },
    { "fern.trampoline('x', 'r')", "#1 to 'trampoline' (number expected, got string)" },
    { "fern.trampoline(-1, 'r')", "#1 to 'trampoline' (a descriptor expected)" },
    { "fern.trampoline(0.5, 'r')", "#1 to 'trampoline' (number has no integer representation)" },
    { "fern.trampoline(2^31, 'r')", "#1 to 'trampoline' (a descriptor expected)" },
    { pipe .. "fern.trampoline(reader, 'rw')", "#2 to 'trampoline' (invalid option 'rw')" },
    { pipe .. "fern.trampoline(reader, 'r', 0/0)", "#3 to 'trampoline' (a number of seconds expected, got NaN)" },
    { thread .. "thread.wait()", "#1 to 'wait' (fern.thread expected, got no value)" },
    { thread .. "thread.wait(io.stdout)", "#1 to 'wait' (fern.thread expected, got FILE*)" },
    { thread .. "thread:wait(0/0)", "#1 to 'wait' (a number of seconds expected, got NaN)" },
    { thread .. "thread:join({})", "#1 to 'join' (number expected, got table)" },
    { thread .. "thread.kill(coroutine.create(print))", "#1 to 'kill' (fern.thread expected, got thread)" },
    { thread .. "thread:link(42)", "#1 to 'link' (function expected, got number)" },
    { thread .. "thread:name({})", "#1 to 'name' (string expected, got table)" },
  }

  for _, case in ipairs(wrong) do
    it("is refused by " .. case[1]:gsub("^local.*> = [^ ]+ ?%b() ", ""):gsub("^local.*%b() ", ""), function()
      local function closing(fd)
        return setmetatable({}, { __close = function() unix.close(fd) end })
      end
      local chunk = assert(load("local fern, unix, closing = ... " .. case[1]))
      local ok, err = pcall(chunk, fern, unix, closing)
      assert.is_false(ok)
      assert.is_truthy(err:find(case[2], 1, true), err)
    end)
  end

  it("that counts for ever is for ever, in the past is at once", function()
    local sleeper <close> = fern.spawn(fern.sleep, math.huge)
    local other <close> = fern.spawn(fern.sleep, 1e300)
    fern.sleep(0)
    assert.are.equal("waiting", sleeper:status())
    assert.are.equal("waiting", other:status())
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { ticker:join(-1) })
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { ticker:join(-math.huge) })
    fern.sleep(-1)
    fern.sleep(-math.huge)
    assert.is_true(fern.spawn_after(-1, function() return true end):wait())
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(-1, fern.sleep, 1) })
    fern.waitall(0)
  end)

  it("that is a count beyond all counts is no limit", function()
    local net = require "fern.net"
    for _, count in ipairs { math.maxinteger, 2 ^ 63, 1e300, math.huge } do
      local queue = fern.queue(count)
      assert.is_true(queue:put(1, 0))
      local one <close>, other = net.pair()
      other:write("all of it")
      other:close()
      assert.are.equal("all of it", one:read(count, 30))
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      assert.is_truthy(net.server(listener, print, { max = count }))
    end
  end)

  it("is told of by the name of the function in the module", function()
    for _ = 1, 8 do                 -- package.loaded has another order in each process
      local output = script.run_text("", [[
        local fern = require "fern"
        print(pcall(fern.semaphore, -1))
      ]])
      assert.equal("false\tbad argument #1 to 'fern.semaphore' (a count of 0 or more expected)\n", output)
    end
  end)
end)

describe("misuse of a module in Lua", function()
  local fs, http, net, process, signal, tls = require "fern.fs", require "fern.http", require "fern.net",
    require "fern.process", require "fern.signal", require "fern.tls"
  local calls = {
    function() fern.patch { "x" } end,
    function() fs.copy(nil, "/x") end,
    function() fs.copy("/dev/null", nil) end,
    function() fs.walk() end,
    function() http.client { x = 1 } end,
    function() http.request { url = "http://a.test", x = 1 } end,
    function() net.serve({}, print) end,
    function() process.run "ls" end,
    function() process.run { "ls", env = { "x" } } end,
    function() process.shell {} end,
    function() process.spawn { "ls", stdin = "x" } end,
    function() process.spawn { "ls", x = 1 } end,
    function() signal.default "x" end,
    function() signal.ignore "KILL" end,
    function() signal.on("KILL", print) end,
    function() signal.on("x", print) end,
    function() signal.wait "KILL" end,
    function() signal.wait "x" end,
    function() signal.wait("HUP", "x") end,
    function() tls.connect("a.test", 1, { timeout = "x" }) end,
    function() tls.connect("a.test", 1, { x = 1 }) end,
    function() tls.connect("a.test", {}) end,
    function() tls.listen("127.0.0.1", 0, { timeout = "x" }) end,
    function() tls.listen("127.0.0.1", 0, {}) end,
    function() tls.listener({}, { x = 1 }) end,
    function() tls.wrap(7, { host = "a.test" }) end,
  }

  it("is told of at the caller's line", function()
    for _, call in ipairs(calls) do
      local ok, err = pcall(call)
      local line = debug.getinfo(call, "S").linedefined
      assert.is_false(ok)
      assert.are.equal(("bad_input_spec.lua:%d:"):format(line), err:match("bad_input_spec.lua:%d+:"), err)
    end
    signal.default "HUP"
  end)
end)

it("no misuse ends the process", function()
  local output, code = script.run("", "spec/support/misuse.lua")
  assert.is_truthy(output:find "survived all\n", output:sub(-2000))
  assert.are.equal(0, code)
end)

-- Recursion without end through everything of C that calls back: Lua's own
-- error, at Lua's own limit, on a green thread's small stack.
describe("recursion without end through", function()
  local rounds = {}
  local function object(event, fn) return setmetatable({}, { [event] = fn }) end

  rounds.gsub = function() return (("x"):gsub("x", rounds.gsub)) end
  rounds.sort = function() table.sort({ 1, 2, 3 }, rounds.sort) end
  rounds.tostring = function() return tostring(object("__tostring", rounds.tostring)) end
  rounds.format = function() return ("%s"):format(object("__tostring", rounds.format)) end
  rounds.print = function() print(object("__tostring", rounds.print)) end
  rounds.load = function() error(select(2, load(rounds.load)), 0) end
  rounds.pcall = function() error(select(2, pcall(rounds.pcall)), 0) end
  rounds.xpcall = function() error(select(2, xpcall(rounds.xpcall, tostring)), 0) end
  rounds.wrap = function() coroutine.wrap(rounds.wrap)() end
  rounds.resume = function() error(select(2, coroutine.resume(coroutine.create(rounds.resume))), 0) end
  rounds["coroutine.close"] = function()
    local co = coroutine.create(function()
      local _ <close> = object("__close", rounds["coroutine.close"])
      coroutine.yield()
    end)
    coroutine.resume(co)
    error(select(2, coroutine.close(co)), 0)
  end
  rounds.dofile = function() _G.recurse = rounds.dofile dofile "spec/support/recurse.lua" end
  rounds.require = function()
    local name = "recursion" .. #package.preload + math.random(1e9)
    package.preload[name] = rounds.require
    local _ <close> = object("__close", function() package.preload[name] = nil end)
    require(name)
  end
  rounds["table.concat"] = function()
    return table.concat(setmetatable({}, { __index = rounds["table.concat"], __len = function() return 2 end }))
  end
  rounds["table.unpack"] = function()
    return table.unpack(setmetatable({}, { __index = rounds["table.unpack"], __len = function() return 2 end }))
  end
  rounds["table.insert"] = function() table.insert(object("__newindex", rounds["table.insert"]), 1) end
  rounds["table.move"] = function() return table.move(object("__index", rounds["table.move"]), 1, 2, 3, {}) end
  rounds.pairs = function() for _ in pairs(object("__pairs", rounds.pairs)) do error "never" end end
  rounds.iterator = function() for _ in rounds.iterator do error "never" end end
  rounds.__index = function() return object("__index", rounds.__index).x end
  rounds.__newindex = function() object("__newindex", rounds.__newindex).x = 1 end
  rounds.__add = function() return object("__add", rounds.__add) + 1 end
  rounds.__concat = function() return object("__concat", rounds.__concat) .. "x" end
  rounds.__eq = function() return object("__eq", rounds.__eq) == object("__eq", rounds.__eq) end
  rounds.__lt = function() return object("__lt", rounds.__lt) < 1 end
  rounds.__le = function() return object("__le", rounds.__le) <= 1 end
  rounds.__len = function() return #object("__len", rounds.__len) end
  rounds.__unm = function() return -object("__unm", rounds.__unm) end
  rounds.__close = function() local _ <close> = object("__close", rounds.__close) end
  rounds["fern.timeout"] = function() return fern.timeout(60, rounds["fern.timeout"]) end
  rounds["fern.shield"] = function() return fern.shield(rounds["fern.shield"]) end
  for name, round in pairs(rounds) do
    it(name .. " is an error of Lua's", function()
      local ok, err = fern.spawn(round):join()
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find "C stack overflow", tostring(err):sub(1, 300))
    end)
  end

  -- The deepest is one that nobody can ask any more.
  it("a pool's own spawn is an error of Lua's", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local pool = fern.pool(1)
      local function spawn() return pool:spawn(spawn):wait() end
      print(pool:spawn(spawn):join())
    ]])
    assert.is_truthy(output:find "^false\t[^\n]*C stack overflow\n", output)
    assert.are.equal(0, code)
  end)

  it("Lua is an error of Lua's", function()
    local function recurse() return 1 + recurse() end
    local ok, err = fern.spawn(recurse):join()
    assert.is_false(ok)
    assert.is_truthy(err:find ": stack overflow")
  end)

  -- Lua allows a handler some more calls: 220 in all, at 2 KB each.
  it("gsub, and its message handler too, leaves room on the stack", function()
    local function handle()
      fern.sleep(0)
      return (("x"):gsub("x", handle))
    end
    for _ = 1, 32 do            -- stacks' tops differ by colour
      local ok, status = fern.spawn(xpcall, rounds.gsub, handle):join()
      assert.is_true(ok)
      assert.is_false(status)
    end
  end)

  it("C ends the process, and the thread is named", function()
    local own = "ulimit -c 0; export ASAN_OPTIONS=handle_segv=0 TSAN_OPTIONS=handle_segv=0; "
    local output, code = script.run_text(own, [[
      local fern, unix = require "fern", require "spec.support.unix"
      fern.spawn(function() fern.sleep(0) end)
      fern.spawn(function()
        fern.current():name "digger"
        unix.descend(300)
        io.stderr:write "300 KB are fine\n"
        unix.descend(1000)
      end):wait()
    ]])
    assert.are.equal("300 KB are fine\nfern: green thread #2 'digger' overflowed its 512 KiB stack\n",
      output:match "^[^\n]*\n[^\n]*\n")
    assert.are.equal(-SIGSEGV, code)
  end)
end)

describe("a thread", function()
  it("that kills itself ends where it next waits", function()
    local closed = false
    local thread = fern.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      fern.current():kill "enough"
      fern.sleep(0)
      error "never"
    end)
    local ok, err = thread:join()
    assert.is_false(ok)
    assert.are.equal("enough", err.reason)
    assert.is_true(closed)
    assert.are.equal("killed", thread:status())
  end)

  it("may kill its parent, which may be waiting for it", function()
    local parent = fern.spawn(function()
      local self = fern.current()
      fern.spawn(function()
        fern.sleep(0)
        self:kill "by my child"
        return "done"
      end):wait()
    end)
    local ok, err = parent:join()
    assert.is_false(ok)
    assert.are.equal("by my child", err.reason)
  end)

  it("may be joined twice, and by many at once", function()
    local thread = fern.spawn(function()
      fern.sleep(0)
      return 1, nil, 3
    end)
    local joiners = {}
    for i = 1, 20 do joiners[i] = fern.spawn(function() return thread:wait() end) end
    for i = 1, 20 do assert.are.same({ 1, nil, 3 }, { joiners[i]:wait() }) end
    assert.are.same({ true, 1, nil, 3 }, { thread:join() })
    assert.are.same({ 1, nil, 3 }, { thread:wait() })
  end)

  it("that waits for itself gets an error", function()
    for _, method in ipairs { "wait", "join" } do
      local ok, err = fern.spawn(function()
        local self = fern.current()
        return self[method](self)
      end):join()
      assert.is_false(ok)
      assert.is_truthy(err:find("a green thread cannot wait for itself", 1, true), err)
    end
  end)

  it("whose function's error has no text, or an evil one, is no trouble", function()
    local evil = setmetatable({}, { __tostring = function() error "evil" end, __index = error })
    for _, value in ipairs { evil, false, 42, print, {} } do
      local ok, err = fern.spawn(error, value):join()
      assert.is_false(ok)
      assert.is_true(rawequal(value, err))
    end
    assert.are.same({ false, nil }, { fern.spawn(error):join() })
  end)

  -- While it lives nobody can; later it looks like one that has not begun.
  it("whose coroutine somebody closes or resumes loses its results at most", function()
    for _, spoil in ipairs { coroutine.close, coroutine.resume } do
      for _, ending in ipairs { math.abs, error } do
        local co
        local thread = fern.spawn(function()
          co = coroutine.running()
          fern.sleep(0)
          return ending(1)
        end)
        fern.sleep(0)
        assert.are.equal("normal", coroutine.status(co))
        local called, spoiled = pcall(spoil, co)
        assert.is_false(called and spoiled)
        thread:join()
        pcall(spoil, co)
        local ok, err = pcall(thread.wait, thread)
        assert.is_false(ok)
        assert.is_truthy(err:find("the results are gone", 1, true), err)
      end
    end
  end)

  it("whose coroutine runs one function after another is nobody's in between", function()
    local executor, pool, kept = fern.executor { max_workers = 1 }, fern.pool(2), {}
    local function work(x)
      kept[coroutine.running()] = true
      return x
    end
    local function spoil()
      for co in pairs(kept) do
        assert.are.equal("normal", coroutine.status(co))
        for _, call in ipairs { coroutine.close, coroutine.resume } do
          local called, spoiled = pcall(call, co)
          assert.is_false(called and spoiled)
        end
      end
    end
    for i = 1, 3 do
      assert.are.equal(i, executor:submit(work, i):result())
      spoil()
      for x in pool:imap(work, { 1, 2, 3 }) do assert.is_number(x) spoil() end
    end
  end)

  it("with deadlines inside each other gets that which comes first", function()
    local function nested(outer, inner)
      return fern.spawn(function()
        return fern.timeout(outer, function() return "inner", fern.timeout(inner, fern.sleep, 60) end)
      end):wait()
    end
    assert.are.same({ "inner", nil, "timeout", "ETIMEDOUT" }, { nested(60, 0.001) })
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { nested(0.001, 60) })
    assert.are.same({ "inner", nil, "timeout", "ETIMEDOUT" }, { nested(0, 0) })
  end)

  it("may be one of ten thousand that are killed in whatever state", function()
    local many = os.getenv "FLAVOUR" == "tsan" and 1000 or 10000        -- TSan counts them as OS threads
    local closed, threads = 0, {}
    local function work(wait, ...)
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      return wait(...)
    end
    local endless = fern.spawn(fern.sleep, 60)
    local states = {
      function() return fern.spawn(work, fern.sleep, 60) end,
      function() return fern.spawn(work, function() while true do fern.sleep(0) end end) end,
      function() return fern.spawn(work, endless.wait, endless) end,
      function() return fern.spawn(work, coroutine.wrap(fern.sleep), 60) end,
      function() return fern.spawn(work, fern.timeout, 60, fern.sleep, 60) end,
      function() return fern.spawn_after(60, error, "never") end,
      function() return fern.spawn(math.abs, 1) end,
    }
    for i = 1, many do threads[i] = states[i % #states + 1]() end
    fern.sleep(0)
    for i = 1, many, #states do threads[#threads + 1] = states[i % 6 + 1]() end   -- some that never begin
    for _, thread in ipairs(threads) do thread:kill() end
    for i, thread in ipairs(threads) do
      local ok = thread:join()
      assert.are.equal(i <= many and i % #states + 1 == #states, ok)
    end
    assert.is_true(closed >= many // 7 * 5, closed)
    endless:kill()
  end)
end)

-- Not our own: what somebody closes behind our back. The kernel tells nobody.
describe("a descriptor", function()
  it("that is closed before the wait is an error", function()
    local reader, writer = unix.pipe()
    unix.close(reader)
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { fern.trampoline(reader, "r") })
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { fern.trampoline(100000, "r") })
    unix.close(writer)
  end)

  it("that two threads wait for is the first one's", function()
    local reader, writer = unix.pipe()
    local first = fern.spawn(fern.trampoline, reader, "r")
    fern.sleep(0)
    local ok, _, code = fern.trampoline(reader, "r")
    assert.is_nil(ok)
    assert.are.equal("EBUSY", code)
    unix.write(writer, "x")
    assert.is_true(first:wait())
    unix.close(reader)
    unix.close(writer)
  end)

  it("that is closed during the wait leaves others alone, and its number can be used again", function()
    local reader, writer = unix.pipe()
    local old = fern.spawn(fern.trampoline, reader, "r")
    fern.sleep(0)
    unix.close(reader)
    unix.close(writer)
    local again, other = unix.pipe()
    assert.are.equal(reader, again)
    local new = fern.spawn(fern.trampoline, again, "r")
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { old:wait() })
    assert.are.equal("waiting", new:status())
    unix.write(other, "x")
    assert.is_true(new:wait())
    unix.close(again)
    unix.close(other)
  end)

  it("that is closed before the system has heard of the wait ends that", function()
    local socket = require "fern.socket"
    local reader, writer = unix.pipe()
    local one = { getfd = function() return reader end }
    local waiter = fern.spawn(fern.trampoline, reader, "r", 60)
    local first, second = fern.spawn(socket.select, { one }), fern.spawn(socket.select, { one })
    fern.spawn(unix.close, reader)
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { waiter:wait() })
    assert.are.equal(one, first:wait()[1])
    assert.are.equal(one, second:wait()[1])
    unix.close(writer)
  end)

  it("that is closed under two is none of the system's business when one leaves", function()
    local socket = require "fern.socket"
    local reader, writer = unix.pipe()
    local one = { getfd = function() return reader end }
    local waiter = fern.spawn(fern.trampoline, reader, "r", 60)
    local other = fern.spawn(socket.select, nil, { one }, 60)
    local poller = fern.spawn(socket.select, { one }, nil, 60)
    fern.sleep(0.001)
    unix.close(reader)
    poller:kill()
    poller:join()
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { waiter:wait() })
    assert.is_true((other:join(10)))
    unix.close(writer)
  end)

  it("that is closed under two, in either direction, neither", function()
    local socket = require "fern.socket"
    local one, writer = unix.pipe()
    local reading = fern.spawn(fern.trampoline, one, "r", 60)
    local writing = fern.spawn(socket.select, nil, { { getfd = function() return one end } }, 60)
    fern.sleep(0.001)
    unix.close(one)
    writing:kill()
    writing:join()
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { reading:wait() })
    unix.close(writer)
  end)

  it("of fern's own that is closed and used again harms neither", function()
    local net = require "fern.net"
    local number, other = unix.pipe()           -- the one that comes next
    unix.close(number)
    unix.close(other)
    local old = assert(net.listen("127.0.0.1", 0))
    local waiter = fern.spawn(function() return select(3, old:accept()) end)
    fern.sleep(0)
    assert.is_truthy(unix.close(number))
    local fresh <close> = assert(net.listen("127.0.0.1", 0))
    assert.are.equal("EBADF", waiter:wait())
    assert.are.equal("EBADF", (select(3, old:accept())))
    old:close()                                 -- it is not its to close any more
    local accepted = fern.spawn(function() return (fresh:accept()) end)
    local _, port = fresh:address()
    local connection <close> = assert(net.connect("127.0.0.1", port))
    local there <close> = accepted:wait()
    assert.is_truthy(there and connection)
  end)
end)

describe("without descriptors", function()
  local function run(text)
    local output, code = script.run_text("", 'local unix = require "spec.support.unix" ' .. text)
    assert.are.equal(0, code, output)
    return output
  end

  it("require fails clearly, and works later", function()
    local output = run [[
      local function use_up()
        local used = {}
        repeat
          used[#used + 1] = io.open "/dev/null"
          local more = io.open "/dev/null"
          used[#used + 1] = more
        until not more
        return used
      end
      local preload = require "package".searchpath("fern.core", package.cpath)
      local open = assert(package.loadlib(preload, "luaopen_fern_core"))
      unix.limit("files", 20)
      local used = use_up()
      for i = 1, 4 do
        local ok, err = pcall(open)
        print(ok or err)
        used[#used]:close()
        used[#used] = nil
      end
      for _, file in ipairs(used) do file:close() end
      local fern = require "fern"
      print(fern.spawn(function() fern.sleep(0.001) return "works" end):wait())
    ]]
    assert.is_truthy(output:find "^fern: cannot open a hub: too many open files\n", output)
    assert.is_truthy(output:find "\nworks\n$", output)
  end)

  it("what needs one fails, and the rest goes on", function()
    local output = run [[
      local fern, net = require "fern", require "fern.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      local here = assert(net.connect("127.0.0.1", port))
      local reader = (unix.pipe())
      local waiter = fern.spawn(fern.trampoline, reader, "r", 0.01)
      unix.limit("files", 3)
      print(select(3, net.listen("127.0.0.1", 0)))
      print(select(3, net.connect("127.0.0.1", port)))
      print(select(3, listener:accept()))
      print(io.open "/dev/null" == nil, pcall(io.popen, "true"))
      print(select(3, waiter:wait()))
      print(fern.spawn(function() fern.sleep(0.001) return "goes on" end):wait())
      unix.limit("files", 100)
      local there = assert(listener:accept())
      assert(here:write "late\n")
      print(there:read "l")
    ]]
    assert.are.equal("EMFILE\nEMFILE\nEMFILE\n", output:match "^[^\n]*\n[^\n]*\n[^\n]*\n")
    assert.is_truthy(output:find "true\t[^\n]+\nETIMEDOUT\ngoes on\nlate\n$", output)
  end)
end)

-- A loop around a failure that needs no wait would otherwise be the end of it.
describe("a call that fails at once lets the others run:", function()
  local net = require "fern.net"
  local calls = {
    ["connect to what is no name"] = function() return net.connect("a\0b", 1) end,
    ["connect to what is no port"] = function() return net.connect("127.0.0.1", "99999") end,
    ["connect to what is no path"] = function() return net.connect_unix("a\0b") end,
    ["listen at what is no name"] = function() return net.listen("a\0b", 0) end,
    ["listen where another listens"] = function(_, _, port) return net.listen("127.0.0.1", port) end,
    ["resolve what is no name"] = function() return net.resolve("a\0b") end,
    ["reverse what is no address"] = function() return net.reverse("a.test") end,
    ["receive of a closed socket"] = function(closed) return closed:receive() end,
    ["send of a closed socket"] = function(closed) return closed:send("x") end,
    ["send to another family"] = function(_, four) return four:sendto("x", "::1", 9) end,
    ["get what is no URL"] = function() return require("fern.http").get("::") end,
    ["get what is no URL for its zero"] = function() return require("fern.http").get("http://a\0b/") end,
  }

  for name, call in pairs(calls) do
    it(name, function()
      local closed, four <close> = net.udp(), net.udp { family = "inet" }
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      closed:close()
      local looping = fern.spawn(function() repeat until call(closed, four, port) end)
      for _ = 1, 3 do fern.sleep(0) end
      looping:kill()
      assert.is_true(fern.is_killed(select(2, looping:join(30))))
    end)
  end
end)

-- SPDX-License-Identifier: MIT
-- debug: what is on the hub is told as it is, who made it on demand, and who
-- holds it with the line; nothing of it disturbs a program.

local fern = require "fern"
local net = require "fern.net"
local script = require "spec.support.script"
local debug = require "fern.debug"

local has_http, http = pcall(require, "fern.http")

local function has(text, part)
  assert.is_truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function has_not(text, part)
  assert.is_falsy(text:find(part, 1, true), ("%q is in:\n%s"):format(part, text))
end

local function count_of(text, part)
  local _, count = text:gsub(part:gsub("%W", "%%%0"), "")
  return count
end

local function find(list, field, value)
  for _, entry in ipairs(list) do
    if entry[field] == value then return entry end
  end
end

local function here() return _G.debug.getinfo(2, "l").currentline end

local SLEEPER <const> = here() + 2
local function sleeper(name)
  local thread = fern.spawn(function() fern.sleep(3600) end)
  thread:name(name)
  fern.sleep(0)
  return thread
end

local function listen()
  local listener = assert(net.listen("127.0.0.1", 0))
  local _, port = listener:address()
  return listener, port
end

describe("fern.debug", function()
  after_each(function()
    debug.hub_timer_stacks(false)
    debug.hub_listener_stacks(false)
    debug.hub_exceptions(false)
    debug.hub_blocking_detection(false)
    debug.thread_accounting(false)
  end)

  it("is loaded on first use", function()
    assert.are.equal(debug, fern.debug)
    local output = script.run_text("", [[
      local fern = require "fern"
      print(package.loaded["fern.debug"], fern.debug.stats().threads, package.loaded["fern.debug"] ~= nil)]])
    assert.are.equal("nil\t0\ttrue\n", output)
  end)

  describe("threads", function()
    it("tells of a thread all there is to tell", function()
      local before = fern.now()
      fern.sleep(0.001)                 -- the hub reads the clock
      local thread = sleeper("a sleeper")
      local found = find(debug.threads(), "name", "a sleeper")
      assert.are.equal("waiting", found.state)
      assert.are.equal("sleep", found.waits_for)
      assert.is_true(found.since >= before and found.since <= fern.now())
      assert.are.equal("table", type(found.children))
      assert.are.equal(("fern.thread #%d 'a sleeper' (waiting)"):format(found.id), tostring(thread))
      has(found.spawned_at, "debug_spec.lua:" .. SLEEPER)
      has(found.traceback, "debug_spec.lua:" .. SLEEPER)
      assert.is_true(found.stack_used > 100 and found.stack_used < 100000)
      assert.is_nil(found.cpu_time)
      assert.is_nil(found.switches)
      thread:kill()
    end)

    -- The thread holds the hub for 20 ms before it waits.
    local function since(accounting)
      debug.thread_accounting(accounting)
      local held
      local thread = fern.spawn(function()
        held = fern.now() + 0.02
        while fern.now() < held do end
        fern.sleep(3600)
      end)
      thread:name("late")
      fern.sleep(0)
      local found = find(debug.threads(), "name", "late").since
      thread:kill()
      debug.thread_accounting(false)
      return found, held
    end

    it("tells since when as the hub last read the clock, or exactly", function()
      local before = fern.now()
      fern.sleep(0.001)
      local found, held = since(false)
      assert.is_true(found >= before and found < held)
      found, held = since(true)
      assert.is_true(found >= held and found <= fern.now())
    end)

    it("shows who spawned whom, and orphans", function()
      local child
      local parent = fern.spawn(function()
        child = sleeper("child")
        fern.sleep(3600)
      end)
      parent:name("parent")
      local orphan
      fern.spawn(function() orphan = sleeper("orphan") end):join()
      fern.sleep(0)
      local all = debug.threads()
      local found = find(all, "name", "parent")
      assert.are.equal(1, #found.children)
      assert.are.equal(find(all, "name", "child"), found.children[1])
      assert.are.equal(found.id, found.children[1].parent)
      assert.is_nil(find(all, "name", "orphan").parent)
      assert.are.equal("main", all[1].name)
      child:kill()
      parent:kill()
      orphan:kill()
    end)

    it("tells of new, running and ready ones, and of those in coroutines", function()
      local new = fern.spawn_after(3600, print)
      local states = {}
      local running = fern.spawn(function() states.running = debug.threads() end)
      running:name("runs")
      local ready = fern.spawn(function() fern.sleep(0) fern.sleep(0) end)
      ready:name("ready")
      local line = here() + 1
      local inside = fern.spawn(function() coroutine.wrap(function() fern.sleep(3600) end)() end)
      inside:name("inside")
      new:name("new")
      fern.sleep(0)
      local all = debug.threads()
      assert.are.equal("new", find(all, "name", "new").state)
      assert.are.equal("ready", find(all, "name", "ready").state)
      assert.are.equal("running", find(states.running, "name", "runs").state)
      assert.is_nil(find(states.running, "name", "runs").waits_for)
      local _, count = find(all, "name", "inside").traceback:gsub("debug_spec.lua:" .. line, "")
      assert.is_true(count >= 2)
      new:kill()
      inside:kill()
    end)

    it("is not led round by a coroutine that is given its maker", function()
      local found
      fern.spawn(function()
        local maker = coroutine.running()
        coroutine.wrap(function() found = debug.threads(maker) end)()
      end):wait()
      assert.is_true(#found >= 2)
    end)

    it("counts CPU time and switches while it is asked to", function()
      debug.thread_accounting(true)
      local rests = false
      local busy = fern.spawn(function()
        local stop = os.clock() + 0.02
        while os.clock() < stop do end
        for _ = 1, 99 do fern.sleep(0) end
        rests = true
        fern.sleep(3600)
      end)
      busy:name("busy")
      local lazy = sleeper("lazy")
      while not rests do fern.sleep(0) end
      local all = debug.threads()
      assert.is_true(find(all, "name", "busy").cpu_time > 0.01)
      assert.are.equal(100, find(all, "name", "busy").switches)
      assert.are.equal(1, find(all, "name", "lazy").switches)
      assert.is_true(find(all, "name", "lazy").cpu_time < 0.01)
      busy:kill()
      lazy:kill()
    end)

    it("counts the switches of all", function()
      local before = debug.stats().switches
      for _ = 1, 1000 do fern.sleep(0) end
      assert.are.equal(1000, debug.stats().switches - before)
    end)

    it("remembers how many threads there were at most", function()
      assert.are.equal("5\n5\n6\n", (script.run_text("", [[
        local fern = require "fern"
        for i = 1, 5 do fern.spawn(fern.sleep, 0) end
        print(fern.debug.stats().most)
        fern.waitall()
        fern.spawn(fern.sleep, 0)
        print(fern.debug.stats().most)
        for i = 1, 5 do fern.spawn(fern.sleep, 0) end
        print(fern.debug.stats().most)
        fern.waitall()
      ]])))
    end)

    it("lists the descriptors that are open, with what each is", function()
      local descriptors = require("fern.core").debug.descriptors
      local before = descriptors()
      local listener = assert(fern.net.listen("127.0.0.1", 0))
      local new = {}
      for fd, what in pairs(descriptors()) do
        if not before[fd] then new[#new + 1] = what end
      end
      table.sort(new)
      assert.is_truthy(new[#new]:find("^socket:%[%d+%] 127%.0%.0%.1:%d+$"), table.concat(new, "\n"))
      listener:close()
    end)

    it("tells of thousands at once", function()
      local many, threads = 3000, {}
      for i = 1, many do threads[i] = fern.spawn(fern.sleep, 3600) end
      fern.sleep(0)
      assert.is_true(#debug.threads() > many)
      assert.is_true(#debug.timers() >= many)
      assert.is_true(debug.stats().threads >= many)
      for i = 1, many do threads[i]:kill() end
    end)
  end)

  describe("format_hub_timers", function()
    it("lists them by time, and what waits", function()
      local later, sooner = fern.spawn(fern.sleep, 200.5), fern.spawn(fern.sleep, 100.5)
      local begins = fern.spawn_after(150.5, print)
      fern.sleep(0)
      local text = debug.format_hub_timers()
      assert.are.equal("TIMERS:", text:match("^[^\n]*"))
      local a = text:find("in 100%.%d%d%d s: thread #%d+: sleep")
      local b = text:find("in 150%.%d%d%d s: thread #%d+: begins")
      local c = text:find("in 200%.%d%d%d s: thread #%d+: sleep")
      assert.is_true(a < b and b < c, text)
      assert.is_falsy(text:find("\n$"))
      for _, thread in ipairs { later, sooner, begins } do thread:kill() end
    end)

    it("shows who made them, once that is recorded", function()
      local early = sleeper("early")
      has_not(debug.format_hub_timers(), "debug_spec.lua")
      debug.hub_timer_stacks(true)
      local line = here() + 1
      local late = fern.spawn_after(3600, print)
      local waiting = sleeper("waiting")
      local text = debug.format_hub_timers()
      has(text, "debug_spec.lua:" .. line)
      has(text, "in field 'spawn_after'")
      has(text, "in field 'sleep'")
      debug.hub_timer_stacks(false)
      has_not(debug.format_hub_timers(), "debug_spec.lua")
      early:kill()
      late:kill()
      waiting:kill()
    end)

    it("shows the maker's place, too, when coroutines are gone in which it slept", function()
      debug.hub_timer_stacks(true)
      local thread
      for _ = 1, 100 do
        coroutine.wrap(function() fern.sleep(0) end)()
        collectgarbage()
        if thread then thread:kill() end
        thread = fern.spawn_after(3600, print)
      end
      has(debug.format_hub_timers(), "in field 'spawn_after'")
      thread:kill()
    end)

    it("has them as tables", function()
      local before = fern.now()
      local thread = fern.spawn_after(100, print)
      local found
      for _, timer in ipairs(debug.timers()) do
        if timer.thread and tostring(thread):find("#" .. timer.thread .. " ", 1, true) then found = timer end
      end
      assert.is_true(found.at >= before + 100 and found.at <= fern.now() + 100)
      assert.is_nil(found.stack)
      thread:kill()
    end)
  end)

  describe("format_hub_listeners", function()
    it("lists readers and writers, and who made them", function()
      local listener <close> = listen()
      local line = here() + 1
      local thread = fern.spawn(function() listener:accept() end)
      thread:name("acceptor")
      fern.sleep(0.01)
      local text = debug.format_hub_listeners()
      assert.is_truthy(text:find("^READERS:\n"))
      has(text, "thread #" .. debug.listeners()[1].thread .. " 'acceptor'")
      has(text, "\nWRITERS:")
      has_not(text, "debug_spec.lua")
      debug.hub_listener_stacks(true)
      has(debug.format_hub_listeners(), "debug_spec.lua:" .. line)
      local found = find(debug.listeners(), "event", "r")
      assert.are.equal("number", type(found.fd))
      has(found.stack, "debug_spec.lua:" .. line)
      thread:kill()
    end)

    local with_http = has_http and it or pending
    with_http("lists the HTTP client's, and for whom", function()
      local listener <close>, port = listen()
      debug.hub_timer_stacks(true)
      debug.hub_listener_stacks(true)
      local line = here() + 1
      local function fetch() local _ = http.get("http://127.0.0.1:" .. port .. "/page") end
      local thread = fern.spawn(fetch)
      thread:name("fetcher")
      local connection <close> = assert(listener:accept(10))
      connection:read("l", 10)
      fern.sleep(0.01)
      local text = debug.format_hub_listeners()
      has(text, "the HTTP client, for thread #")
      has(text, "'fetcher'")
      has(text, "debug_spec.lua:" .. line)
      assert.is_true(debug.stats().watches >= 1)
      assert.are.equal("http://127.0.0.1:" .. port .. "/page",
        find(debug.threads(), "name", "fetcher").waits_for)
      text = debug.format_hub_timers()
      if text:find("the HTTP client", 1, true) then has(text, "debug_spec.lua:" .. line) end
      thread:kill()
    end)
  end)

  describe("hub_exceptions", function()
    it("tells of an error at once, though somebody asks for it, and once", function()
      local told = {}
      fern.on_error(function(err) told[#told + 1] = err end)
      debug.hub_exceptions(true)
      local thread = fern.spawn(error, "early", 0)
      local ok, err = thread:join()
      fern.sleep(0)
      assert.is_false(ok)
      assert.are.equal("early", err)
      assert.are.same({ "early" }, told)
      debug.hub_exceptions(false)
      fern.spawn(error, "later", 0):join()
      fern.sleep(1.1)
      assert.are.same({ "early" }, told)
    end)
  end)

  describe("hub_blocking_detection", function()
    -- ThreadSanitizer holds signals back until the next system call.
    local in_time = os.getenv "FLAVOUR" ~= "tsan" and it or pending

    local function run(text, ...)
      return script.run_text("", [[
        local fern = require "fern"
        fern.debug.hub_blocking_detection(true, 0.1)
        local function burn(seconds)
          local stop = os.clock() + seconds
          while os.clock() < stop do end
        end
      ]] .. text, ...)
    end

    in_time("tells the line, once for each place, and raises nothing", function()
      local output, code = run [[
        local function first() burn(0.4) return "one" end
        local function hog() local s = os.clock() while os.clock() - s < 0.4 do end end
        for _ = 1, 3 do
          local thread = fern.spawn(first)
          thread:name("hog")
          print(thread:wait())
        end
        fern.spawn(hog):wait()]]
      assert.are.equal(0, code)
      assert.are.equal(3, count_of(output, "one\n"))
      local name = "fern: green thread #1 'hog', spawned at [^\n]*:10, has held the hub for 0%.%d s:\n"
      assert.is_truthy(output:find(name), output)
      assert.are.equal(1, count_of(output, ":5: in upvalue 'burn'"), output)
      assert.is_truthy(output:find(":5: in [^\n]*'burn'\n[^\n]*:7: in function"), output)
      assert.are.equal(1, count_of(output, ":8: in function"), output)
    end)

    in_time("tells a short time in milliseconds", function()
      local output = run [[
        fern.debug.hub_blocking_detection(true, 0.001)
        burn(0.3)]]
      assert.is_truthy(output:find("has held the hub for 0%.%d+ s"), output)
      assert.is_falsy(output:find("has held the hub for 0%.0+ s"), output)
    end)

    in_time("tells of the main thread, of coroutines, and of native functions", function()
      local output = run [[
        burn(0.4)
        local function inner()
          local co = coroutine.create(function()
            pcall(function() local s = os.clock() while os.clock() - s < 0.4 do end end)
          end)
          coroutine.resume(co)
        end
        fern.spawn(function() coroutine.wrap(inner)() end):wait()
        fern.spawn(function()
          os.execute("sleep 1; echo slept")
        end):wait()
        fern.spawn(function()
          ("a"):rep(27):find(("a?"):rep(25) .. ("a"):rep(27))
        end):wait()
        print "alive"]]
      has(output, "green thread #0 'main' has held")
      assert.is_truthy(output:find(":10: in function", 1, true), output)
      assert.is_truthy(output:find("in a native function:\n    %[C%]: in [^\n]*'execute'\n[^\n]*:16: in"), output)
      assert.is_true(output:find("execute", 1, true) < output:find("slept", 1, true), output)
      assert.is_truthy(output:find("in a native function:\n    %[C%]: in [^\n]*'find'\n[^\n]*:19: in"), output)
      assert.is_truthy(output:find("alive\n$"))
    end)

    it("leaves alone a program that waits, and its hooks", function()
      local output, code = run [[
        local count = 0
        fern.spawn(function()
          debug.sethook(function() count = count + 1 end, "", 1000)
          burn(0.4)
          local before = count
          burn(0.1)
          print("hooked", count > before)
        end):wait()
        fern.debug.hub_blocking_detection(false)
        fern.debug.hub_blocking_detection(true, 0.1)
        fern.sleep(0.5)
        fern.debug.hub_blocking_detection(false)
        local function unseen() burn(0.3) end
        unseen()]]
      assert.are.equal(0, code)
      has(output, "hooked\ttrue\n")
      assert.are.equal(1, count_of(output, "in upvalue 'burn'"), output)
      has_not(output, "'sleep'")
      has_not(output, "unseen")
    end)

    it("is refused what is no time", function()
      for _, seconds in ipairs { 0, -1, 0 / 0, math.huge, 1e9 } do
        assert.has_error(function() debug.hub_blocking_detection(true, seconds) end)
      end
      assert.has_error(function() debug.hub_blocking_detection(true, "soon") end)
      for _, name in ipairs { "hub_blocking_detection", "hub_timer_stacks", "hub_listener_stacks",
        "hub_exceptions", "thread_accounting" } do
        assert.has_error(function() debug[name](1) end)
        assert.has_error(function() debug[name]() end)
      end
    end)
  end)

  describe("dump", function()
    it("tells everything, to a file or to where one says", function()
      local thread = sleeper("dumped")
      local name = os.tmpname()
      assert.is_true(debug.dump(name))
      assert.is_true(debug.dump(name))
      local file = assert(io.open(name))
      local text = file:read("a")
      file:close()
      assert.are.equal(2, count_of(text, "THREADS:\n"))
      for _, part in ipairs { "'dumped': waits ", "TIMERS:\n", "READERS:\n", "WRITERS:\n", "STATS:\n" } do
        has(text, part)
      end
      local written = {}
      assert.is_true(debug.dump { write = function(_, more) written[#written + 1] = more end })
      has(table.concat(written), "'dumped': waits ")
      os.remove(name)
      local ok, message = debug.dump("/nowhere/at/all")
      assert.is_nil(ok)
      has(message, "/nowhere/at/all")
      local called, misuse = pcall(function() debug.dump(3) end)
      assert.is_false(called)
      has(misuse, "bad argument #1 to 'fern.debug.dump' (file or its name expected, got number)")
      thread:kill()
    end)

    it("tells when it could not be written, and what is no file", function()
      local ok, message = debug.dump("/dev/full")
      assert.is_nil(ok)
      has(message, "No space left on device")
      local full <close> = assert(io.open("/dev/full", "w"))
      full:setvbuf("no")
      assert.is_nil((debug.dump(full)))
      for _, bad in ipairs { 42, true, {}, print } do
        local raised = select(2, pcall(debug.dump, bad))
        has(raised, "bad argument #1 to 'fern.debug.dump' (file or its name expected, got ")
      end
    end)

    local SIGUSR1 = [[
      local fern = require "fern"
      local unix = require "spec.support.unix"
      local function signal() unix.kill(unix.getpid(), 10) end
    ]]

    it("is what SIGUSR1 does", function()
      local output, code = script.run_text("", SIGUSR1 .. [[
        local _ = fern.debug
        fern.spawn(fern.sleep, 3600):name("sleeper")
        signal()
        fern.sleep(0.01)
        print "alive" os.exit(0, true)]])
      assert.are.equal(0, code)
      assert.are.equal(1, count_of(output, "THREADS:"), output)
      has(output, "'sleeper'")
      has(output, "alive")
    end)

    it("comes also while a thread never parks", function()
      local output = script.run_text("", SIGUSR1 .. [[
        local _ = fern.debug
        local hog = fern.spawn(function()
          signal()
          local n = 0
          for i = 1, 1000 do n = n + i end
          io.stderr:write("done\n")
        end)
        hog:name("hog")
        hog:wait()]])
      assert.is_truthy(output:find("'hog': running.-STATS:.-done\n$"), output)
    end)

    it("leaves SIGUSR1 to those who have not asked for it", function()
      local _, code = script.run_text("", SIGUSR1 .. "signal() fern.sleep(5)")
      assert.are.equal(-10, code)
    end)
  end)

  describe("spew", function()
    it("prints every line of every thread, until it is told not to", function()
      local output = script.run_text("", [[
        local fern = require "fern"
        local other = fern.spawn(function()
          fern.sleep(0)
          local a = 1
          return a
        end)
        fern.sleep(0)
        fern.debug.spew()
        fern.spawn(function()
          local b = 2
          return b
        end):wait()
        other:wait()
        fern.debug.unspew()
        local c = 3
      ]])
      for _, part in ipairs { ":4: local a = 1\n", ":10: local b = 2\n", ":13: other:wait()\n" } do
        assert.are.equal(1, count_of(output, part), part .. " in:\n" .. output)
      end
      has_not(output, "local c = 3")
    end)

    it("prints only what is wanted, and values", function()
      local output = script.run_text("", [[
        local fern = require "fern"
        local value = 42
        fern.debug.spew({ arg[0]:match("[^/]*$") }, true)
        print(value)
        fern.debug.unspew()
        fern.debug.spew({ "no such file" })
        print(value)]])
      has(output, ":4: print(value)\n    value=42\n42\n")
      assert.are.equal(1, count_of(output, "print(value)"))
      has_not(output, "debug.lua")
      assert.has_error(function() debug.spew("name") end)
    end)
  end)
end)

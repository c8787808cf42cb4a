-- SPDX-License-Identifier: MIT
-- examples/balancer: the program as it runs, between clients and backends on loopback.

local fern = require "fern"
local net = require "fern.net"
local process = require "fern.process"
local balancer = require "spec.support.balancer"
local nginx = require "spec.support.nginx"
local serve = require("spec.support.server").serve
local service = require "spec.support.service"

-- Where there is no liblua it is not built.
local built = io.open(balancer.program)
if not built then
  pending "examples/balancer: there is no liblua"
  return
end
built:close()
if os.getenv "FLAVOUR" == "tsan" then
  pending "examples/balancer: ThreadSanitizer loses signals that come while a green thread runs"
  return
end

local PATIENCE <const> = 30
local REFUSING <const> = "127.0.0.1:1"

local function echo(connection)
  while true do
    local bytes = connection:read_some()
    if not bytes or not connection:write(bytes) then return end
  end
end

-- A server that tells who it is, and then gives back what comes.
local function named(name)
  return serve(function(connection)
    connection:write(name, "\n")
    echo(connection)
  end)
end

-- A configuration of one listener, "web", and these backends: name = server, or address.
local function config(backends, rest)
  local lines = {}
  for name, where in pairs(backends) do
    local address = type(where) == "table" and "127.0.0.1:" .. where.port or where
    lines[#lines + 1] = ("  %s = { address = %q },\n"):format(name, address)
  end
  return ('listeners = { web = { address = "127.0.0.1:0" } }\nbackends = {\n%s}\n%s')
    :format(table.concat(lines), rest or "")
end

local function read_line(connection) return assert(connection:read("l", PATIENCE)) end

-- The name of the backend that a new client gets.
local function visit(b)
  local connection <close> = b:connect "web"
  return read_line(connection)
end

local function is_closed(connection)
  local data, _, code = connection:read("l", PATIENCE)
  return data == nil and (code == "EPIPE" or code == "ECONNRESET"), code
end

local function ask(connection, text)
  assert(connection:write(text, "\n"))
  return read_line(connection)
end

describe("the balancer passes on", function()
  it("an end, and what is said after it", function()
    local server <close> = serve(function(connection)
      connection:write("got ", #assert(connection:read("a", PATIENCE)), "\n")
    end)
    local b <close> = balancer.start(config { a = server })
    local connection <close> = b:connect "web"
    connection:write(("x"):rep(1000))
    connection:shutdown "write"
    assert.are.equal("got 1000\n", connection:read("a", PATIENCE))
  end)

  it("much in both directions at once, byte for byte", function()
    local server <close> = serve(echo)
    local b <close> = balancer.start(config({ a = server }, 'buffer_size = "1k"\n'))
    local connection <close> = b:connect "web"
    local parts = {}
    for i = 1, 200000 do parts[i] = ("%d,"):format(i) end
    local text = table.concat(parts)
    local writer = fern.spawn(function()
      assert(connection:write(text))
      assert(connection:shutdown "write")
    end)
    local got = connection:read("a", PATIENCE)
    assert.is_true(got == text)
    writer:wait()
  end)

  it("no more than who does not read takes", function()
    local written = 0
    local server <close> = serve(function(connection)
      while connection:write(("x"):rep(65536)) do written = written + 65536 end
    end)
    local b <close> = balancer.start(config { a = server })
    local connection <close> = b:connect "web"
    assert(connection:read(1, PATIENCE))
    local before
    repeat
      before = written
      fern.sleep(0.3)
    until written == before
    assert.is_true(written < 64 * 1024 * 1024)
    assert(connection:read(written, PATIENCE))
  end)

  it("a page of nginx, a hundred times at once", function()
    local site <close> = setmetatable({ site = nginx.start() }, { __close = function(self) self.site:stop() end })
    local b <close> = balancer.start(config { a = "127.0.0.1:" .. site.site.port.http })
    local http = require "fern.http"
    local pool = fern.pool(100)
    local pages = pool:map(function(i)
      return assert(http.get(("http://127.0.0.1:%d/page/%d.html"):format(b.ports.web, i))).body
    end, (function()
      local numbers = {}
      for i = 1, 100 do numbers[i] = i end
      return numbers
    end)())
    for i = 1, 100 do assert.are.equal(nginx.page(i), pages[i]) end
  end)

  it("a connection that breaks as a broken one", function()
    local server <close> = serve(function(connection)
      connection:write("half of it\n")
      connection:read("l", PATIENCE)
      connection:setoption("linger", 0)
    end)
    local b <close> = balancer.start(config { a = server })
    local connection <close> = b:connect "web"
    assert.are.equal("half of it", read_line(connection))
    connection:write("go\n")
    assert.are.equal("ECONNRESET", select(2, is_closed(connection)))
    b:line "backend a has broken the connection"
  end)

  it("the death of a backend, and nobody else notices", function()
    local server <close> = named "b"
    local listener = assert(net.listen("127.0.0.1", 0))
    local port = select(2, listener:address())
    local dying <close> = assert(process.fork(function()
      local all = {}
      while true do all[#all + 1] = assert(listener:accept()) end
    end))
    listener:close()
    local b <close> = balancer.start(config({ a = "127.0.0.1:" .. port, b = server }, [[
      health = { every = "1h" }
      local turn = 0
      function on_connect() turn = turn + 1 if turn == 1 then return "a" end return "b" end]]))
    local doomed <close> = b:connect "web"
    local safe <close> = b:connect "web"
    assert.are.equal("b", read_line(safe))
    dying:kill "KILL"
    assert.is_true(is_closed(doomed))
    assert.are.equal("still", ask(safe, "still"))
  end)
end)

describe("the balancer sends clients", function()
  it("to one backend after the other, as their weights have it", function()
    local one <close> = named "a"
    local two <close> = named "b"
    local b <close> = balancer.start(([[
      listeners = { web = { address = "127.0.0.1:0" } }
      backends = { a = { address = "127.0.0.1:%d", weight = 2 }, b = { address = "127.0.0.1:%d" } }
    ]]):format(one.port, two.port))
    local got = {}
    for i = 1, 6 do got[i] = visit(b) end
    assert.are.same({ "a", "b", "a", "a", "b", "a" }, got)
  end)

  it("to who has fewest connections", function()
    local one <close> = named "a"
    local two <close> = named "b"
    local b <close> = balancer.start(config({ a = one, b = two }, 'balance = "least_connections"\n'))
    local held, names = {}, { a = 0, b = 0 }
    for i = 1, 6 do
      held[i] = b:connect "web"
      local name = read_line(held[i])
      names[name] = names[name] + 1
    end
    assert.are.same({ a = 3, b = 3 }, names)
    for _, connection in ipairs(held) do connection:close() end
  end)

  it("to the next one, when one refuses, and to none that is down", function()
    local server <close> = named "b"
    local b <close> = balancer.start(config({ a = REFUSING, b = server }, 'health = { every = "1h", fall = 3 }\n'))
    for _ = 1, 8 do assert.are.equal("b", visit(b)) end
    b:line "no connection to a: connection refused"
    assert.are.equal("balancer: backend a is down: connection refused", b:line "is down")
    b:signal "USR1"
    assert.is_truthy(b:line("backend b: up"):find("8 in all, 0 failures", 1, true))
    assert.is_truthy(b:line("backend a: "):find("down, 0 connections, 0 in all, 3 failures", 1, true))
  end)

  it("to the next one, when one does not answer", function()
    local server <close> = named "b"
    local full <close> = assert(net.listen("127.0.0.1", 0, { backlog = 1 }))
    local port, waiting = select(2, full:address()), {}
    repeat waiting[#waiting + 1] = net.connect("127.0.0.1", port, { timeout = 0.2 }) until #waiting < 1 or #waiting > 8
      or not net.connect("127.0.0.1", port, { timeout = 0.2 })
    local b <close> = balancer.start(config({ a = "127.0.0.1:" .. port, b = server },
      'connect_timeout = "100ms"\nfunction on_connect() return "a", "b" end\nhealth = { every = "1h", fall = 9 }\n'))
    assert.are.equal("b", visit(b))
    b:line "no connection to a: timeout"
    for _, connection in ipairs(waiting) do connection:close() end
  end)

  it("back to one that is up again, and tells when", function()
    local server <close> = named "b"
    local late <close> = assert(net.listen("127.0.0.1", 0))
    local port = select(2, late:address())
    late:close()
    local b <close> = balancer.start(config({ a = "127.0.0.1:" .. port, b = server },
      'health = { every = "20ms", rise = 2, fall = 2 }\n'))
    b:line "backend a is down: connection refused"
    assert.are.equal("b", visit(b))
    assert.are.equal("b", visit(b))
    local again <close> = assert(net.listen("127.0.0.1", port))
    local thread = fern.spawn(function()
      for connection in function() return again:accept() end do
        connection:write("a\n")
        connection:close()
      end
    end)
    b:line "backend a is up"
    local names = { [visit(b)] = true, [visit(b)] = true }
    assert.are.same({ a = true, b = true }, names)
    thread:kill()
    thread:join()
  end)

  it("away, when no backend is up", function()
    local b <close> = balancer.start(config({ a = REFUSING }, 'health = { every = "20ms", fall = 1 }\n'))
    b:line "backend a is down"
    local connection <close> = b:connect "web"
    assert.is_true(is_closed(connection))
    b:line "refused: no backend is up"
  end)

  it("to backends of their listener only, by Unix sockets as well", function()
    local path = ("/tmp/fern-spec.%d"):format(math.random(1 << 40))
    local listener <close> = assert(net.listen_unix(path))
    local thread = fern.spawn(function()
      for connection in function() return listener:accept() end do
        connection:write("unix\n")
        connection:close()
      end
    end)
    local server <close> = named "tcp"
    local text = ([[
      log_connections = true
      listeners = {
        web = { address = "127.0.0.1:0", backends = { "a" } },
        api = { address = ":0", backends = { "b" } },
        sock = { address = "unix:@%s", backends = { "b" } },
      }
      backends = { a = { address = "unix:%s" }, b = { address = "127.0.0.1:%d" } }
    ]]):format(path, path, server.port)
    local b <close> = balancer.start(text)
    assert.are.equal("unix", visit(b))
    local connection <close> = b:connect "api"
    assert.are.equal("tcp", read_line(connection))
    local unix <close> = assert(net.connect_unix("@" .. path))
    assert.are.equal("tcp", read_line(unix))
    unix:close()
    b:line "balancer: sock: a client of this machine: to b, "
    balancer.write(b.path, text .. ("listeners.more = { address = 'unix:@%s.more' }"):format(path))
    b:signal "HUP"
    assert.are.equal(("balancer: more: listening at @%s.more"):format(path), b:line "more: ")
    thread:kill()
    thread:join()
  end)
end)

describe("the balancer's limits", function()
  local function waits(connection)
    local _, _, code = connection:read("l", 0.1)
    return code == "ETIMEDOUT"
  end

  it("of a listener let others wait until there is room", function()
    local server <close> = named "a"
    local b <close> = balancer.start(([[
      listeners = { web = { address = "127.0.0.1:0", max_connections = 1 } }
      backends = { a = { address = "127.0.0.1:%d" } }]]):format(server.port))
    local first <close> = b:connect "web"
    assert.are.equal("a", read_line(first))
    local second <close> = b:connect "web"
    assert.is_true(waits(second))
    first:close()
    assert.are.equal("a", read_line(second))
  end)

  it("of all listeners, too, though one of them is idle", function()
    local server <close> = named "a"
    local b <close> = balancer.start(([[
      listeners = { web = { address = "127.0.0.1:0" }, api = { address = "127.0.0.1:0" } }
      backends = { a = { address = "127.0.0.1:%d" } }
      max_connections = 1]]):format(server.port))
    local first <close> = b:connect "web"
    assert.are.equal("a", read_line(first))
    local second <close> = b:connect "api"
    assert.is_true(waits(second))
    first:close()
    assert.are.equal("a", read_line(second))
  end)

  it("of a client refuse, and count down again", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config({ a = server }, "max_per_client = 2\n"))
    local first <close> = b:connect "web"
    local second <close> = b:connect "web"
    assert.are.equal("a", read_line(first))
    assert.are.equal("a", read_line(second))
    local third <close> = b:connect "web"
    assert.is_true(is_closed(third))
    b:line "web: refused: a client has 2 connections already"
    first:close()
    second:close()
    local name
    repeat
      local next <close> = b:connect "web"
      name = next:read("l", PATIENCE)
    until name
    assert.are.equal("a", name)
  end)

  it("of idleness hold for both directions together", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config({ a = server }, 'idle_timeout = "300ms"\nlog_connections = true\n'))
    local connection <close> = b:connect "web"
    assert.are.equal("a", read_line(connection))
    for i = 1, 5 do
      fern.sleep(0.15)
      assert.are.equal("line " .. i, ask(connection, "line " .. i))
    end
    assert.is_true(is_closed(connection))
    b:line "to a, 35 bytes there, 37 back"
  end)

  it("of descriptors end no listener", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config({ a = server }, 'health = { every = "1h" }\n'), "ulimit -n 40; ")
    local held = {}
    for i = 1, 40 do held[i] = b:connect "web" end
    b:line "too many open files"
    for _, connection in ipairs(held) do connection:close() end
    local name
    repeat
      local next <close> = b:connect "web"
      name = next:read("l", PATIENCE)
    until name
    assert.are.equal("a", name)
    b:signal "USR1"
    b:line "backend a: up"
  end)
end)

describe("on_connect", function()
  local server

  before_each(function() server = named "a" end)
  after_each(function() server:close() end)

  -- What a client gets with this hook: a line, or nothing, and the log says so.
  local function with(hook, rest)
    return balancer.start(config({ a = server, b = REFUSING }, hook .. "\n" .. (rest or "")
      .. '\nhealth = { every = "1h" } hook_timeout = "200ms"'))
  end

  local function refused(b, text)
    local connection <close> = b:connect "web"
    assert.is_true(is_closed(connection))
    assert.is_truthy(b:line("web: 127.0.0.1 port "):find(text, 1, true), text)
  end

  it("chooses a backend by its name, and then it is that or none", function()
    local b <close> = with "local n = 0 function on_connect() n = n + 1 return n == 1 and 'a' or 'b' end"
    assert.are.equal("a", visit(b))
    refused(b, "no connection to b: connection refused")
  end)

  it("knows the client, and refuses with a reason", function()
    local b <close> = with [[function on_connect(c)
      return nil, ("%s, %s, %s"):format(c.address, math.type(c.port), c.listener) end]]
    refused(b, "refused: 127.0.0.1, integer, web")
    local silent <close> = with "function on_connect() return false end"
    refused(silent, ": refused")
  end)

  local bad = {
    ["raises"] = { "function on_connect() error 'oh dear' end", "oh dear" },
    ["raises what is no text"] = { "function on_connect() error(setmetatable({}, { __tostring = error })) end", "on_connect: " },
    ["parks for ever"] = { "function on_connect() require('fern').sleep(1e9) end", "it has taken too long" },
    ["will not be killed"] = {
      "function on_connect() while true do pcall(require('fern').sleep, 1e9) end end", "it has taken too long" },
    ["returns a number"] = { "function on_connect() return 17 end", "it has returned a number" },
    ["returns what is no backend"] = { "function on_connect() return 'web\\n7' end", "'web?7', which is no backend" },
    ["returns a good name and a table"] = { "function on_connect() return 'a', {} end", "it has returned a table" },
    ["returns a thousand names"] = {
      "function on_connect() local t = {} for i = 1, 1000 do t[i] = 'x' end return table.unpack(t) end", "no backend" },
    ["has no end"] = { "function on_connect() return 1 + on_connect() end", "stack overflow" },
  }
  for what, case in pairs(bad) do
    it(what .. ": the client is refused, or let in, as the file says", function()
      local b <close> = with(case[1])
      refused(b, case[2])
      local kind <close> = with(case[1], "on_hook_failure = 'balance' backends.b = nil")
      assert.are.equal("a", visit(kind))
      assert.is_truthy(kind:line("on_connect: "):find("; let in", 1, true))
    end)
  end

  it("makes nobody wait but its own client", function()
    local b <close> = with([[
      local n = 0
      function on_connect() n = n + 1 if n == 1 then require("fern").sleep(1e9) end return "a" end]])
    local slow <close> = b:connect "web"
    for _ = 1, 5 do assert.are.equal("a", visit(b)) end
    assert.is_true(is_closed(slow))
  end)

  it("that never waits holds up all, and the log says where", function()
    local b <close> = with [[
      local function loop() local t = os.clock() while os.clock() < t + 1.5 do end end
      function on_connect() loop() return "a" end]]
    local slow <close> = b:connect "web"
    b:line "in upvalue 'loop'"
    assert.are.equal("a", read_line(slow))
  end)

  it("asks Redis where to go", function()
    local redis = service.start("redis", "redis-server --port @port@ --dir @dir@ --bind 127.0.0.1 --appendonly no")
    local _ <close> = setmetatable({}, { __close = function() redis:stop() end })
    local seed <close> = assert(net.connect("127.0.0.1", redis.port))
    seed:write("SET route:127.0.0.1 a\r\n")
    assert.are.equal("+OK\r", read_line(seed))
    local b <close> = with(([[
      local net = require "fern.net"
      function on_connect(client)
        local redis <close> = assert(net.connect("127.0.0.1", %d, { timeout = 5 }))
        redis:write("GET route:", client.address, "\r\n")
        local length = assert(tonumber(redis:read("l", 5):match "^$(%%d+)"), "nobody knows you")
        return redis:read(length, 5)
      end]]):format(redis.port), "hook_timeout = '10s'")
    local pool = fern.pool(50)
    local names = pool:map(function() return visit(b) end, (function()
      local list = {}
      for i = 1, 50 do list[i] = i end
      return list
    end)())
    for i = 1, 50 do assert.are.equal("a", names[i]) end
    seed:write("DEL route:127.0.0.1\r\n")
    read_line(seed)
    refused(b, "nobody knows you")
  end)

  it("asks an HTTP service", function()
    local oracle <close> = serve(function(connection)
      while connection:read("l") ~= "\r" do end -- luacheck: ignore
      connection:write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na")
    end)
    local b <close> = with(([[
      local http = require "fern.http"
      function on_connect() return assert(http.get("http://127.0.0.1:%d/")).body end]]):format(oracle.port),
      "hook_timeout = '10s'")
    assert.are.equal("a", visit(b))
    assert.are.equal(1, oracle.accepted)
  end)
end)

describe("a check of health", function()
  it("may be the file's own, and fail in its own words", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config({ a = server }, [[
      local n = 0
      local function check(backend)
        n = n + 1
        if n <= 2 then return nil, backend.name .. " has a cold" end
        if n == 4 then error "oh dear" end
        if n == 6 then require("fern").sleep(1e9) end
        return true
      end
      health = { every = "10ms", timeout = "100ms", rise = 1, fall = 1, check = check }]]))
    assert.are.equal("balancer: backend a is down: a has a cold", b:line "is down")
    b:line "backend a is up"
    assert.is_truthy(b:line("is down"):find("oh dear", 1, true))
    b:line "backend a is up"
    assert.is_truthy(b:line("is down"):find("it has taken too long", 1, true))
    b:line "backend a is up"
  end)
end)

describe("SIGHUP", function()
  local function numbered(server, n, rest)
    return config({ a = server }, ([[
      local number = %d
      function on_connect(client) require("fern").sleep(0.001) return "a" end
      %s]]):format(n, rest or ""))
  end

  it("fifty times, with 200 busy connections: none is lost", function()
    local server <close> = named "a"
    local b <close> = balancer.start(numbered(server, 0))
    local said, fresh, stop = 0, 0, false
    local function talk(i)
      local connection <close> = b:connect "web"
      assert(read_line(connection) == "a")
      local n = 0
      repeat
        n = n + 1
        local line = ("%d of %d"):format(n, i)
        assert(ask(connection, line) == line)
        said = said + 1
      until stop
    end
    local function come_and_go()
      while not stop do
        assert(visit(b) == "a")
        fresh = fresh + 1
      end
    end
    local scope <close> = fern.scope()
    for i = 1, 200 do scope:spawn(talk, i) end
    for _ = 1, 5 do scope:spawn(come_and_go) end
    for n = 1, 50 do
      local before = said
      assert.is_truthy(b:reload(numbered(server, n)):find("is read again", 1, true))
      while said < before + 200 do fern.sleep(0.001) end
    end
    stop = true
    scope:close()
    assert.is_true(fresh > 50)
    b:signal "USR1"
    assert.is_truthy(b:line("listener web"):find((" %d in all, 0 refused"):format(200 + fresh), 1, true))
  end)

  it("with a file that is wrong, and says why: all goes on as before", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config { a = server })
    local held <close> = b:connect "web"
    assert.are.equal("a", read_line(held))
    for text, expected in pairs {
      ["listeners = {"] = "expected",
      ["error 'no'"] = "no",
      ["while true do end"] = "the configuration has run for more than 5 s",
      [config({ a = server }, "idle_timout = 3")] = "idle_timeout",
      [config({ a = server }, "max_connections = 'many'")] = "max_connections",
      [config({ a = server }, "listeners.web.backends = { 'b' }")] = "there is no backend 'b'",
      [config({ a = server }, "listeners.two = { address = '192.0.2.1:1' }")] = "listeners.two: cannot listen there",
      [config({ a = server }, "listeners.two = { address = 'unix:/x' } listeners.three = { address = 'unix:/x' }")] =
        "has it, too",
    } do
      balancer.write(b.path, text)
      b:signal "HUP"
      b:line(expected)
      b:line "is not used: all goes on as before"
      assert.are.equal("still", ask(held, "still"))
      assert.are.equal("a", visit(b))
    end
  end)

  it("sends newcomers to new backends, and leaves the others where they are", function()
    local one <close> = named "one"
    local two <close> = named "two"
    local b <close> = balancer.start(config { a = one })
    local held <close> = b:connect "web"
    assert.are.equal("one", read_line(held))
    b:reload(config { a = two })
    assert.are.equal("two", visit(b))
    assert.are.equal("still", ask(held, "still"))
  end)

  it("opens new listeners, and closes those that are gone, but nobody who came by them", function()
    local server <close> = named "a"
    local b <close> = balancer.start(([[
      listeners = { web = { address = "127.0.0.1:0" } }
      backends = { a = { address = "127.0.0.1:%d" } }]]):format(server.port))
    local held <close> = b:connect "web"
    assert.are.equal("a", read_line(held))
    b:reload(([[
      listeners = { api = { address = "localhost:0" } }
      backends = { a = { address = "127.0.0.1:%d" } }]]):format(server.port))
    local connection <close> = b:connect "api"
    assert.are.equal("a", read_line(connection))
    assert.are.equal("still", ask(held, "still"))
    local again, _, code
    repeat again, _, code = net.connect(b.hosts.web, b.ports.web) until not again or not again:close()
    assert.are.equal("ECONNREFUSED", code)
  end)

  it("does not end a hook that runs", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config({ a = server }, [[
      hook_timeout = "20s"
      function on_connect()
        io.stderr:write("asked\n")
        require("fern").sleep(0.3)
        return "a"
      end]]))
    local connection <close> = b:connect "web"
    b:line "asked"
    b:reload(config { a = server })
    assert.are.equal("a", read_line(connection))
  end)
end)

describe("SIGTERM", function()
  it("lets those who are connected finish, and nobody else in", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config { a = server })
    local held <close> = b:connect "web"
    assert.are.equal("a", read_line(held))
    b:signal "TERM"
    assert.are.equal("balancer: ending: 1 clients are connected", b:line "ending")
    local _, _, code = net.connect("127.0.0.1", b.ports.web)
    assert.are.equal("ECONNREFUSED", code)
    assert.are.equal("still", ask(held, "still"))
    held:close()
    assert.are.equal(0, b:wait())
  end)

  it("ends them at the drain_timeout", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config({ a = server }, 'drain_timeout = "100ms"\n'))
    local held <close> = b:connect "web"
    assert.are.equal("a", read_line(held))
    b:signal "TERM"
    assert.is_true(is_closed(held))
    b:line "1 clients were still connected"
    assert.are.equal(0, b:wait())
  end)

  it("twice ends it at once", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config { a = server })
    local held <close> = b:connect "web"
    assert.are.equal("a", read_line(held))
    b:signal "TERM"
    b:line "ending"
    b:signal "INT"
    b:line "ended at once"
    assert.are.equal(1, b:wait())
  end)

  it("during a hook, a check and a reload that park", function()
    local server <close> = named "a"
    local b <close> = balancer.start(config({ a = server }, [[
      local fern = require "fern"
      drain_timeout = 0
      hook_timeout = "1h"
      local function check() io.stderr:write("checked\n") fern.sleep(1e9) end
      health = { timeout = "1h", check = check }
      function on_connect() io.stderr:write("asked\n") fern.sleep(1e9) end
      fern.spawn(fern.sleep, 1e9)]]))
    b:line "checked"
    local held <close> = b:connect "web"
    b:line "asked"
    balancer.write(b.path, "io.stderr:write('read\\n') require('fern').sleep(0.5) error 'no'")
    b:signal "HUP"
    b:line "read"
    b:signal "TERM"
    assert.are.equal(0, b:wait())
    assert.is_true(is_closed(held))
  end)
end)

describe("the balancer's words", function()
  local function run(...)
    local command = { balancer.program, ... }
    command.timeout = PATIENCE
    return assert(process.run(command))
  end

  it("are what --help says, or --help goes to stderr", function()
    local help = run "--help"
    assert.are.equal(0, help.code)
    assert.is_truthy(help.stdout:find("^usage: balancer "))
    for _, words in ipairs { {}, { "--no-such" }, { "a", "b" }, { "--check" }, { "" } } do
      local result = run(table.unpack(words))
      assert.are.equal(2, result.code)
      assert.are.equal(help.stdout, result.stderr)
    end
  end)

  it("check a file without listening", function()
    assert.are.equal(0, run("--check", "examples/balancer/balancer.lua").code)
    local missing = run("--check", "/no/such")
    assert.are.equal(1, missing.code)
    assert.are.equal("balancer: /no/such: no such file or directory\n", missing.stderr)
    local name = os.tmpname()
    balancer.write(name, "listeners = nothing.there")
    local raising = run("--check", name).stderr
    os.remove(name)
    assert.is_truthy(raising:find("\nbalancer: stack traceback:\nbalancer:  " .. name .. ":1: in main chunk\n", 1, true),
      raising)
  end)

  it("print every key, and README.md has them all", function()
    local keys = run("--help-config").stdout
    local file <close> = assert(io.open "examples/balancer/README.md")
    local readme, count = file:read("a"), 0
    for key in ("\n" .. keys):gmatch("\n ? ?([%a_]+)") do
      assert.is_truthy(readme:find(("`%s`"):format(key), 1, true), key)
      count = count + 1
    end
    assert.is_true(count > 10)
  end)
end)

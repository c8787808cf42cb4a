-- SPDX-License-Identifier: MIT
-- fern.net on loopback: what each call returns in every way it can end.

local fern = require "fern"
local net = require "fern.net"
local script = require "spec.support.script"

local LINE_MAX <const> = 1024 * 1024
local SOON <const> = 30     -- seconds: longer than anything here takes

-- Both ends of a new connection.
local function pair()
  local listener <close> = assert(net.listen("127.0.0.1", 0))
  local _, port = listener:address()
  local client = assert(net.connect("127.0.0.1", port, { timeout = SOON }))
  return client, assert(listener:accept(SOON))
end

-- Let the others run until they wait.
local function settle()
  for _ = 1, 10 do fern.sleep(0) end
end

local function check_failure(message, code, ...)
  assert.are.same({ nil, message, code, n = 3 }, table.pack(...))
end

local function check_closed(...) check_failure("closed", "EPIPE", ...) end
local function check_bad(...) check_failure("bad file descriptor", "EBADF", ...) end
local function check_timeout(...) check_failure("timeout", "ETIMEDOUT", ...) end

-- A write that failed also tells how many bytes went out.
local function check_unwritten(message, code, ...)
  assert.are.same({ nil, message, code, 0, n = 4 }, table.pack(...))
end

-- Closing with something unread resets the connection. Then `peer` gets
-- `text`, and the reset after it.
local function reset(connection, peer, text)
  peer:write(("never read"):rep(10000))
  if text then connection:write(text) end
  connection:read(1, SOON)
  connection:close()
end

-- Close both, and see that nobody waits any more.
local function finish(...)
  for _, connection in ipairs { ... } do assert.is_true(connection:close()) end
end

describe("a connection", function()
  it("carries what one end writes to the other", function()
    local client, server = pair()
    assert.is_true(client:write("ping\n"))
    assert.are.equal("ping", server:read("l", SOON))
    assert.is_true(server:write("pong\n"))
    assert.are.equal("pong", client:read("l", SOON))
    finish(client, server)
  end)

  it("tells both addresses", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local host, port = listener:address()
    assert.are.equal("127.0.0.1", host)
    assert.are.equal("integer", math.type(port))
    local client = assert(net.connect(host, port))
    local server = assert(listener:accept(SOON))
    assert.are.same({ host, port }, { client:peer() })
    assert.are.same({ host, port }, { server:address() })
    assert.are.same({ client:address() }, { server:peer() })
    finish(client, server)
    check_bad(client:address())
    check_bad(client:peer())
  end)

  it("shows what it is", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local client = assert(net.connect("127.0.0.1", port))
    assert.are.equal("fern.net.listener (127.0.0.1:" .. port .. ")", tostring(listener))
    assert.are.equal("fern.net.connection (127.0.0.1:" .. port .. ")", tostring(client))
    finish(client, listener)
    assert.are.equal("fern.net.listener (closed)", tostring(listener))
    assert.are.equal("fern.net.connection (closed)", tostring(client))
  end)
end)

describe("read", function()
  local TEXT <const> = "one\n\nthree\r\n\0four\nlast"
  local ways = {
    { "lines", { "l", "l", "l", "l", "l" }, { "one", "", "three\r", "\0four", "last" } },
    { "lines by default", { false, false }, { "one", "" } },
    { "lines and their ends", { "L", "L", "L", "L", "L" }, { "one\n", "\n", "three\r\n", "\0four\n", "last" } },
    { "numbers of bytes", { 1, 4, 0, 3.0, 1000 }, { "o", "ne\n\n", "", "thr", "ee\r\n\0four\nlast" } },
    { "everything", { "a", "a", "a" }, { TEXT, "", "" } },
    { "formats with a star", { "*l", "*L", "*a" }, { "one", "\n", "three\r\n\0four\nlast" } },
    { "a mixture", { "l", 2, "L", "a" }, { "one", "\nt", "hree\r\n", "\0four\nlast" } },
  }

  local function check_way(formats, results, send)
    local client, server = pair()
    fern.spawn(function()
      send(client)
      client:close()
    end)
    for i, format in ipairs(formats) do
      local got
      if format then got = server:read(format, SOON) else got = server:read() end
      assert.are.equal(results[i], got, ("result %d"):format(i))
    end
    finish(server)
  end

  for _, way in ipairs(ways) do
    it("gives " .. way[1], function()
      check_way(way[2], way[3], function(client) client:write(TEXT) end)
    end)

    it("gives " .. way[1] .. " that come byte by byte", function()
      check_way(way[2], way[3], function(client)
        for byte in TEXT:gmatch(".") do
          client:write(byte)
          settle()
        end
      end)
    end)
  end

  it("tells the end, again and again, but not to those who ask for everything", function()
    local client, server = pair()
    client:write("rest")
    client:close()
    assert.are.equal("rest", server:read("l", SOON))
    for _, format in ipairs { "l", "L", 1, 0, 1e9 } do check_closed(server:read(format, SOON)) end
    assert.are.equal("", server:read("a", SOON))
    check_closed(server:read())
    finish(server)
  end)

  it("waits for a first byte when asked for none", function()
    local client, server = pair()
    check_timeout(server:read(0, 0.002))
    client:write("x")
    assert.are.equal("", server:read(0, SOON))
    assert.are.equal("x", server:read(1, SOON))
    client:close()
    check_closed(server:read(0, SOON))
    finish(server)
  end)

  it("takes nothing when it times out", function()
    local client, server = pair()
    client:write("half a li")
    for _, timeout in ipairs { 0.002, 0, -1 } do
      check_timeout(server:read("l", timeout))
      check_timeout(server:read("a", timeout))
      check_timeout(server:read(100, timeout))
    end
    client:write("ne\n")
    assert.are.equal("half a line", server:read("l", SOON))
    finish(client, server)
  end)

  it("does not need time for what is there", function()
    local client, server = pair()
    client:write("one\ntwo\n")
    assert.are.equal("one", server:read("l", SOON))
    assert.are.equal("two", server:read("l", 0))
    finish(client, server)
  end)

  it("tells a reset for what it is, for good", function()
    local client, server = pair()
    reset(client, server, "some")
    assert.are.equal("s", server:read(1, SOON))
    for _, format in ipairs { "l", "a", 100, "L" } do
      check_failure("connection reset by peer", "ECONNRESET", server:read(format, SOON))
    end
    assert.are.equal("ome", server:read(3, SOON))   -- what came before it is there
    check_failure("connection reset by peer", "ECONNRESET", server:read("a", SOON))
    check_failure("connection reset by peer", "ECONNRESET", server:read(0, SOON))
    finish(server)
  end)

  it("gives lines of a MiB, and refuses longer ones", function()
    local client, server = pair()
    local line = ("x"):rep(LINE_MAX)
    fern.spawn(function() client:write(line, "\n", line, "y\nrest\n") end)
    assert.are.equal(line, server:read("l", SOON))
    check_failure("message too long", "EMSGSIZE", server:read("l", SOON))
    check_failure("message too long", "EMSGSIZE", server:read("L", SOON))
    assert.are.equal(line .. "y\n", server:read(LINE_MAX + 2, SOON))    -- nothing is lost
    assert.are.equal("rest", server:read("l", SOON))
    finish(client, server)
  end)

  it("asks for a lot without taking memory for it", function()
    local client, server = pair()
    client:write("little")
    client:close()
    assert.are.equal("little", server:read(1e15, SOON))
    finish(server)
  end)

  it("refuses a second reader, and the first is none the worse", function()
    local client, server = pair()
    local thread = fern.spawn(function() return server:read("l") end)
    settle()
    check_failure("already in use by another thread", "EBUSY", server:read("l", SOON))
    client:write("li")
    settle()
    check_failure("already in use by another thread", "EBUSY", server:read(1, SOON))
    client:write("ne\n")
    assert.are.equal("line", thread:wait(SOON))
    finish(client, server)
  end)

  it("can be killed, and the connection lives on", function()
    local client, server = pair()
    local thread = fern.spawn(function() return server:read("l") end)
    client:write("a li")
    settle()
    thread:kill()
    local ok, err = thread:join(SOON)
    assert.is_false(ok)
    assert.is_true(fern.is_killed(err))
    client:write("ne\n")
    assert.are.equal("a line", server:read("l", SOON))
    finish(client, server)
  end)

  it("keeps the limits around it", function()
    local client, server = pair()
    client:write("a li")
    check_timeout(fern.timeout(0.005, server.read, server, "l"))
    local ok, err = pcall(fern.timeout, 0.005, function()
      return fern.timeout(SOON, server.read, server, "l", SOON)
    end)
    assert.is_true(ok)
    assert.is_nil(err)
    client:write("ne\n")
    assert.are.equal("a line", server:read("l", SOON))
    finish(client, server)
  end)

  it("works wherever Lua calls back", function()
    local client, server = pair()
    fern.spawn(function()
      for word in ("a b c d e"):gmatch("%a") do
        fern.sleep(0.001)
        client:write(word, "\n")
      end
    end)
    local object = setmetatable({}, { __index = function() return server:read("l", SOON) end })
    assert.are.equal("a", object.x)
    assert.are.equal("b", (("?"):gsub(".", function() return server:read("l", SOON) end)))
    assert.are.equal("c", coroutine.wrap(function() return server:read("l", SOON) end)())
    assert.are.equal("d", select(2, pcall(server.read, server, "l", SOON)))
    local step = coroutine.wrap(function()
      for line in function() return server:read("l", SOON) end do coroutine.yield(line) end
    end)
    assert.are.equal("e", step())
    client:close()
    assert.is_nil(step())
    finish(server)
  end)

  it("is refused in a finalizer", function()
    local client, server = pair()
    local problem
    fern.on_error(function() end)
    setmetatable({}, { __gc = function() problem = select(2, pcall(server.read, server)) end })
    collectgarbage()
    collectgarbage()
    settle()
    fern.on_error(nil)
    assert.is_truthy(tostring(problem):find("finalizer", 1, true), tostring(problem))
    finish(client, server)
  end)
end)

describe("write", function()
  it("takes strings and numbers, many of them or none", function()
    local client, server = pair()
    assert.is_true(client:write())
    assert.is_true(client:write(""))
    assert.is_true(client:write("a", 1, 2.5, "", "b\0\n"))
    assert.are.equal("a12.5b\0", server:read("l", SOON))
    finish(client, server)
  end)

  it("writes all of it, both ways at once", function()
    local client, server = pair()
    local parts = {}
    for i = 1, 200000 do parts[i] = ("%d,"):format(i * 7919 % 65537) end
    local there, back = table.concat(parts), table.concat(parts, ";")
    local function send(connection, text) return fern.spawn(connection.write, connection, text, "!") end
    local function receive(connection, text)
      return fern.spawn(function() return connection:read(#text + 1) == text .. "!" end)
    end
    local senders = { send(client, there), send(server, back) }
    assert.is_true(receive(server, there):wait(SOON))
    assert.is_true(receive(client, back):wait(SOON))
    for _, sender in ipairs(senders) do assert.is_true(sender:wait(SOON)) end
    finish(client, server)
  end)

  it("refuses a second writer, and the first is none the worse", function()
    local client, server = pair()
    local text = ("x"):rep(20 * 1024 * 1024)
    local thread = fern.spawn(client.write, client, text)
    settle()
    check_unwritten("already in use by another thread", "EBUSY", client:write("y"))
    assert.are.equal(text, server:read(#text, SOON))
    assert.is_true(thread:wait(SOON))
    assert.is_true(client:write("y"))
    assert.are.equal("y", server:read(1, SOON))
    finish(client, server)
  end)

  it("tells that the peer is gone, and no signal ends the process", function()
    local client, server = pair()
    client:close()
    while server:write("x") do end
    check_unwritten("closed", "EPIPE", server:write("x"))
    finish(server)
  end)

  it("can be killed or limited, and the connection lives on", function()
    local client, server = pair()
    local text = ("x"):rep(20 * 1024 * 1024)
    local thread = fern.spawn(client.write, client, text)
    settle()
    thread:kill()
    assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
    check_timeout(fern.timeout(0.005, client.write, client, text))
    local reader = fern.spawn(function() return server:read("a") end)
    assert.is_true(client:write("end"))
    client:close()
    assert.are.equal("end", reader:wait(SOON):sub(-3))
    finish(server)
  end)
end)

describe("close", function()
  it("may be called again, and nothing works afterwards", function()
    local client, server = pair()
    finish(client, server)
    finish(client, server)
    check_bad(client:read())
    check_bad(client:read("a", SOON))
    check_unwritten("bad file descriptor", "EBADF", client:write("x"))
    local listener = assert(net.listen("127.0.0.1", 0))
    finish(listener, listener)
    check_bad(listener:accept())
    check_bad(listener:address())
  end)

  it("ends what other threads wait for", function()
    local client, server = pair()
    local listener = assert(net.listen("127.0.0.1", 0))
    local reader = fern.spawn(function() return table.pack(client:read("l")) end)
    local writer = fern.spawn(function() return table.pack(client:write(("x"):rep(20 * 1024 * 1024))) end)
    local acceptor = fern.spawn(function() return table.pack(listener:accept()) end)
    settle()
    finish(client, listener)
    for _, thread in ipairs { reader, writer, acceptor } do
      check_bad(table.unpack(thread:wait(SOON), 1, 3))
    end
    finish(server)
  end)

  it("drops what was not read yet", function()
    local client, server = pair()
    client:write("one\ntwo\n")
    assert.are.equal("one", server:read("l", SOON))
    finish(server, client)
    check_bad(server:read("l"))
  end)

  it("comes with the end of a scope", function()
    local client, server
    do
      local a <close>, b = pair()
      client, server = a, b
    end
    check_bad(client:read())
    check_closed(server:read("l", SOON))
    finish(server)
  end)

  it("comes with the collector", function()
    local keep = {}
    do
      local client, server = pair()
      keep.server = server
      client:write("bye\n")
    end
    collectgarbage()
    collectgarbage()
    assert.are.equal("bye", keep.server:read("l", SOON))
    check_closed(keep.server:read("l", SOON))
    finish(keep.server)
  end)

  it("comes with a thread that is killed", function()
    local client, server = pair()
    local thread = fern.spawn(function()
      local mine <close> = server
      return mine:read()
    end)
    settle()
    thread:kill()
    check_closed(client:read("l", SOON))
    assert.is_false((thread:join(SOON)))
    finish(client)
  end)

  it("leaves loops that ignore it killable, and starves nobody", function()
    local client, server = pair()
    local listener = assert(net.listen("127.0.0.1", 0))
    local threads = {}
    local function forever(object, method, ...)
      threads[#threads + 1] = fern.spawn(function(...)
        while true do object[method](object, ...) end
      end, ...)
    end
    forever(client, "read")
    forever(client, "read", "l")
    forever(client, "write", "x")
    forever(listener, "accept")
    settle()
    finish(server)
    fern.sleep(0.001)
    finish(client, listener)
    fern.sleep(0.001)
    for _, thread in ipairs(threads) do thread:kill() end
    for _, thread in ipairs(threads) do assert.is_false((thread:join(SOON))) end
  end)
end)

describe("accept", function()
  it("waits for who comes, and no longer than it is told", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    check_timeout(listener:accept(0))
    check_timeout(listener:accept(0.002))
    local thread = fern.spawn(listener.accept, listener)
    settle()
    local client = assert(net.connect("127.0.0.1", port))
    local server = thread:wait(SOON)
    client:write("hello\n")
    assert.are.equal("hello", server:read("l", SOON))
    finish(client, server)
  end)

  it("refuses a second thread", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local thread = fern.spawn(listener.accept, listener)
    settle()
    check_failure("already in use by another thread", "EBUSY", listener:accept(SOON))
    thread:kill()
    assert.is_false((thread:join(SOON)))
    check_timeout(listener:accept(0))
  end)

  it("serves hundreds at once", function()
    local listener <close> = assert(net.listen("*", 0, { backlog = 1000 }))
    local _, port = listener:address()
    local served = 0
    local acceptor = fern.spawn(function()
      while true do
        local connection = assert(listener:accept())
        fern.spawn(function()
          local mine <close> = connection
          assert.is_true(mine:write((mine:read("L", SOON))))
        end)
      end
    end)
    local clients = {}
    for i = 1, 300 do
      clients[i] = fern.spawn(function()
        local connection <close> = assert(net.connect("127.0.0.1", port, { timeout = SOON }))
        assert(connection:write(i, "\n"))
        assert.are.equal(tostring(i), connection:read("l", SOON))
        check_closed(connection:read("l", SOON))
        served = served + 1
      end)
    end
    for _, client in ipairs(clients) do client:wait(SOON) end
    assert.are.equal(300, served)
    acceptor:kill()
    assert.is_false((acceptor:join(SOON)))
  end)

  it("tells when there are no descriptors left, and goes on when there are", function()
    local output, code = script.run_text("ulimit -n 64; ", [[
      local net = require "fern.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      local files = {}
      for i = 1, 100 do files[i] = io.open("/dev/null") end
      files[#files]:close()
      files[#files] = nil
      local client = assert(net.connect("127.0.0.1", port, { timeout = 30 }))
      print(listener:accept(30))
      print(net.connect("127.0.0.1", port, { timeout = 30 }))
      print(net.listen("127.0.0.1", 0))
      files[#files]:close()
      local server = assert(listener:accept(30))
      server:write("welcome\n")
      print(client:read("l", 30))
    ]])
    local failure = "nil\ttoo many open files\tEMFILE\n"
    assert.are.equal(failure:rep(3) .. "welcome\n", output)
    assert.are.equal(0, code)
  end)
end)

describe("connect", function()
  it("finds a host by its name", function()
    if not os.execute("getent hosts localhost >/dev/null") then
      return pending("this system does not know the name localhost")
    end
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local client = assert(net.connect("localhost", tostring(port), { timeout = SOON }))
    finish(client, assert(listener:accept(SOON)))
  end)

  it("tells that nobody listens", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    listener:close()
    check_failure("connection refused", "ECONNREFUSED", net.connect("127.0.0.1", port))
    check_failure("connection refused", "ECONNREFUSED", net.connect("127.0.0.1", port, { timeout = SOON }))
  end)

  it("tells that there is no such host", function()
    for _, host in ipairs { ("x"):rep(2000), "a\0b", "127.0.0.1\0", "" } do
      local connection, message, code = net.connect(host, 1, { timeout = SOON })
      assert.is_nil(connection)
      assert.are.equal("string", type(message))
      assert.is_truthy(code:find("^E"), code)
    end
  end)

  it("tells that there is no such port", function()
    for _, port in ipairs { "65536", "no such service", "99999999999999999999" } do
      local connection, _, code = net.connect("127.0.0.1", port, { timeout = SOON })
      assert.is_nil(connection)
      assert.is_truthy(code:find("^EAI_"), code)
    end
  end)

  -- The queue of a listener that accepts nobody is short: once it is full,
  -- who comes gets no answer.
  it("waits no longer than it is told, and can be killed", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0, { backlog = 0 }))
    local _, port = listener:address()
    local clients = {}
    local function connect() return net.connect("127.0.0.1", port, { timeout = 0.2 }) end
    for connection in connect do clients[#clients + 1] = connection end
    check_timeout(connect())
    check_timeout(fern.timeout(0.005, net.connect, "127.0.0.1", port))
    local thread = fern.spawn(net.connect, "127.0.0.1", port)
    settle()
    thread:kill()
    assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
    finish(table.unpack(clients))
  end)
end)

describe("listen", function()
  it("tells that a port is taken, or an address not ours", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    check_failure("address already in use", "EADDRINUSE", net.listen("127.0.0.1", port))
    check_failure("address not available", "EADDRNOTAVAIL", net.listen("192.0.2.1", 0))
  end)

  it("takes a port again as soon as it is free", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local client = assert(net.connect("127.0.0.1", port))
    local server = assert(listener:accept(SOON))
    finish(server, client, listener)    -- the server's end lingers in TIME_WAIT
    listener = assert(net.listen("127.0.0.1", port))
    finish(listener)
  end)

  it("listens everywhere, and tells IPv4 from IPv6", function()
    local listener <close> = assert(net.listen("*", 0))
    local _, port = listener:address()
    local client = assert(net.connect("127.0.0.1", port))
    local server = assert(listener:accept(SOON))
    assert.are.equal("127.0.0.1", (server:peer()))
    finish(client, server)
  end)
end)

describe("options", function()
  local function has_ipv6()
    local listener = net.listen("::1", 0)
    return listener and listener:close()
  end

  it("of connections are set and told", function()
    local client, server = pair()
    local values = {
      nodelay = false, cork = true, keepalive = true, keepalive_idle = 11, keepalive_interval = 12,
      keepalive_count = 3, user_timeout = 4000, linger = 5,
    }
    assert.is_true(client:getoption "nodelay")
    assert.is_true(server:getoption "nodelay")
    assert.is_false(client:getoption "linger")
    for name, value in pairs(values) do
      assert.is_true(client:setoption(name, value))
      assert.are.equal(value, client:getoption(name))
    end
    assert.is_true(client:setoption("linger", false))
    assert.is_false(client:getoption "linger")
    assert.is_true(client:setoption("rcvbuf", 100000))
    assert.is_true(client:getoption "rcvbuf" >= 100000)
    check_failure("invalid argument", "EINVAL", client:setoption("keepalive_idle", 0))
    finish(client, server)
    check_bad(client:getoption "nodelay")
    check_bad(client:setoption("nodelay", true))
  end)

  it("of a listener are those of its connections", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0, { nodelay = false, keepalive = true, keepalive_idle = 7 }))
    local client = assert(net.connect(listener:address()))
    local server = assert(listener:accept(SOON))
    assert.is_false(server:getoption "nodelay")
    assert.is_true(server:getoption "keepalive")
    assert.are.equal(7, server:getoption "keepalive_idle")
    assert.is_true(client:getoption "nodelay")
    finish(client, server)
  end)

  it("of Unix sockets are fewer", function()
    local one, other = assert(net.pair())
    assert.is_true(one:setoption("sndbuf", 50000))
    local value, _, code = one:getoption "nodelay"
    assert.is_nil(value)
    assert.are.equal("EOPNOTSUPP", code)
    finish(one, other)
  end)

  it("let several listen on one port, if all of them want to", function()
    local first <close> = assert(net.listen("127.0.0.1", 0, { reuseport = true }))
    local _, port = first:address()
    local second <close> = assert(net.listen("127.0.0.1", port, { reuseport = true }))
    assert.are.same({ first:address() }, { second:address() })
    check_failure("address already in use", "EADDRINUSE", net.listen("127.0.0.1", port))
  end)

  it("keep IPv4 out of a listener of IPv6", function()
    if not has_ipv6() then return pending("no IPv6 on loopback") end
    local six <close> = assert(net.listen("*", 0, { v6only = true }))
    local _, port = six:address()
    local four <close> = assert(net.listen("0.0.0.0", port))
    local client = assert(net.connect("127.0.0.1", port))
    finish(client, assert(four:accept(SOON)))
    client = assert(net.connect("::1", port))
    local server = assert(six:accept(SOON))
    assert.are.equal("::1", (server:peer()))
    finish(client, server)
  end)

  it("choose the address to connect from", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local host, port = listener:address()
    local client = assert(net.connect(host, port, { bind = "127.0.0.5", linger = 0 }))
    local server = assert(listener:accept(SOON))
    assert.are.equal("127.0.0.5", (server:peer()))
    local _, own = client:address()
    finish(client, server)
    check_failure("address not available", "EADDRNOTAVAIL", net.connect(host, port, { bind = "192.0.2.1" }))
    local again = assert(net.connect(host, port, { bind = "127.0.0.6", bind_port = own }))
    assert.are.same({ "127.0.0.6", own }, { again:address() })
    finish(again, assert(listener:accept(SOON)))
  end)

  it("choose the interface", function()
    local listener, _, code = net.listen("127.0.0.1", 0, { interface = "lo" })
    if code == "EPERM" then return pending("not allowed to choose an interface") end
    local _, port = assert(listener):address()
    local client = assert(net.connect("127.0.0.1", port, { interface = "lo" }))
    finish(client, assert(listener:accept(SOON)), listener)
    check_failure("no such device", "ENODEV", net.listen("127.0.0.1", 0, { interface = "none at all" }))
    check_failure("no such device", "ENODEV", net.connect("127.0.0.1", port, { interface = "none at all" }))
  end)
end)

describe("a name with several addresses", function()
  -- localhost is ::1 first where it is both; nobody listens there.
  it("is connected to by whichever answers", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local client = assert(net.connect("localhost", port, { timeout = SOON, stagger = 3600 }))
    assert.are.same({ "127.0.0.1", port }, { client:peer() })
    finish(client, assert(listener:accept(SOON)))
  end)
end)

describe("misuse of fern.net", function()
  local function check_raises(pattern, fn, ...)
    local ok, problem = pcall(fn, ...)
    assert.is_false(ok)
    assert.is_truthy(tostring(problem):find(pattern), tostring(problem))
  end

  it("is raised by listen and connect", function()
    for _, fn in ipairs { net.listen, net.connect } do
      check_raises("string expected", fn)
      check_raises("string expected, got table", fn, {}, 1)
      check_raises("#1 to '.*' %(string expected, got number%)", fn, 8000, "127.0.0.1")
      check_raises("#2 to '.*' %(port expected, got no value%)", fn, "127.0.0.1")
      check_raises("port expected, got table", fn, "127.0.0.1", {})
      check_raises("no integer representation", fn, "127.0.0.1", 0.5)
      check_raises("port out of range", fn, "127.0.0.1", -1)
      check_raises("port out of range", fn, "127.0.0.1", 65536)
      check_raises("table expected", fn, "127.0.0.1", 1, 5)
      check_raises("unknown option 'colour'", fn, "127.0.0.1", 1, { colour = 1 })
      check_raises("unknown option '1'", fn, "127.0.0.1", 1, { 1 })
    end
    for _, backlog in ipairs { -1, 0.5, "many", "7", 0 / 0, true } do
      check_raises("bad option 'backlog'", net.listen, "127.0.0.1", 0, { backlog = backlog })
    end
    for _, fn in ipairs { net.listen, net.connect } do
      check_raises("bad option 'nodelay' %(a boolean", fn, "127.0.0.1", 1, { nodelay = 1 })
      check_raises("bad option 'linger' %(a whole number", fn, "127.0.0.1", 1, { linger = -1 })
      check_raises("bad option 'sndbuf' %(a whole number", fn, "127.0.0.1", 1, { sndbuf = "5" })
      check_raises("bad option 'rcvbuf' %(a whole number", fn, "127.0.0.1", 1, { rcvbuf = 1 << 40 })
      check_raises("bad option 'interface'", fn, "127.0.0.1", 1, { interface = 5 })
    end
    check_raises("bad option 'bind'", net.connect, "127.0.0.1", 1, { bind = "a\0b" })
    check_raises("bad option 'bind_port'", net.connect, "127.0.0.1", 1, { bind_port = 65536 })
    check_raises("bad option 'stagger'", net.connect, "127.0.0.1", 1, { stagger = 0 })
    for _, timeout in ipairs { 0 / 0, "soon", "1", false } do
      check_raises("bad option 'timeout'", net.connect, "127.0.0.1", 1, { timeout = timeout })
    end
    finish(assert(net.listen("127.0.0.1", 0, { backlog = 1000000000 })))
  end)

  it("is raised by methods", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local client, server = pair()
    for _, format in ipairs { "", "nn", "x", "ll", "*", "**l", "l ", -1, 0.5, 0 / 0, true, {} } do
      check_raises("bad argument", client.read, client, format)
    end
    check_raises("NaN", client.read, client, "l", 0 / 0)
    check_raises("invalid format", client.read, client, "l", "soon")    -- two formats
    check_raises("NaN", listener.accept, listener, 0 / 0)
    check_raises("number expected", listener.accept, listener, {})
    for _, value in ipairs { {}, true, print } do
      check_raises("string expected", client.write, client, "x", value)
    end
    check_raises("string expected", client.write, client, nil)
    check_raises("unknown option 'colour'", client.getoption, client, "colour")
    check_raises("unknown option 'colour'", client.setoption, client, "colour", 1)
    check_raises("boolean expected", client.setoption, client, "nodelay", 1)
    check_raises("whole number", client.setoption, client, "sndbuf", true)
    check_raises("fern.net.connection expected", client.read, listener)
    check_raises("fern.net.listener expected", listener.accept, client)
    check_raises("fern.net.connection expected", client.close, io.stdout)
    check_timeout(server:read(1, 0))    -- nothing was written
    finish(client, server)
  end)
end)

describe("the end of a script", function()
  local OPEN <const> = [[
    local fern = require "fern"
    local net = require "fern.net"
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local client = assert(net.connect("127.0.0.1", port))
    local server = assert(listener:accept(30))
    client:write("half a line")
    local ends = 0
    local function wait(fn, ...)
      local _ <close> = setmetatable({}, { __close = function()
        ends = ends + 1
        if ends == 3 then print("unwound") io.stdout:flush() end
      end })
      fn(...)
    end
    fern.spawn(wait, listener.accept, listener)
    fern.spawn(wait, server.read, server)
    fern.spawn(wait, client.write, client, ("x"):rep(20 * 1024 * 1024))
    for _ = 1, 10 do fern.sleep(0) end
  ]]

  local function check(last, expected_code)
    local output, code = script.run_text("", OPEN .. last)
    assert.are.equal("unwound\n", output)
    assert.are.equal(expected_code or 0, code)
  end

  it("unwinds threads that wait for connections", function() check("") end)
  it("does so at os.exit", function() check("os.exit(3, true)", 3) end)
  it("does so when the module is closed", function() check("local _ <close> = fern") end)

  it("leaves objects that can do no harm", function()
    local output, code = script.run_text("", [[
      local objects = {}
      do
        local fern <close> = require "fern"
        local net = require "fern.net"
        local listener = assert(net.listen("127.0.0.1", 0))
        local _, port = listener:address()
        local client = assert(net.connect("127.0.0.1", port))
        client:write("x")
        local server = assert(listener:accept(30))
        server:read(0)
        objects = { listener, client, server }
      end
      for i = 1, 3 do print(tostring(objects[i])) end
      objects[2]:close()
      objects = nil
      collectgarbage()
      package.loaded.fern, package.loaded["fern.core"] = nil, nil
    ]])
    assert.are.equal("fern.net.listener (closed)\n" .. ("fern.net.connection (closed)\n"):rep(2), output)
    assert.are.equal(0, code)
  end)
end)

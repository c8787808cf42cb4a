-- SPDX-License-Identifier: MIT
-- Datagrams in fern.net: over loopback, to groups, and between Unix sockets.

local fern = require "fern"
local net = require "fern.net"

local SOON <const> = 30     -- seconds: longer than anything here takes

local function check_failure(message, code, ...)
  assert.are.same({ nil, message, code, n = 3 }, table.pack(...))
end

local function check_timeout(...) check_failure("timeout", "ETIMEDOUT", ...) end
local function check_bad(...) check_failure("bad file descriptor", "EBADF", ...) end
local function check_busy(...) check_failure("already in use by another thread", "EBUSY", ...) end

-- One with an address of its own.
local function bound() return assert(net.udp { host = "127.0.0.1" }) end

-- Let the others run until they wait.
local function settle()
  for _ = 1, 10 do fern.sleep(0) end
end

local function finish(...)
  for _, socket in ipairs { ... } do
    assert.is_true(socket:close())
    assert.is_true(socket:close())
  end
end

describe("a datagram", function()
  it("comes whole, with who sent it, and may be empty", function()
    local a, b = bound(), bound()
    local host, port = a:address()
    assert.are.equal("127.0.0.1", host)
    for _, text in ipairs { "one", "", "\0two\n" } do assert.is_true(b:sendto(text, host, port)) end
    local here, there = b:address()
    assert.are.same({ "one", here, there }, { a:receive_from(nil, SOON) })
    assert.are.same({ "" }, { a:receive(nil, SOON) })
    assert.are.same({ "\0two\n" }, { a:receive(100, SOON) })
    finish(a, b)
  end)

  it("that is cut tells how long it was", function()
    local a = bound()
    local host, port = a:address()
    for _ = 1, 3 do a:sendto("0123456789", host, port) end
    assert.are.same({ "0123", 10 }, { a:receive(4, SOON) })
    assert.are.same({ "", "127.0.0.1", port, 10 }, { a:receive_from(0, SOON) })
    assert.are.same({ "0123456789", n = 1 }, table.pack(a:receive(10, SOON)))
    finish(a)
  end)

  it("may have all the bytes there can be, and no more", function()
    local a = bound()
    local host, port = a:address()
    local most = ("x"):rep(65507)
    assert.is_true(a:sendto(most, host, port))
    assert.are.equal(most, a:receive(nil, SOON))
    assert.is_true(a:sendto(most, host, port))
    assert.are.equal(most, a:receive(1e9, SOON))
    check_failure("message too long", "EMSGSIZE", a:sendto(most .. "x", host, port))
    finish(a)
  end)

  it("goes to a host by name", function()
    local a = bound()
    local b = assert(net.udp { family = "inet" })
    local _, port = a:address()
    assert.is_true(b:sendto("x", "localhost", port, SOON))
    assert.is_true(b:sendto("x", "localhost", tostring(port), SOON))
    assert.are.equal("x", a:receive(nil, SOON))
    check_failure("name or service not known", "EAI_NONAME", b:sendto("x", "a\0b", port))
    check_failure("name or service not known", "EAI_NONAME", b:sendto("x", "", port, SOON))
    assert.are.equal("EAI_SERVICE", (select(3, b:sendto("x", "127.0.0.1", "65536"))))
    finish(a, b)
  end)
end)

describe("a connected socket", function()
  it("hears its peer alone", function()
    local a, b, stranger = bound(), assert(net.udp()), bound()
    check_failure("destination address required", "EDESTADDRREQ", b:send("x"))
    check_failure("not connected", "ENOTCONN", b:peer())
    assert.is_true(b:connect(a:address()))
    assert.are.same({ a:address() }, { b:peer() })
    local _, port = b:address()
    stranger:sendto("spam", "127.0.0.1", port)
    check_timeout(b:receive(nil, 0))
    assert.is_true(b:send("x"))
    local text, host, from = a:receive_from(nil, SOON)
    assert.is_true(a:sendto(text .. "y", host, from))
    assert.are.equal("xy", b:receive(nil, SOON))
    assert.is_true(b:disconnect())
    assert.is_nil((b:peer()))
    finish(a, b, stranger)
  end)

  it("is told that nobody listens", function()
    local a, b = bound(), assert(net.udp())
    b:connect(a:address())
    finish(a)
    assert.is_true(b:send("x"))
    check_failure("connection refused", "ECONNREFUSED", b:receive(nil, SOON))
    assert.is_true(b:send("x"))
    check_failure("connection refused", "ECONNREFUSED", b:send("y"))
    finish(b)
  end)
end)

describe("waiting", function()
  it("ends with a datagram, a timeout, a kill, a limit and a close", function()
    local a = bound()
    local host, port = a:address()
    local thread = fern.spawn(a.receive, a)
    settle()
    assert.are.equal("waiting", thread:status())
    a:sendto("x", host, port)
    assert.are.equal("x", thread:wait(SOON))
    for _, timeout in ipairs { 0.002, 0, -1 } do check_timeout(a:receive(nil, timeout)) end
    check_timeout(fern.timeout(0.002, a.receive, a))
    thread = fern.spawn(a.receive_from, a)
    settle()
    thread:kill()
    assert.is_false(thread:join(SOON))
    thread = fern.spawn(a.receive, a)
    settle()
    finish(a)
    check_bad(thread:wait(SOON))
  end)

  it("is for one reader, while others may send", function()
    local a = bound()
    local host, port = a:address()
    local thread = fern.spawn(a.receive, a)
    settle()
    check_busy(a:receive(nil, SOON))
    check_busy(a:receive_from(nil, 0))
    assert.is_true(a:sendto("x", host, port))
    assert.are.equal("x", thread:wait(SOON))
    finish(a)
  end)

  it("starves nobody when there is always something", function()
    local a = bound()
    local host, port = a:address()
    local turns = 0
    local other <close> = fern.spawn(function() while true do turns = turns + 1 fern.sleep(0) end end)
    for _ = 1, 2000 do
      a:sendto("x", host, port)
      a:receive(nil, SOON)
    end
    assert.is_true(turns > 0)
    assert.are.equal("ready", other:status())
    finish(a)
  end)
end)

describe("a Unix socket", function()
  local path

  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)

  after_each(function() os.remove(path) end)

  it("has a path", function()
    local a = assert(net.udp { path = path })
    local b = assert(net.udp { family = "unix" })
    assert.are.equal(path, a:address())
    assert.are.equal("", b:address())
    assert.is_true(b:sendto("x", path))
    assert.are.same({ "x", "" }, { a:receive_from(nil, SOON) })
    check_failure("address already in use", "EADDRINUSE", net.udp { path = path })
    finish(a, b)
    assert.is_nil((io.open(path)))
    finish(assert(net.udp { path = path }))     -- which has gone with its socket
    check_failure("no such file or directory", "ENOENT", net.udp { path = "/none/x" })
  end)

  it("leaves a file that has taken the place of its own", function()
    local a = assert(net.udp { path = path })
    os.remove(path)
    io.open(path, "w"):close()
    finish(a)
    assert.is_truthy(io.open(path))
  end)

  it("has an abstract name, of its own or of the system's choice", function()
    local a, b = assert(net.udp { path = "@" .. path }), assert(net.udp { path = "@" })
    assert.are.equal("@" .. path, a:address())
    local mine = b:address()
    assert.is_truthy(mine:find("^@."), mine)
    assert.is_true(b:connect("@" .. path))
    assert.are.equal("@" .. path, b:peer())
    assert.is_true(b:send(""))
    assert.are.same({ "", mine }, { a:receive_from(nil, SOON) })
    assert.is_true(a:sendto("back", mine))
    assert.are.equal("back", b:receive(nil, SOON))
    finish(a, b)
  end)

  it("takes datagrams of any size", function()
    local a, b = assert(net.udp { path = "@" .. path }), assert(net.udp { family = "unix" })
    local big = ("0123456789"):rep(10000)
    b:sendto(big, "@" .. path)
    assert.are.equal(big, a:receive(nil, SOON))
    b:sendto(big, "@" .. path)
    assert.are.same({ big:sub(1, 70000), "", #big }, { a:receive_from(70000, SOON) })
    b:sendto(big, "@" .. path)
    assert.are.same({ "", #big }, { a:receive(0, SOON) })
    finish(a, b)
  end)

  it("waits for a receiver that is full, connected or not", function()
    local a = assert(net.udp { path = "@" .. path })
    for _, connected in ipairs { true, false } do
      local b = assert(net.udp { family = "unix" })
      if connected then b:connect("@" .. path) end
      local sender = fern.spawn(function()
        for i = 1, 100 do
          assert(connected and b:send(tostring(i)) or b:sendto(tostring(i), "@" .. path))
        end
      end)
      while sender:status() ~= "waiting" do fern.sleep(0) end
      check_busy(b:sendto("x", "@" .. path))
      for i = 1, 100 do assert.are.equal(tostring(i), a:receive(nil, SOON)) end
      assert.is_true(sender:join(SOON))
      finish(b)
    end
    local b = assert(net.udp { family = "unix" })
    local code
    repeat code = select(3, b:sendto("x", "@" .. path, 0)) until code
    assert.are.equal("ETIMEDOUT", code)
    check_timeout(b:sendto("x", "@" .. path, 0.005))
    finish(a, b)
  end)
end)

describe("options", function()
  it("are set and told, all at once or one by one", function()
    local a = assert(net.udp {
      family = "inet", broadcast = true, ttl = 3, multicast_ttl = 0, multicast_loop = false,
      reuseaddr = true, reuseport = true, receive_buffer = 10000, send_buffer = 10000,
      multicast_interface = "lo",
    })
    assert.are.equal(3, a:get("ttl"))
    assert.are.equal(0, a:get("multicast_ttl"))
    assert.is_true(a:get("broadcast"))
    assert.is_true(a:get("reuseaddr"))
    assert.is_false(a:get("multicast_loop"))
    assert.is_true(a:get("receive_buffer") >= 10000)
    assert.is_true(a:set("ttl", 9))
    assert.are.equal(9, a:get("ttl"))
    check_failure("invalid argument", "EINVAL", a:set("ttl", 1000))
    check_failure("no such device", "ENODEV", a:set("multicast_interface", "no such one"))
    check_failure("operation not supported", "EOPNOTSUPP", a:get("multicast_interface"))
    finish(a)
  end)

  it("share a port out, or refuse to", function()
    local a = assert(net.udp { host = "127.0.0.1", reuseport = true })
    local host, port = a:address()
    local b = assert(net.udp { host = host, port = port, reuseport = true })
    check_failure("address already in use", "EADDRINUSE", net.udp { host = host, port = port })
    finish(a, b)
  end)

  it("that fail leave no descriptor behind", function()
    local unix = require "spec.support.unix"
    local before = unix.descriptors()
    check_failure("invalid argument", "EINVAL", net.udp { ttl = 1000 })
    check_failure("address not available", "EADDRNOTAVAIL", net.udp { host = "192.0.2.254" })
    check_failure("operation not supported", "EOPNOTSUPP", net.udp { family = "unix", ttl = 3 })
    assert.are.equal("EAI_NONAME", (select(3, net.udp { host = "\0" })))
    check_failure("invalid argument", "EINVAL", net.udp { path = ("x"):rep(200) })
    check_failure("invalid argument", "EINVAL", net.udp { path = "" })
    assert.are.equal(before, unix.descriptors())
  end)

  it("a group is heard by those who have joined it", function()
    local a, b = assert(net.udp { port = 0 }), assert(net.udp { multicast_interface = "lo" })
    local _, port = a:address()
    assert.is_true(a:join("239.1.2.3", "lo"))
    check_failure("address already in use", "EADDRINUSE", a:join("239.1.2.3", "lo"))
    assert.is_true(b:sendto("x", "239.1.2.3", port))
    assert.are.equal("x", a:receive(nil, SOON))
    assert.is_true(a:leave("239.1.2.3", "lo"))
    assert.is_true(b:sendto("x", "239.1.2.3", port))
    check_timeout(a:receive(nil, 0.01))
    check_failure("invalid argument", "EINVAL", a:join("127.0.0.1"))
    check_failure("invalid argument", "EINVAL", a:join("no address"))
    check_failure("no such device", "ENODEV", a:join("239.1.2.3", "no such one"))
    finish(a, b)
  end)

  -- An interface that datagrams of IPv6 for groups may leave by.
  local function multicast_interface()
    local routes <close> = io.open("/proc/net/ipv6_route")
    for line in routes and routes:lines() or function() end do
      local name = line:match("^ff0+ 08 .* (%S+)$")
      if name then return name end
    end
  end

  it("a group of IPv6 is heard by those who have joined it, beside those of IPv4", function()
    local interface = multicast_interface()
    if not interface then return pending("no route for groups of IPv6") end
    local GROUP <const> = "ff01::4:3:2:1"       -- it stays within this machine
    local a, b = assert(net.udp { port = 0 }), assert(net.udp { family = "inet6", multicast_interface = interface })
    local four = assert(net.udp { family = "inet" })
    local _, port = a:address()
    assert.is_true(a:join(GROUP, interface))
    assert.is_true(a:join("239.1.2.4", "lo"))
    check_failure("address already in use", "EADDRINUSE", a:join(GROUP, interface))
    assert.is_true(b:sendto("x", GROUP, port))
    local data, host = a:receive_from(nil, SOON)
    assert.are.equal("x", data)
    assert.matches(":", host)
    b:set("multicast_loop", false)
    assert.is_true(b:sendto("nobody here", GROUP, port))
    b:set("multicast_loop", true)
    assert.is_true(b:sendto("y", GROUP, port))
    assert.are.equal("y", a:receive(nil, SOON))
    assert.is_true(a:leave(GROUP, interface))
    check_failure("address not available", "EADDRNOTAVAIL", a:leave(GROUP, interface))
    assert.is_true(b:sendto("x", GROUP, port))
    check_timeout(a:receive(nil, 0.01))
    check_failure("no such device", "ENODEV", a:join(GROUP, "no such one"))
    check_failure("invalid argument", "EINVAL", a:join("::1", interface))
    check_failure("address family not supported", "EAFNOSUPPORT", four:join(GROUP, interface))
    finish(a, b, four)
  end)

  it("that are none raise", function()
    local a = bound()
    for _, bad in ipairs {
      { ttl = "x" }, { ttl = -1 }, { ttl = 1.5 }, { broadcast = 1 }, { family = "x" }, { family = 2 },
      { port = {} }, { port = 1.5 }, { host = true }, { unknown = 1 }, { path = "x", family = "inet" },
      { path = "x", host = "y", family = "inet6" }, { path = "@", host = "y" },
      { path = "@", port = 1 }, { family = "unix", port = 1 }, { timeout = 0 / 0 },
      { multicast_interface = {} },
    } do
      assert.has_error(function() net.udp(bad) end)
    end
    assert.has_error(function() net.udp(1) end)
    assert.has_error(function() a:set("unknown", 1) end)
    assert.has_error(function() a:set("ttl") end)
    assert.has_error(function() a:set("broadcast", 1) end)
    assert.has_error(function() a:get("unknown") end)
    assert.has_error(function() a:sendto("x", "127.0.0.1") end)
    assert.has_error(function() a:sendto("x", "127.0.0.1", 65536) end)
    assert.has_error(function() a:sendto("x", "127.0.0.1", -1) end)
    assert.has_error(function() a:sendto(nil, "127.0.0.1", 1) end)
    assert.has_error(function() a:sendto("x", 80, "127.0.0.1") end)
    assert.has_error(function() a:receive(-1) end)
    assert.has_error(function() a:receive(1, 0 / 0) end)
    assert.has_error(function() a.receive({}) end)
    finish(a)
  end)
end)

describe("a socket", function()
  it("shows what it is", function()
    local a = bound()
    local _, port = a:address()
    assert.are.equal("fern.net.udp (127.0.0.1:" .. port .. ")", tostring(a))
    assert.are.equal("integer", math.type(a:fd()))
    finish(a)
    assert.are.equal("fern.net.udp (closed)", tostring(a))
  end)

  it("takes both families, unless it is told which", function()
    local both = assert(net.udp { port = 0 })
    local six = net.udp { family = "inet6", host = "::1" }
    local _, port = both:address()
    local a = bound()
    assert.is_true(a:sendto("four", "127.0.0.1", port))
    assert.are.same({ "four", a:address() }, { both:receive_from(nil, SOON) })
    if six then     -- a machine may have no IPv6
      assert.is_true(six:sendto("six", "::1", port))
      assert.are.same({ "six", six:address() }, { both:receive_from(nil, SOON) })
      assert.is_nil((six:sendto("x", "127.0.0.1", port, SOON)))
      finish(six)
    end
    finish(a, both)
  end)

  it("that is closed does nothing more", function()
    local a = bound()
    finish(a)
    check_bad(a:receive())
    check_bad(a:receive_from(1, 0))
    check_bad(a:send("x"))
    check_bad(a:sendto("x", "127.0.0.1", 1))
    check_bad(a:connect("127.0.0.1", 1))
    check_bad(a:bind("127.0.0.1", 1))
    check_bad(a:disconnect())
    check_bad(a:address())
    check_bad(a:peer())
    check_bad(a:fd())
    check_bad(a:get("ttl"))
    check_bad(a:set("ttl", 1))
    check_bad(a:join("239.1.2.3"))
  end)

  it("is closed with its block, and when it is collected", function()
    local unix = require "spec.support.unix"
    collectgarbage()
    local before = unix.descriptors()
    do
      local a <close> = bound()
      assert.are.equal(before + 1, unix.descriptors())
      assert.is_string((a:address()))
    end
    assert.are.equal(before, unix.descriptors())
    bound()
    collectgarbage()
    collectgarbage()
    assert.are.equal(before, unix.descriptors())
  end)

  it("may be closed while a name for it is looked up", function()
    local a = bound()
    local thread = fern.spawn(a.sendto, a, "x", "localhost", 1)
    settle()
    finish(a)
    local sent, _, code = thread:wait(SOON)
    assert.is_truthy(sent or code == "EBADF")
  end)

  it("serves a forked child as well", function()
    local script = require "spec.support.script"
    local output = script.run_text("", [[
      local fern = require "fern"
      local unix = require "spec.support.unix"
      local a = assert(fern.net.udp { path = "@" })
      local thread = fern.spawn(a.receive, a)
      fern.sleep(0.001)
      local pid = unix.fork()
      if pid == 0 then
        assert(fern.net.udp { family = "unix" }):sendto("child", (a:address()))
        print(a:receive(nil, 5))
        io.stdout:flush()
        unix.exit(0)
      end
      unix.wait(pid)
      assert(fern.net.udp { family = "unix" }):sendto("parent", (a:address()))
      print(thread:wait(5))
    ]])
    assert.are.equal("child\nparent\n", output)
  end)

  it("answers a hundred who ask at once", function()
    local server = bound()
    local host, port = server:address()
    local echo <close> = fern.spawn(function()
      while true do
        local text, from, number = server:receive_from()
        server:sendto(text:upper(), from, number)
      end
    end)
    local numbers = {}
    for i = 1, 100 do numbers[i] = i end
    local results = fern.pool(100):map(function(i)
      local client <close> = assert(net.udp { family = "inet" })
      client:connect(host, port)
      for _ = 1, 100 do     -- a datagram may be lost
        client:send("client " .. i)
        local answer = client:receive(nil, 1)
        if answer then return answer end
      end
    end, numbers)
    for i = 1, 100 do assert.are.equal("CLIENT " .. i, results[i]) end
    assert.are.equal("waiting", echo:status())
    echo:kill()
    echo:join()
    finish(server)
  end)
end)

-- SPDX-License-Identifier: MIT
-- fern.socket: the same results as LuaSocket's, from which it is told apart by what
-- other threads do meanwhile, by kills and deadlines, and by what is closed under a wait.

local fern = require "fern"
local script = require "spec.support.script"
local socket = require "fern.socket"
local unix = require "fern.socket.unix"

local SOON <const> = 30     -- seconds: longer than anything here takes

-- ---- beside the real one ----

local function sections(which)
  local output, code = script.run("", "spec/support/luasocket_run.lua", which)
  assert(code == 0, output)
  local found, name = {}, nil
  for line in output:gmatch("[^\n]*\n") do
    if not line:find("^ ") and line:find("^%a") and not found[line] then
      name = line
      found[name] = ""
    end
    found[name] = found[name] .. line
  end
  return found
end

describe("socket beside LuaSocket", function()
  local real, ours
  setup(function() real, ours = sections("real"), sections("fern") end)

  for _, program in ipairs(require "spec.support.luasocket_programs") do
    it("gives the same results: " .. program.name, function()
      local name = program.name .. "\n"
      assert.is_string(real[name])
      assert.are.equal(real[name], ours[name])
    end)
  end
end)

-- ---- what only ours can do ----

-- Both ends of a new connection.
local function pair()
  local server <close> = assert(socket.bind("127.0.0.1", 0))
  local _, port = server:getsockname()
  local client = assert(socket.connect("127.0.0.1", port))
  server:settimeout(SOON)
  return client, assert(server:accept())
end

-- Let the others run until they wait.
local function settle()
  for _ = 1, 10 do fern.sleep(0) end
end

local function finish(...)
  for _, object in ipairs { ... } do object:close() end
end

local function results_of(thread) return table.pack(thread:join(SOON)) end

-- A server that tells nobody anything, and its port.
local function silent()
  local server = assert(socket.bind("127.0.0.1", 0))
  return server, (select(2, server:getsockname()))
end

describe("a socket among threads", function()
  it("parks only the thread that waits", function()
    local client, peer = pair()
    local order = {}
    local reader = fern.spawn(function()
      order[#order + 1] = "begins"
      local line = peer:receive()
      order[#order + 1] = line
    end)
    settle()
    order[#order + 1] = "others run"
    client:send("line\n")
    reader:wait(SOON)
    assert.are.same({ "begins", "others run", "line" }, order)
    finish(client, peer)
  end)

  it("is read by one thread and written by another", function()
    local client, peer = pair()
    local text = ("0123456789"):rep(200000)
    local echo = fern.spawn(function()
      local data = assert(peer:receive(#text))
      return peer:send(data)
    end)
    local writer = fern.spawn(client.send, client, text)
    assert.are.equal(text, (client:receive(#text)))
    assert.are.equal(#text, writer:wait(SOON))
    assert.are.equal(#text, echo:wait(SOON))
    finish(client, peer)
  end)

  it("tells a second reader that it is in use, and the first one gets all", function()
    local client, peer = pair()
    local reader = fern.spawn(peer.receive, peer)
    settle()
    assert.are.same({ nil, "Device or resource busy", "" }, { peer:receive() })
    assert.are.same({ nil, "Device or resource busy", "pre" }, { peer:receive(10, "pre") })
    client:send("whole\n")
    assert.are.equal("whole", reader:wait(SOON))
    finish(client, peer)
  end)

  it("serves many connections, each with its thread", function()
    local server, port = silent()
    local acceptor = fern.spawn(function()
      for _ = 1, 50 do
        local peer = assert(server:accept())
        fern.spawn(function()
          local _ <close> = peer
          repeat
            local line = peer:receive()
            if line then peer:send(line:upper() .. "\n") end
          until not line
        end)
      end
    end)
    local pool = fern.pool(50)
    local answers = pool:map(function(i)
      local client <close> = assert(socket.connect("127.0.0.1", port))
      client:send("line " .. i .. "\r\n")
      return client:receive()
    end, (function() local list = {} for i = 1, 50 do list[i] = i end return list end)())
    for i = 1, 50 do assert.are.equal("LINE " .. i, answers[i]) end
    acceptor:wait(SOON)
    server:close()
  end)

  it("waits inside a coroutine, a sort and a gsub", function()
    local client, peer = pair()
    fern.spawn(function()
      for i = 1, 20 do
        fern.sleep(0)
        client:send(i .. "\n")
      end
    end)
    assert.are.equal("1", coroutine.wrap(function() return peer:receive() end)())
    assert.are.equal("2-3", (("x-x"):gsub("x", function() return (peer:receive()) end)))
    local list = { 3, 1, 2 }
    table.sort(list, function(a, b) peer:receive() return a < b end)
    assert.are.same({ 1, 2, 3 }, list)
    finish(client, peer)
  end)

  it("breathes: a thread with data always there starves nobody", function()
    local client, peer = pair()
    local writer = fern.spawn(function()
      while client:send(("x"):rep(1000)) do fern.sleep(0) end
    end)
    local reads, other = 0, 0
    fern.spawn(function()
      for _ = 1, 100 do
        other = other + 1
        fern.sleep(0)
      end
      peer:close()
    end)
    peer:settimeout(0)
    repeat
      local _, err = peer:receive(1)
      reads = reads + 1
    until err == "closed"
    assert.are.equal(100, other)
    writer:kill()
    writer:join(SOON)
    client:close()
  end)
end)

describe("a socket's wait", function()
  local waits = {
    { "receive", function(_, peer) return peer:receive() end, { nil, "closed", "" } },
    { "receive of all", function(_, peer) return peer:receive("*a") end, { nil, "closed", "" } },
    { "send", function(_, peer)
      local last, err = peer:send(("x"):rep(50000000))
      return last, err
    end, { nil, "closed" } },
    { "accept", function(server) return server:accept() end, { nil, "closed" } },
  }

  for _, wait in ipairs(waits) do
    local name, call, closed = table.unpack(wait)

    local function begin(after)
      local client, peer = pair()
      local server = silent()
      local thread = fern.spawn(function()
        if after then return after(call, server, peer) end
        return call(server, peer)
      end)
      settle()
      return thread, client, peer, server
    end

    it("is ended by a close in another thread: " .. name, function()
      local thread, client, peer, server = begin()
      finish(peer, server)
      assert.are.same({ true, table.unpack(closed, 1, 3) }, { table.unpack(results_of(thread), 1, 4) })
      client:close()
    end)

    it("is ended by a kill: " .. name, function()
      local thread, client, peer, server = begin()
      thread:kill("enough")
      local ok, err = thread:join(SOON)
      assert.is_false(ok)
      assert.is_true(fern.is_killed(err))
      finish(client, peer, server)
    end)

    it("is ended by a deadline, which is raised: " .. name, function()
      local thread, client, peer, server = begin(function(fn, ...)
        return fern.timeout(0.02, fn, ...)
      end)
      assert.are.same({ true, nil, "timeout", "ETIMEDOUT", n = 4 }, results_of(thread))
      finish(client, peer, server)
    end)
  end

  it("takes nothing when it is killed or out of its deadline's time", function()
    local client, peer = pair()
    client:send("half a line")
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.02, peer.receive, peer) })
    local thread = fern.spawn(peer.receive, peer, 100)
    settle()
    thread:kill()
    thread:join(SOON)
    assert.is_true(peer:dirty())
    client:send(", and the rest\r\n")
    assert.are.equal("half a line, and the rest", (peer:receive()))
    finish(client, peer)
  end)

  it("is closed under a half that came: it is told with the failure", function()
    local client, peer = pair()
    client:send("half")
    local thread = fern.spawn(peer.receive, peer)
    settle()
    fern.sleep(0.01)
    peer:close()
    assert.are.same({ true, nil, "closed", "half", n = 4 }, results_of(thread))
    client:close()
  end)

  it("never meets the next descriptor of that number", function()
    local client, peer = pair()
    local number = peer:getfd()
    local thread = fern.spawn(peer.receive, peer)
    settle()
    peer:close()
    local again, other = pair()
    assert.is_true(again:getfd() == number or other:getfd() == number)
    other:send("for somebody else\n")
    again:send("for somebody else\n")
    assert.are.same({ true, nil, "closed", "", n = 4 }, results_of(thread))
    finish(client, again, other)
  end)

  it("has its limit over the whole call, whatever trickles in", function()
    for _, mode in ipairs { "b", "t" } do
      local client, peer = pair()
      local writer = fern.spawn(function()
        while client:send("x") do fern.sleep(0.01) end
      end)
      peer:settimeout(0.1, mode)
      local line, err, partial = peer:receive()
      assert.are.same({ nil, "timeout" }, { line, err })
      assert.is_truthy(partial:find("^x+$"))
      finish(client, peer)
      writer:join(SOON)
    end
  end)

  it("yields in a loop that never waits", function()
    local client, peer = pair()
    local done
    fern.spawn(function()
      fern.sleep(0.01)
      client:send("late\n")
      done = true
    end)
    peer:settimeout(0)
    local line
    repeat line = peer:receive() until line
    assert.are.equal("late", line)
    assert.is_true(done)
    finish(client, peer)
  end)

  it("cannot happen in a finalizer", function()
    local client, peer = pair()
    local outcome
    fern.on_error(function() end)
    setmetatable({}, { __gc = function() outcome = table.pack(pcall(peer.receive, peer)) end })
    collectgarbage()
    assert.is_false(outcome[1])
    assert.is_truthy(outcome[2]:find("finalizer", 1, true))
    fern.sleep(0)
    finish(client, peer)
  end)
end)

describe("connect", function()
  it("is ended by a close in another thread", function()
    local sock = socket.tcp()
    local full = socket.tcp4()
    full:bind("127.0.0.1", 0)
    full:listen(0)              -- a queue that is full answers no more
    local _, port = full:getsockname()
    local others = {}
    for i = 1, 3 do
      others[i] = socket.tcp()
      others[i]:settimeout(0)
      others[i]:connect("127.0.0.1", port)
    end
    fern.sleep(0.02)
    local thread = fern.spawn(sock.connect, sock, "127.0.0.1", port)
    settle()
    sock:close()
    assert.are.same({ true, nil, "closed", n = 3 }, results_of(thread))
    sock:settimeout(0.05)
    assert.are.same({ nil, "timeout" }, { sock:connect("127.0.0.1", port) })
    thread = fern.spawn(sock.connect, sock, "127.0.0.1", port)
    sock:settimeout(nil)
    settle()
    thread:kill()
    assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.02, sock.connect, sock, "127.0.0.1", port) })
    finish(sock, full, table.unpack(others))
  end)

  it("takes the address that answers", function()
    local server = assert(socket.bind("127.0.0.1", 0))
    local _, port = server:getsockname()
    local client = assert(socket.connect("localhost", port))
    assert.are.equal("127.0.0.1", (client:getpeername()))
    finish(client, server)
  end)

  it("takes ports that are floats, and refuses those that are none", function()
    local server, port = silent()
    local client = socket.tcp()
    assert.are.equal(1, client:connect("127.0.0.1", port + 0.0))
    assert.are.same({ nil, "service not supported for socket type" }, { socket.connect("127.0.0.1", 65536 + port) })
    assert.are.same({ nil, "service not supported for socket type" }, { socket.connect("127.0.0.1", 0.5) })
    local datagrams = socket.udp4()
    assert.is_nil((datagrams:sendto("x", "127.0.0.1", 65536 + port)))
    assert.is_nil((datagrams:sendto("x", "127.0.0.1", ("%d"):format((1 << 32) + port))))
    datagrams:close()
    finish(client, server)
  end)

  it("keeps to the family that it is asked for", function()
    local server, port = silent()
    local client = assert(socket.connect4("localhost", port))
    assert.are.equal("127.0.0.1", (client:getpeername()))
    assert.are.same({ nil, "Address family for hostname not supported" }, { socket.connect6("127.0.0.1", port) })
    finish(client, server)
  end)

  it("sets options that were asked for before there was a descriptor", function()
    local server, port = silent()
    local client = socket.tcp()
    assert.are.equal(-1, client:getfd())
    assert.are.equal(1, client:setoption("tcp-nodelay", true))
    assert.are.equal(1, client:setoption("keepalive", false))
    assert.are.equal(1, client:setoption("keepalive", true))
    assert.are.equal(1, client:setoption("linger", { on = true, timeout = 0 }))
    assert.are.equal(1, client:connect("127.0.0.1", port))
    assert.is_true(client:getoption("tcp-nodelay"))
    assert.is_true(client:getoption("keepalive"))
    assert.is_true(client:getoption("linger").on)
    finish(client, server)
    local master = socket.tcp()
    master:setoption("reuseaddr", true)
    assert.are.equal(1, master:bind("127.0.0.1", 0))
    assert.is_true(master:getoption("reuseaddr"))
    master:close()
    assert.are.same({ nil, "setsockopt failed" }, { master:setoption("reuseaddr", true) })
  end)
end)

describe("select", function()
  it("lets the others run, and is ended by a kill and by a deadline", function()
    local client, peer = pair()
    local thread = fern.spawn(socket.select, { client, peer }, nil)
    settle()
    thread:kill()
    assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.02, socket.select, { client }) })
    fern.spawn(function() fern.sleep(0.01) client:send("x") end)
    local readable = socket.select({ client, peer })
    assert.are.equal(1, readable[peer])
    finish(client, peer)
  end)

  it("tells of all that are ready, in the order of the list, and not of the others", function()
    local clients, peers = {}, {}
    for i = 1, 4 do clients[i], peers[i] = pair() end
    for _, i in ipairs { 4, 1, 3 } do clients[i]:send("x") end
    for i = 1, 4 do if i ~= 2 then socket.select({ peers[i] }, nil, SOON) end end
    local readable, writable, message = socket.select(peers, { clients[2] }, SOON)
    assert.are.same({ peers[1], peers[3], peers[4] }, { table.unpack(readable) })
    assert.are.same({ 1, 2, 3 }, { readable[peers[1]], readable[peers[3]], readable[peers[4]] })
    assert.are.same({ clients[2] }, { table.unpack(writable) })
    assert.is_nil(message)
    finish(table.unpack(clients))
    finish(table.unpack(peers))
  end)

  it("tells several threads of the same socket", function()
    local client, peer = pair()
    local threads = {}
    for i = 1, 3 do threads[i] = fern.spawn(socket.select, { peer }) end
    settle()
    client:send("x\n")
    for _, thread in ipairs(threads) do assert.are.equal(peer, thread:wait(SOON)[1]) end
    assert.are.equal("x", (peer:receive()))
    finish(client, peer)
  end)

  it("goes on waiting when another thread has read what it was woken for", function()
    local client, peer = pair()
    local reader = fern.spawn(peer.receive, peer)
    local selecting = fern.spawn(socket.select, { peer })
    settle()
    client:send("x\n")
    assert.are.equal("x", reader:wait(SOON))
    client:send("y\n")
    assert.are.equal(peer, selecting:wait(SOON)[1])
    assert.are.equal("y", (peer:receive()))
    finish(client, peer)
  end)

  it("tells of a socket that is closed under it", function()
    local client, peer = pair()
    local thread = fern.spawn(socket.select, { client, peer })
    settle()
    peer:close()
    assert.is_number(thread:wait(SOON)[peer])
    client:close()
  end)

  it("has no limit at descriptor 1024", function()
    local server, port = silent()
    local clients = {}
    local limit = socket._SETSIZE
    if limit < 1200 then return finish(server) end
    for i = 1, 1050 do clients[i] = assert(socket.udp4()) end
    local client = assert(socket.connect("127.0.0.1", port))
    assert.is_true(client:getfd() > 1024)
    local _, writable = socket.select({ client }, { client }, SOON)
    assert.are.equal(1, writable[client])
    assert.are.equal("timeout", (select(3, socket.select(clients, nil, 0.01))))
    finish(client, server, table.unpack(clients))
  end)
end)

describe("names", function()
  it("are looked up while the others run", function()
    local ran
    fern.spawn(function() ran = true end)
    assert.are.equal("127.0.0.1", (socket.dns.toip("localhost")))
    assert.is_true(ran)
  end)

  it("may be given up", function()
    local thread = fern.spawn(socket.dns.toip, "no.such.host.invalid")
    settle()
    thread:kill()
    thread:join(SOON)
  end)
end)

describe("datagrams", function()
  it("come to the thread that waits for them", function()
    local one, two = socket.udp(), socket.udp()
    one:setsockname("127.0.0.1", 0)
    local _, port = one:getsockname()
    local thread = fern.spawn(one.receivefrom, one)
    settle()
    two:sendto("hello", "127.0.0.1", port)
    local data, ip, from = thread:wait(SOON)
    assert.are.same({ "hello", "127.0.0.1", (select(2, two:getsockname())) }, { data, ip, from })
    finish(one, two)
  end)

  it("end with what is closed, and are not taken for empty ones", function()
    local one = socket.udp4()
    one:setsockname("127.0.0.1", 0)
    local thread = fern.spawn(one.receive, one)
    settle()
    one:close()
    assert.are.same({ true, nil, "closed", n = 3 }, results_of(thread))
    assert.are.same({ nil, "closed" }, { one:receive() })
    assert.are.same({ nil, "closed" }, { one:receivefrom() })
  end)

  it("of a size that nobody has are refused", function()
    local one = socket.udp4()
    for _, size in ipairs { -1, 0 / 0, math.huge, 1e15 } do
      assert.are.same({ nil, "out of memory" }, { one:receive(size) })
    end
    one:close()
  end)
end)

describe("Unix sockets", function()
  it("may have an abstract name", function()
    local name = ("\0fern-%d"):format(math.random(1 << 40))
    local server = unix()
    assert.are.equal(1, server:bind(name))
    assert.are.equal(name, server:getsockname())
    server:listen()
    local thread = fern.spawn(server.accept, server)
    local client = unix.stream()
    assert.are.equal(1, client:connect(name))
    local peer = thread:wait(SOON)
    client:send("hello\n")
    assert.are.equal("hello", (peer:receive()))
    finish(client, peer, server)
  end)

  it("wait for a listener whose queue is full", function()
    local name = ("\0fern-%d"):format(math.random(1 << 40))
    local server = unix()
    server:bind(name)
    server:listen(0)
    local first, second, third = unix(), unix(), unix()
    assert.are.equal(1, first:connect(name))
    second:settimeout(0.03)
    assert.are.same({ nil, "timeout" }, { second:connect(name) })
    local thread = fern.spawn(third.connect, third, name)
    fern.sleep(0.02)
    local peer = server:accept()
    assert.are.equal(1, thread:wait(SOON))
    finish(first, second, third, peer, server)
  end)
end)

describe("a serial line", function()
  it("is a socket of its own class", function()
    local serial = require "fern.socket.serial"
    assert.are.same({ nil, "No such file or directory", 2 }, { serial("/no/such/line") })
    local line = assert(serial("/dev/ptmx"))
    assert.is_truthy(tostring(line):find("^serial{client}: "))
    line:settimeout(0.02)
    assert.are.same({ nil, "timeout", "" }, { line:receive() })
    assert.are.equal(1, line:close())
  end)
end)

describe("an object", function()
  it("that is collected is closed", function()
    local client, peer = pair()
    getmetatable(client).__index.settimeout(client, SOON)
    client = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    peer:settimeout(SOON)
    assert.are.same({ nil, "closed", "" }, { peer:receive() })
    peer:close()
  end)

  it("that is left open is closed by the script's end, and by fern's", function()
    local output, code = script.run_text("", [[
      local fern <close> = require "fern"
      local socket = require "fern.socket"
      local server = assert(socket.bind("127.0.0.1", 0))
      fern.spawn(server.accept, server)
      fern.sleep(0)
      local late = setmetatable({}, { __gc = function() print(server:getfd(), server:close()) end })
    ]])
    assert.are.equal(0, code, output)
    assert.are.equal("-1\t1\n", output)
  end)

  it("does not block with a descriptor that would", function()
    local system = require "spec.support.unix"
    local one, other = system.socketpair()
    local client, peer = pair()
    client:close()
    client:setfd(one)
    client:settimeout(0)
    assert.are.same({ nil, "timeout", "" }, { client:receive() })
    system.close(other)
    finish(client, peer)
  end)

  it("gives up what LuaSec takes", function()
    local client, peer = pair()
    local number = client:getfd()
    client:settimeout(0)
    client:receive()
    client:setfd(-1)
    assert.are.equal(-1, client:getfd())
    local other = socket.tcp()
    other:setfd(number)
    finish(other, peer, client)
  end)
end)

-- SPDX-License-Identifier: MIT
-- Servers: handlers that fail, stall and stop their own server, and every way to end.

local fern = require "fern"
local net = require "fern.net"
local script = require "spec.support.script"

local SOON <const> = 30

-- A server that runs: the object, its thread, and a function that connects to it.
local function start(handler, options)
  local listener = assert(net.listen("127.0.0.1", 0))
  local _, port = listener:address()
  local server = net.server(listener, handler, options)
  local thread = fern.spawn(server.serve, server)
  fern.sleep(0)
  return server, thread, function()
    return net.connect("127.0.0.1", port, { timeout = SOON })
  end
end

local function stop(server, thread, timeout)
  assert.is_true(server:stop(timeout))
  assert.are.same({ true, n = 1 }, table.pack(thread:wait(SOON)))
end

local function check_closed(connection)
  local data, message, code = connection:read(1, SOON)
  assert.are.same({ nil, "closed", "EPIPE" }, { data, message, code })
  connection:close()
end

local function check_refused(connect)
  assert.are.same({ nil, "connection refused", "ECONNREFUSED" }, { connect() })
end

local function wait_until(condition)
  local limit = fern.now() + SOON
  while not condition() do
    assert.is_true(fern.now() < limit)
    fern.sleep(0.001)
  end
end

local function echo(connection)
  for line in connection:lines() do connection:write(line, "\n") end
end

describe("a server", function()
  it("calls the handler with each connection and where it comes from", function()
    local seen = {}
    local server, thread, connect = start(function(connection, host, port)
      seen[#seen + 1] = { connection:peer() }
      assert.are.same(seen[#seen], { host, port })
      echo(connection)
    end)
    local clients = {}
    for i = 1, 50 do
      clients[i] = assert(connect())
      clients[i]:write("line ", i, "\n")
    end
    for i = 1, 50 do assert.are.equal("line " .. i, clients[i]:read("l", SOON)) end
    assert.are.equal(50, server:statistics().connections)
    for i = 1, 50 do clients[i]:close() end
    stop(server, thread)
    assert.are.equal(50, #seen)
    assert.are.equal(50, server:statistics().accepted)
  end)

  it("closes a connection when its handler returns, or fails", function()
    local problems = {}
    local server, thread, connect = start(function(connection)
      if connection:read("l") == "fail" then error { "my own" } end
    end, { on_error = function(...) problems[#problems + 1] = { ... } end })
    for _, word in ipairs { "fail", "return", "fail" } do
      local client = assert(connect())
      client:write(word, "\n")
      check_closed(client)
    end
    stop(server, thread)
    assert.are.equal(2, #problems)
    assert.are.same({ "my own" }, problems[1][1])
    assert.is_truthy(problems[1][2]:find("server_spec.lua", 1, true))
    assert.is_truthy(tostring(problems[1][3]):find("fern.thread"))
  end)

  it("tells fern.on_error of a handler that fails, and goes on", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local net = require "fern.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      fern.on_error(function(problem, traceback) print(problem, traceback:find("handler") ~= nil) end)
      local server = net.server(listener, function(connection)
        local function handler() error("oops", 0) end
        handler()
      end)
      fern.spawn(server.serve, server)
      for _ = 1, 2 do
        local client <close> = assert(net.connect("127.0.0.1", port))
        print(client:read("l"))
      end
      server:stop()
    ]])
    assert.are.equal(("nil\tclosed\tEPIPE\n"):rep(2) .. ("oops\ttrue\n"):rep(2), output)
    assert.are.equal(0, code)
  end)

  it("has no more at once than it may", function()
    local now, most = 0, 0
    local server, thread, connect = start(function(connection)
      now = now + 1
      most = math.max(most, now)
      connection:write(connection:read("L"))
      now = now - 1
    end, { max = 3 })
    local clients = {}
    for i = 1, 10 do clients[i] = assert(connect()) end
    wait_until(function() return now == 3 end)
    for i = 1, 10 do
      clients[i]:write("x\n")
      assert.are.equal("x", clients[i]:read("l", SOON))
      check_closed(clients[i])
    end
    assert.are.equal(3, most)
    stop(server, thread)
  end)

  it("gives up on those who say nothing for too long", function()
    local outcome
    local server, thread, connect = start(function(connection)
      outcome = { connection:read("l") }
    end, { timeout = 0.01 })
    local client = assert(connect())
    check_closed(client)
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, outcome)
    stop(server, thread)
  end)

  it("closes what a killed handler has handed on", function()
    local kept
    local server, thread, connect = start(function(connection)
      kept = connection
      fern.sleep(3600)
    end)
    local client = assert(connect())
    wait_until(function() return kept end)
    stop(server, thread, 0)
    assert.is_truthy(tostring(kept):find("closed"))
    check_closed(client)
  end)

  it("serves Unix sockets, and whatever else has accept and close", function()
    local listener = assert(net.listen_unix("@"))
    local name = listener:address()
    local wrapped = {
      accept = function(_, ...) return listener:accept(...) end,
      close = function() return listener:close() end,
    }
    local server = net.server(wrapped, echo)
    local thread = fern.spawn(server.serve, server)
    local client = assert(net.connect_unix(name))
    client:write("x\n")
    assert.are.equal("x", client:read("l", SOON))
    client:close()
    stop(server, thread)
  end)
end)

describe("a server's end", function()
  local function stuck(connection) return connection:read("a") end

  it("lets those who are there finish, and nobody else in", function()
    local server, thread, connect = start(echo)
    local client = assert(connect())
    client:write("x\n")
    assert.are.equal("x", client:read("l", SOON))
    local stopper = fern.spawn(server.stop, server)
    fern.sleep(0)
    check_refused(connect)
    client:write("y\n")
    assert.are.equal("y", client:read("l", SOON))
    assert.are.equal("waiting", stopper:status())
    client:close()
    assert.is_true(stopper:wait(SOON))
    assert.is_true(thread:wait(SOON))
  end)

  it("kills those who stay too long", function()
    local ends = {}
    local server, thread, connect = start(function(connection)
      local _ <close> = setmetatable({}, { __close = function(_, problem)
        ends[#ends + 1] = fern.is_killed(problem)
      end })
      connection:read("a")
    end, { on_error = function() ends = "a kill is no error" end })
    local clients = { assert(connect()), assert(connect()) }
    wait_until(function() return server:statistics().connections == 2 end)
    fern.sleep(0.005)
    stop(server, thread, 0.005)
    assert.are.same({ true, true }, ends)
    for _, client in ipairs(clients) do check_closed(client) end
  end)

  it("comes from inside a handler", function()
    local server, thread, connect
    local order = {}
    server, thread, connect = start(function(connection)
      connection:read("l")
      order[#order + 1] = server:stop(SOON)
      connection:write("goodbye\n")
      order[#order + 1] = "goodbye"
    end)
    local client = assert(connect())
    client:write("stop\n")
    assert.are.equal("goodbye", client:read("l", SOON))
    check_closed(client)
    assert.is_true(thread:wait(SOON))
    assert.are.same({ true, "goodbye" }, order)
    check_refused(connect)
  end)

  it("begins in a finalizer, too, though nothing can wait there", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local server = net.server(listener, print)
    local thread = fern.spawn(server.serve, server)
    fern.sleep(0)
    local ok, problem
    fern.on_error(function() end)       -- the misuse is told there, too
    setmetatable({}, { __gc = function() ok, problem = pcall(server.stop, server) end })
    collectgarbage()
    assert.is_false(ok)
    assert.is_truthy(problem:find("finalizer"), problem)
    assert.is_true(thread:wait(SOON))
    fern.sleep(0)
  end)

  it("is brought forward by a second stop", function()
    local server, thread, connect = start(stuck)
    local client = assert(connect())
    wait_until(function() return server:statistics().connections == 1 end)
    local first = fern.spawn(server.stop, server, 3600)
    fern.sleep(0)
    assert.is_true(server:stop(0))
    assert.is_true(first:wait(SOON))
    assert.is_true(thread:wait(SOON))
    check_closed(client)
  end)

  it("comes with a kill of the thread that runs it", function()
    local server, thread, connect = start(stuck)
    local client = assert(connect())
    wait_until(function() return server:statistics().connections == 1 end)
    thread:kill()
    assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
    assert.are.equal(0, server:statistics().connections)
    check_closed(client)
    check_refused(connect)
    assert.is_true(server:stop())
  end)

  it("comes with a deadline around it", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local client = assert(net.connect("127.0.0.1", port))
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.02, net.serve, listener, stuck) })
    local data, _, code = client:read(1, SOON)
    assert.is_nil(data)
    assert.is_truthy(code == "EPIPE" or code == "ECONNRESET")   -- or it was never accepted
    client:close()
  end)

  it("comes with the end of its listener, once all have gone", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local thread = fern.spawn(net.serve, listener, echo)
    local client = assert(net.connect("127.0.0.1", port))
    client:write("x\n")
    assert.are.equal("x", client:read("l", SOON))
    listener:close()
    fern.sleep(0.005)
    assert.are.equal("waiting", thread:status())
    client:close()
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { thread:wait(SOON) })
  end)

  -- The accept loop itself stops it, right after it has spawned the handler.
  it("closes those whose handlers never began", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local client = assert(net.connect(listener:address()))
    local begun, server = 0, nil
    local wrapped = { close = function() return listener:close() end }
    wrapped.accept = function()
      if server:statistics().accepted == 1 then assert.is_true(server:stop(0)) end
      return listener:accept()
    end
    server = net.server(wrapped, function() begun = begun + 1 end)
    assert.is_true(server:serve())
    assert.are.equal(0, begun)
    check_closed(client)
  end)

  it("may come before it has begun", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local server = net.server(listener, echo)
    assert.is_true(server:stop())
    assert.is_true(server:serve())
    assert.is_truthy(tostring(server):find("stopped"))
    assert.is_truthy(tostring(listener):find("closed"))
  end)

  it("comes with the block that it stands in", function()
    local started, thread, connect = start(stuck)
    local client
    do
      local server <close> = started
      client = assert(connect())
      wait_until(function() return server:statistics().connections == 1 end)
    end
    check_refused(connect)
    check_closed(client)
    assert.is_true(thread:wait(SOON))
  end)

  it("unwinds its handlers at the end of a script", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local net = require "fern.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      fern.spawn(net.serve, listener, function(connection)
        local _ <close> = setmetatable({}, { __close = function() print("unwound") io.stdout:flush() end })
        connection:read("a")
      end)
      client = assert(net.connect("127.0.0.1", port))
      for _ = 1, 10 do fern.sleep(0.001) end
    ]])
    assert.are.equal("unwound\n", output)
    assert.are.equal(0, code)
  end)
end)

describe("a server out of descriptors", function()
  it("waits until there are some again", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local net = require "fern.net"
      local unix = require "spec.support.unix"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      local client = assert(net.connect("127.0.0.1", port))
      local free, other = unix.pipe()
      unix.close(free)
      unix.close(other)
      assert(unix.limit("files", free))
      local server = net.server(listener, function(connection)
        connection:write(connection:read("L"))
      end)
      fern.spawn(server.serve, server)
      while server:statistics().short_of < 3 do fern.sleep(0.001) end
      print(server:statistics().accepted)
      assert(unix.limit("files", 1024))
      client:write("it goes on\n")
      print(client:read("l"))
      server:stop()
    ]])
    assert.are.equal("0\nit goes on\n", output)
    assert.are.equal(0, code)
  end)
end)

-- A sanitizer's shadow memory needs all the address space there is.
local flavour = os.getenv "FLAVOUR"
local may_limit = not (flavour == "asan" or flavour == "tsan" or flavour == "valgrind")

describe("a server out of memory", function()
  (may_limit and it or pending)("lets the next one go, and goes on", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local net = require "fern.net"
      local unix = require "spec.support.unix"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      local server = net.server(listener, function(connection)
        connection:write(connection:read("L") or "")
      end)
      fern.spawn(server.serve, server)
      unix.limit("memory", 300 << 20)
      local clients, last = {}, nil
      while server:statistics().short_of == 0 do
        clients[#clients + 1], last = last, assert(net.connect("127.0.0.1", port))
        fern.sleep(0)
      end
      print(select("#", last:read(nil, 30)))
      for _, client in ipairs(clients) do client:close() end
      while server:statistics().connections > 0 do fern.sleep(0.001) end
      local client = assert(net.connect("127.0.0.1", port))
      client:write("it goes on\n")
      print(client:read("l"))
      server:stop()
    ]])
    assert.are.equal("3\nit goes on\n", output)
    assert.are.equal(0, code)
  end)
end)

describe("misuse of servers", function()
  local function check_raises(pattern, fn, ...)
    local ok, problem = pcall(fn, ...)
    assert.is_false(ok)
    assert.is_truthy(tostring(problem):find(pattern), tostring(problem))
  end

  it("is raised", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    for _, fn in ipairs { net.serve, net.server } do
      check_raises("listener expected", fn)
      check_raises("listener expected", fn, 5, print)
      check_raises("listener expected", fn, {}, print)
      check_raises("function expected", fn, listener)
      check_raises("function expected", fn, listener, {})
      check_raises("table expected", fn, listener, print, 5)
      check_raises("unknown option 'colour'", fn, listener, print, { colour = 1 })
      for _, max in ipairs { -1, 0.5, 0 / 0, "7", true } do
        check_raises("bad option 'max'", fn, listener, print, { max = max })
      end
      check_raises("bad option 'on_error'", fn, listener, print, { on_error = 1 })
      check_raises("bad option 'timeout'", fn, listener, print, { timeout = "1" })
    end
    local server = net.server(listener, print, { max = 1e9, on_error = print, timeout = 1 })
    check_raises("number of seconds", server.stop, server, "soon")
    check_raises("number of seconds", server.stop, server, 0 / 0)
    assert.is_truthy(tostring(server):find("new"))
    assert.is_true(server:close())
    assert.is_true(server:close())
    assert.is_true(server:serve())
    check_raises("has been run", server.serve, server)
  end)
end)

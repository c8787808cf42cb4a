-- SPDX-License-Identifier: MIT
-- What is wrong with a call is told at the line of whoever called fern, and named as they
-- know it, wherever in fern's own files it is found.

local fern = require "fern"
local fs = require "fern.fs"
local net = require "fern.net"
local process = require "fern.process"
local signal = require "fern.signal"

local HERE <const> = debug.getinfo(1, "S").short_src

-- What fn(...) raises, without the place; that has to be in this file.
local function complaint(fn, ...)
  local ok, problem = pcall(function(...)
    local result = fn(...)
    return result
  end, ...)
  assert.is_false(ok)
  local place, message = problem:match("^(.-):%d+: (.*)$")
  assert.are.equal(HERE, place, problem)
  return message
end

local function listener() return assert(net.listen("127.0.0.1", 0)) end

describe("misuse is told at the caller's line, with the caller's words,", function()
  it("of servers", function()
    local plain <close> = listener()
    assert.are.equal("bad argument #1 to 'serve' (listener expected, got number)", complaint(net.serve, 8000, print))
    assert.are.equal("bad argument #2 to 'server' (function expected, got nil)", complaint(net.server, plain))
    assert.are.equal("bad argument #3 to 'serve' (unknown option 'maxx')", complaint(net.serve, plain, print, { maxx = 1 }))
    assert.are.equal("bad option 'max' (a count of 0 or more expected)", complaint(net.serve, plain, print, { max = "1" }))
    local server = net.server(plain, print)
    assert.are.equal("bad argument #1 to 'stop' (a number of seconds expected)", complaint(server.stop, server, "1"))
  end)

  it("of programs", function()
    assert.are.equal("bad argument #1 to 'run' (table expected, got string)", complaint(process.run, "ls"))
    assert.are.equal("bad argument #1 to 'spawn' (table expected, got nil)", complaint(process.spawn))
    assert.are.equal("unknown option 'timout'", complaint(process.run, { "ls", timout = 1 }))
    assert.are.equal("unknown option 'timout'", complaint(process.shell, "ls", { timout = 1 }))
    assert.are.equal("bad argument #2 to 'shell' (table expected, got number)", complaint(process.shell, "ls", 5))
    assert.are.equal("bad option 'stdout' (invalid option 'pip')", complaint(process.run, { "ls", stdout = "pip" }))
    assert.are.equal("bad option 'fds' (stream expected, got string)", complaint(process.spawn, { "ls", fds = { [5] = "x" } }))
  end)

  it("of what a program would not have got", function()
    assert.are.equal("item 2 of the program and its arguments: string expected, got nil",
      complaint(process.run, { "echo", nil, "x" }))
    assert.are.equal("'run' takes one table: options stand beside the program's name",
      complaint(process.run, { "sleep", "1" }, { timeout = 1 }))
    assert.are.equal("options 'input' and 'stdin' exclude each other",
      complaint(process.run, { "cat", input = "x", stdin = "null" }))
  end)

  it("of pipes as Lua has them", function()
    local pipe <close> = process.popen("true")
    assert.are.equal("bad argument #1 to 'read' (invalid format)", complaint(pipe.read, pipe, "q"))
  end)

  it("of signals", function()
    assert.are.equal("bad argument #1 to 'wait' (no such signal)", complaint(signal.wait, "NOPE"))
    assert.are.equal("bad argument #2 to 'wait' (number expected, got string)", complaint(signal.wait, "USR2", "x"))
    assert.are.equal("bad argument #1 to 'on' (string expected, got function)", complaint(signal.on, print, "TERM"))
    assert.are.equal("bad argument #1 to 'ignore' (this signal cannot be caught or ignored)", complaint(signal.ignore, "KILL"))
    signal.default("USR2")
  end)

  it("of files", function()
    assert.are.equal("bad argument #1 to 'copy' (string expected, got nil)", complaint(fs.copy, nil, "x"))
    assert.are.equal("bad argument #2 to 'copy' (string expected, got nil)", complaint(fs.copy, "x"))
    assert.are.equal("bad argument #1 to 'walk' (string expected, got nil)", complaint(fs.walk))
    assert.are.equal("bad option 'timeout' (number expected, got string)", complaint(fs.temp_file, { timeout = "x" }))
  end)

  it("of patches", function()
    assert.are.equal("bad argument #1 to 'patch' (table of names expected, got string)", complaint(fern.patch, "socket"))
    assert.are.equal("bad argument #1 to 'patch' (there is no 'sockets' to patch)", complaint(fern.patch, { "sockets" }))
    assert.are.equal("bad argument #1 to 'patch' (an array of names expected, such as { \"socket\" })",
      complaint(fern.patch, { socket = true }))
  end)
end)

describe("misuse of TLS is told at the caller's line, with the caller's words,", function()
  local has_tls, tls = pcall(require, "fern.tls")
  if not has_tls then return end

  it("of clients", function()
    assert.are.equal("bad argument #2 to 'connect' (port expected, got nil)", complaint(tls.connect, "localhost"))
    assert.are.equal("bad argument #3 to 'connect' (table expected, got number)", complaint(tls.connect, "localhost", 1, 5))
    assert.are.equal("bad argument #3 to 'connect' (unknown option 'timout')",
      complaint(tls.connect, "localhost", 1, { timout = 5 }))
    assert.are.equal("bad argument #3 to 'connect' (unknown option 'nodelai')",
      complaint(tls.connect, "localhost", 1, { connect = { nodelai = true } }))
    assert.are.equal("bad argument #1 to 'wrap' (stream expected, got nil)", complaint(tls.wrap, nil, { host = "x" }))
    assert.are.equal("bad option 'context' (fern.tls.context expected, got FILE*)",
      complaint(tls.connect, "localhost", 1, { context = io.stdout }))
    local nobody = tls.context { server = true, sni = function() return false end }
    assert.are.equal("bad argument #3 to 'connect' (a client's context expected)",
      complaint(tls.connect, "localhost", 1, { context = nobody }))
  end)

  it("of servers", function()
    local plain <close> = listener()
    assert.are.equal("a server needs the option 'certificate'", complaint(tls.listen, "127.0.0.1", 0))
    assert.are.equal("bad option 'sni' (it is for a server)", complaint(tls.context, { sni = {} }))
    assert.are.equal("bad argument #3 to 'listen' (unknown option 'cert')",
      complaint(tls.listen, "127.0.0.1", 0, { cert = "a.pem" }))
    assert.are.equal("bad argument #3 to 'listen' (a server's context expected)",
      complaint(tls.listen, "127.0.0.1", 0, tls.context {}))
    local nobody = assert(tls.listen("127.0.0.1", 0, { sni = function() return false end }))
    assert.are.equal("bad argument #1 to 'accept' (number expected, got string)", complaint(nobody.accept, nobody, "x"))
    nobody:close()
    assert.are.equal("bad argument #1 to 'listener' (listener expected, got number)", complaint(tls.listener, 5, {}))
    assert.are.equal("bad argument #1 to 'serve' (a listener of tls.listen expected, got one without TLS)",
      complaint(tls.serve, plain, print))
    local own = { accept = print, close = print }
    assert.are.equal("bad argument #2 to 'serve' (function expected, got nil)", complaint(tls.serve, own))
    assert.are.equal("bad option 'on_handshake_error' (function expected, got number)",
      complaint(tls.serve, own, print, { on_handshake_error = 1 }))
  end)
end)

describe("a function of a module that is called with a colon", function()
  it("says so", function()
    assert.are.equal("'run' is called with a dot, not with a colon", complaint(process.run, process, { "ls" }))
    assert.are.equal("'shell' is called with a dot, not with a colon", complaint(process.shell, process, "ls"))
    local has_http, http = pcall(require, "fern.http")
    if has_http then
      assert.are.equal("'get' is called with a dot, not with a colon", complaint(http.get, http, "http://x/"))
    end
    local has_tls, tls = pcall(require, "fern.tls")
    if has_tls then
      assert.are.equal("'connect' is called with a dot, not with a colon", complaint(tls.connect, tls, "x", 1))
    end
  end)
end)

describe("a method that is called with a dot", function()
  local has_http, http = pcall(require, "fern.http")
  if has_http then
    it("says so of a client of HTTP and of a jar", function()
      local client <close> = http.client()
      assert.are.equal("bad argument #1 to 'get' (fern.http.client expected, got string)", complaint(client.get, "http://x/"))
      assert.are.equal("bad argument #1 to 'list' (fern.http.cookies expected, got nil)", complaint(http.cookies().list))
    end)
  end

  it("says whose it is", function()
    local plain <close> = listener()
    local server = net.server(plain, print)
    assert.are.equal("bad argument #1 to 'stop' (fern.net.server expected, got number)", complaint(server.stop, 5))
    assert.are.equal("bad argument #1 to 'serve' (fern.net.server expected, got nil)", complaint(server.serve))
    local subscription <close> = signal.on("USR2", print)
    assert.are.equal("bad argument #1 to 'close' (fern.signal.subscription expected, got nil)", complaint(subscription.close))
  end)
end)

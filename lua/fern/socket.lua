-- SPDX-License-Identifier: MIT
-- socket: LuaSocket 3.1's own API on green sockets: whatever waits parks its thread
-- only. The sockets are in C; this file adds what LuaSocket has in Lua. Like
-- LuaSocket's, it is one table under both names, socket and socket.core.

require "fern"

local socket = require("fern.core").open_socket()

-- ---- errors that a protected function returns ----

-- What `try` raises is a table with this metatable, and nobody else's.
local raised = { __metatable = false }

local function is_raised(err)
  return type(err) == "table" and debug.getmetatable(err) == raised
end

local function finish(ok, ...)
  if ok then return ... end
  local err = ...
  if is_raised(err) then return nil, err[1] end
  error(err, 0)
end

-- A function that returns nil and what a `try` in `fn` was given; other errors pass.
function socket.protect(fn)
  return function(...) return finish(pcall(fn, ...)) end
end

-- A function that returns its arguments; if the first is false or nil, it calls
-- finalizer() and raises the second.
function socket.newtry(finalizer)
  return function(...)
    local first, err = ...
    if first then return ... end
    if finalizer then finalizer() end
    error(setmetatable({ err }, raised), 0)
  end
end

socket.try = socket.newtry()

function socket.skip(count, ...) return select(count + 1, ...) end

-- ---- TCP ----

function socket.connect4(host, port, local_host, local_port)
  return socket.connect(host, port, local_host, local_port, "inet")
end

function socket.connect6(host, port, local_host, local_port)
  return socket.connect(host, port, local_host, local_port, "inet6")
end

local function listen_at(address, port, backlog)
  local server, err = socket[address.family == "inet" and "tcp4" or "tcp6"]()
  if not server then return nil, err end
  server:setoption("reuseaddr", true)
  local ok
  ok, err = server:bind(address.addr, port)
  if ok then ok, err = server:listen(backlog) end
  if ok then return server end
  server:close()
  return nil, err
end

-- A server at the first address of the host that it can have.
function socket.bind(host, port, backlog)
  local addresses, err = socket.dns.getaddrinfo(host == "*" and "0.0.0.0" or host)
  if not addresses then return nil, err end
  local server
  err = "no info on address"
  for _, address in ipairs(addresses) do
    server, err = listen_at(address, port, backlog)
    if server then return server end
  end
  return nil, err
end

-- ---- sources and sinks of LTN12 ----

socket.BLOCKSIZE = 2048
socket.sourcet, socket.sinkt = {}, {}

-- A function that calls the one of `makers` whose name it is given, or else the
-- default one.
function socket.choose(makers)
  return function(name, ...)
    if type(name) ~= "string" then return socket.choose(makers)("default", name, ...) end
    local make = makers[name]
    if not make then error(("unknown key (%s)"):format(name), 3) end
    return make(...)
  end
end

-- Something to be called that select takes for the socket.
local function callable(sock, fn)
  return setmetatable({
    getfd = function() return sock:getfd() end,
    dirty = function() return sock:dirty() end,
  }, { __call = fn })
end

socket.sinkt["close-when-done"] = function(sock)
  return callable(sock, function(_, chunk)
    if chunk then return sock:send(chunk) end
    sock:close()
    return 1
  end)
end

socket.sinkt["keep-open"] = function(sock)
  return callable(sock, function(_, chunk)
    if chunk then return sock:send(chunk) end
    return 1
  end)
end

socket.sourcet["by-length"] = function(sock, length)
  return callable(sock, function()
    if length <= 0 then return nil end
    local chunk, err = sock:receive(math.min(socket.BLOCKSIZE, length))
    if err then return nil, err end
    length = length - #chunk
    return chunk
  end)
end

socket.sourcet["until-closed"] = function(sock)
  local done
  return callable(sock, function()
    if done then return nil end
    local chunk, err, partial = sock:receive(socket.BLOCKSIZE)
    if not err then return chunk end
    if err ~= "closed" then return nil, err end
    sock:close()
    done = true
    return partial
  end)
end

socket.sinkt["default"] = socket.sinkt["keep-open"]
socket.sourcet["default"] = socket.sourcet["until-closed"]
socket.sink = socket.choose(socket.sinkt)
socket.source = socket.choose(socket.sourcet)

return socket

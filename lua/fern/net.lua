-- SPDX-License-Identifier: MIT
-- net: TCP and Unix sockets: connections, listeners, names; and servers, which are
-- made here. See docs/modules/net.md.

local fern = require "fern"
local core = require("fern.core").net
local misuse = require "fern.misuse"

local MAX <const> = 1000                -- connections of a server at once

-- What passes when somebody gives something back.
local SHORT <const> = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }

local net = {}
for name, fn in pairs(core) do
  if name ~= "crowd" then net[name] = fn end
end

local server = { __name = "fern.net.server" }
server.__index = server

-- ---- a connection ----

local function with_traceback(problem)
  if fern.is_killed(problem) then return problem end
  return { problem = problem, traceback = debug.traceback(tostring(problem), 2) }
end

-- Its errors go to on_error, a kill goes on.
local function guarded(self, connection)
  local ok, problem = xpcall(self.handler, with_traceback, connection, connection:peer())
  if ok then return end
  if fern.is_killed(problem) then error(problem, 0) end
  self.on_error(problem.problem, problem.traceback, fern.current())
end

local function handle(self, connection)
  self.unhandled[connection] = nil
  local _ <close> = connection
  if self.on_error then
    guarded(self, connection)
  else
    self.handler(connection, connection:peer())
  end
end

-- ---- the accept loop ----

-- Accept one and start its thread: true, or nil, message, code.
local function serve_next(self)
  local connection, message, code = self.listener:accept()
  if not connection then return nil, message, code end
  self.accepted = connection
  if self.timeout then connection:settimeout(self.timeout) end
  self.unhandled[connection] = true
  return self.crowd:spawn(handle, self, connection)
end

-- One whose thread could not be started.
local function drop(self, connection)
  self.unhandled[connection] = nil
  connection:close()
end

-- Memory is what Lua raises for, and nothing else that passes.
local function attempt(self)
  local called, ok, message, code = pcall(serve_next, self)
  local accepted = self.accepted
  self.accepted = nil
  if accepted and not (called and ok) then drop(self, accepted) end
  if called then return ok, message, code end
  local short = type(ok) == "string" and ok:match("not enough memory$")
  if short then return nil, short, "ENOMEM" end
  error(ok, 0)
end

local function serve_all(self)
  local short = false
  while self.crowd:room(short) do
    local ok, message, code = attempt(self)
    short = not ok and SHORT[code] or false
    if not ok and self.stopped then return true end
    if not ok and not short then return nil, message, code end
  end
  return true
end

-- Whatever ends the loop ends its connections; those whose handlers never began, too.
local function finish(self)
  self.listener:close()
  self.crowd:finish(true)
  for connection in pairs(self.unhandled) do connection:close() end
  self.unhandled = {}
end

function server:serve()
  if self.begun then misuse.raise("the server has been run already") end
  self.begun = true
  local _ <close> = setmetatable({}, { __close = function() finish(self) end })
  local ok, message, code = serve_all(self)
  self.listener:close()
  self.crowd:finish(false)
  if ok then return true end
  return nil, message, code
end

-- ---- stop ----

function server:stop(timeout)
  if timeout ~= nil and (type(timeout) ~= "number" or timeout ~= timeout) then
    misuse.raise("bad argument #1 to 'stop' (a number of seconds expected)")
  end
  self.stopped = true
  self.listener:close()
  return self.crowd:stop(timeout)
end

function server:close() return self:stop(0) end
server.__close = server.close

function server:statistics() return self.crowd:statistics() end

misuse.methods(server)

function server:__tostring()
  local now = self.crowd:statistics()
  return ("fern.net.server (%s, %d connections)"):format(
    now.stopped and "stopped" or now.running and "running" or "new", now.connections)
end

-- ---- making one ----

local function callable(value)
  local meta = getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

local function has_methods(listener)
  local ok, accept, close = pcall(function() return listener.accept, listener.close end)
  return ok and accept and close
end

local function is_count(value)
  return math.type(value) and value >= 0 and value % 1 == 0 or value == math.huge
end

local CHECKS <const> = {
  max = { is_count, "a count of 0 or more" },
  on_error = { callable, "function" },
  timeout = { function(value) return type(value) == "number" and value == value end, "a number of seconds" },
}

local function check_options(name, options)
  if type(options) ~= "table" then
    misuse.raise("bad argument #3 to '%s' (table expected, got %s)", name, type(options))
  end
  for option, value in pairs(options) do
    local check = CHECKS[option]
    if not check then misuse.raise("bad argument #3 to '%s' (unknown option '%s')", name, tostring(option)) end
    if not check[1](value) then misuse.raise("bad option '%s' (%s expected)", option, check[2]) end
  end
end

local function new(name, listener, handler, options)
  options = options == nil and {} or options
  if not has_methods(listener) then
    misuse.raise("bad argument #1 to '%s' (listener expected, got %s)", name, type(listener))
  end
  if not callable(handler) then
    misuse.raise("bad argument #2 to '%s' (function expected, got %s)", name, type(handler))
  end
  check_options(name, options)
  return setmetatable({
    listener = listener, handler = handler, on_error = options.on_error,
    timeout = options.timeout, crowd = core.crowd(options.max or MAX), unhandled = {},
  }, server)
end

function net.server(listener, handler, options) return new("server", listener, handler, options) end

function net.serve(listener, handler, options)
  local self = new("serve", listener, handler, options)
  return self:serve()
end

return net

-- SPDX-License-Identifier: MIT
-- tls: TLS over connections and other streams, by OpenSSL. See docs/modules/tls.md.
--
--    local stream = assert(tls.connect("example.com", 443, { timeout = 10 }))
--    local stream = assert(tls.wrap(connection, { host = "example.com" }))
--    tls.serve(tls.listen("*", 443, { certificate = "a.pem", key = "a.key" }), handler)

local fern = require "fern"
local misuse = require "fern.misuse"
local net = require "fern.net"
local ok, core = pcall(require, "fern.tls.openssl")
if not ok then
  local why = core:find("'fern.tls.openssl' not found", 1, true) and "" or "\n" .. core
  error("fern.tls needs a fern built with OpenSSL 3"
    .. " (Debian: libssl-dev, Fedora: openssl-devel, Alpine: openssl-dev)" .. why, 0)
end

local tls = { context = core.context }

-- ---- options ----

-- What is of one connection; everything else is of its context.
local CHECKS <const> = {
  context = "fern.tls.context", host = "string", server_name = "string", session = "string",
  any_host = "boolean", tlsa = "table", timeout = "number", handshake = "boolean", connect = "table",
}

local function check(name, value)
  local kind = type(value) == "userdata" and (getmetatable(value) or {}).__name or type(value)
  if kind ~= CHECKS[name] then
    misuse.raise("bad option '%s' (%s expected, got %s)", name, CHECKS[name], kind)
  end
  if value ~= value then misuse.raise("bad option '%s' (a number of seconds expected)", name) end
end

-- The two kinds apart; the second is nil if there is none of them.
local function split(name, options, argument)
  if options ~= nil and type(options) ~= "table" then
    misuse.raise("bad argument #%d to '%s' (table expected, got %s)", argument, name, type(options))
  end
  local own, rest = {}, nil
  for option, value in pairs(options or {}) do
    if CHECKS[option] then
      check(option, value)
      own[option] = value
    else
      rest = rest or {}
      rest[option] = value
    end
  end
  if own.context and rest then
    misuse.raise("the option '%s' is of a context, which is given already", (next(rest)))
  end
  return own, rest
end

local usual                     -- the context of clients that say nothing of it

-- A context, or nil, message, code. What is wrong with the options is so with that
-- argument of `name`.
local function context_of(name, argument, own, rest)
  if own.context then return own.context end
  if own.tlsa then
    rest = rest or {}
    rest.dane = rest.dane or true
  end
  if rest then return misuse.call(name, { argument }, core.context, rest) end
  if usual then return usual end
  local made, message, code = core.context {}
  usual = usual or made
  return made, message, code
end

-- ---- streams ----

local function new_limit(timeout)
  local ends = timeout and fern.now() + timeout
  return function() return ends and ends - fern.now() end
end

local guard = { __close = function(self) if self.stream then self.stream:close() end end }

-- To be closed, before there is a stream to put into it: what comes next may lack memory.
local function new_guard() return setmetatable({ stream = false }, guard) end

-- What the DNS says of the host's certificate. Records that are of no use are left out.
local function add_records(stream, own)
  if not own.host then misuse.raise("the option 'tlsa' needs the option 'host'") end
  if not core.dane(stream, own.host) then misuse.raise("the option 'tlsa' needs a client's context with 'dane'") end
  for i, record in ipairs(own.tlsa) do
    local done, message = pcall(function() return core.tlsa(stream, table.unpack(record, 1, 4)) end)
    if not done then misuse.raise("bad option 'tlsa' (record %d: %s)", i, message) end
  end
end

-- A stream that is not handed out is closed, whatever the reason.
local function wrap(stream, context, own, left)
  local held <close> = new_guard()
  local wrapped, message, code =
    misuse.call("wrap", nil, core.wrap, stream, context, own.host, own.server_name, own.session, own.any_host)
  if not wrapped then return nil, message, code end
  held.stream = wrapped
  if own.tlsa then add_records(wrapped, own) end
  local shaken = true
  if own.handshake ~= false then shaken, message, code = wrapped:handshake(left()) end
  if not shaken then return nil, message, code end
  held.stream = false
  return wrapped
end

-- wrap(stream [, options]): TLS over a stream, which is gone then; as a client, or
-- with `server` or a server's context, as a server.
function tls.wrap(stream, options)
  local own, rest = split("wrap", options, 2)
  local left = new_limit(own.timeout)
  local context, message, code = context_of("wrap", 2, own, rest)
  if not context then return nil, message, code end
  return wrap(stream, context, own, left)
end

-- connect(host, port [, options]): a connection, and the handshake.
function tls.connect(host, port, options)
  misuse.check_dot("connect", tls, host)
  local own, rest = split("connect", options, 3)
  local left = new_limit(own.timeout)
  local context, message, code = context_of("connect", 3, own, rest)
  if not context then return nil, message, code end
  if context:is_server() then misuse.raise("bad argument #3 to 'connect' (a client's context expected)") end
  local connecting = {}
  for name, value in pairs(own.connect or {}) do connecting[name] = value end
  connecting.timeout = left() or connecting.timeout
  local held <close> = new_guard()
  local connection
  connection, message, code = misuse.call("connect", nil, net.connect, host, port, connecting)
  if not connection then return nil, message, code end
  held.stream = connection              -- which is empty once TLS has it
  own.host = own.host or host
  own.session = own.session or ("%s:%s"):format(host, port)
  return wrap(connection, context, own, left)
end

-- ---- listeners ----

local listener = core.listener
listener.__index = listener

-- The handshake is not made here, where it would hold up the next one: the first
-- call that reads or writes makes it.
function listener:accept(timeout)
  local plain = self.plain
  local connection, message, code = misuse.call("accept", misuse.METHOD, plain.accept, plain, timeout)
  if not connection then return nil, message, code end
  return core.wrap(connection, self.context)
end

function listener:address() return self.plain:address() end
function listener:close() return self.plain:close() end
listener.__close = listener.close

misuse.methods(listener)

function listener:__tostring()
  return ("%s over %s"):format(listener.__name, tostring(self.plain))
end

-- The context that is given, or one of the options; or nil, message, code.
local function context_of_server(name, argument, options)
  if type(options) ~= "userdata" then
    local own, rest = split(name, options, argument)
    if not own.context then
      rest = rest or {}
      rest.server = true
    end
    local context, message, code = context_of(name, argument, own, rest)
    if not context then return nil, message, code end
    options = context
  end
  local is_context, is_server = pcall(function() return options:is_server() end)
  if not is_context or not is_server then
    misuse.raise("bad argument #%d to '%s' (a server's context expected)", argument, name)
  end
  return options
end

-- listener(plain, options or context): a listener over one that there is, which it owns.
function tls.listener(plain, options)
  local has_fields, accept = pcall(function() return plain.accept end)
  if not has_fields or not accept then
    misuse.raise("bad argument #1 to 'listener' (listener expected, got %s)", type(plain))
  end
  local context, message, code = context_of_server("listener", 2, options)
  if not context then return nil, message, code end
  return setmetatable({ plain = plain, context = context }, listener)
end

-- listen(host, port, options or context [, net.listen's options])
function tls.listen(host, port, options, listening)
  misuse.check_dot("listen", tls, host)
  local context, message, code = context_of_server("listen", 3, options)
  if not context then return nil, message, code end
  local plain
  plain, message, code = misuse.call("listen", { [3] = 4 }, net.listen, host, port, listening)
  if not plain then return nil, message, code end
  return setmetatable({ plain = plain, context = context }, listener)
end

local function callable(value)
  return type(value) == "function" or (getmetatable(value) or {}).__call ~= nil
end

local function check_callable(name, argument, value)
  if not callable(value) then
    misuse.raise("bad argument #%d to '%s' (function expected, got %s)", argument, name, type(value))
  end
end

-- handler(fn [, on_handshake_error]): for net.serve; fn(stream, ...) is called once
-- the handshake has been made. One that fails is the peer's affair, and is told to
-- on_handshake_error(message, code, ...) if there is one.
function tls.handler(fn, on_handshake_error)
  check_callable("handler", 1, fn)
  if on_handshake_error ~= nil then check_callable("handler", 2, on_handshake_error) end
  return function(stream, ...)
    local shaken, message, code = stream:handshake()
    if shaken then return fn(stream, ...) end
    if on_handshake_error then on_handshake_error(message, code, ...) end
  end
end

-- serve(listener, handler [, options]): as net.serve, and on_handshake_error.
function tls.serve(from, handler, options)
  if (getmetatable(from) or {}).__name == "fern.net.listener" then
    misuse.raise("bad argument #1 to 'serve' (a listener of tls.listen expected, got one without TLS)")
  end
  check_callable("serve", 2, handler)
  if options ~= nil and type(options) ~= "table" then
    misuse.raise("bad argument #3 to 'serve' (table expected, got %s)", type(options))
  end
  local rest = {}
  for name, value in pairs(options or {}) do rest[name] = value end
  local hears = rest.on_handshake_error
  rest.on_handshake_error = nil
  if hears ~= nil and not callable(hears) then
    misuse.raise("bad option 'on_handshake_error' (function expected, got %s)", type(hears))
  end
  return net.serve(from, tls.handler(handler, hears), rest)
end

return tls

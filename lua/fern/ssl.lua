-- SPDX-License-Identifier: MIT
-- ssl: LuaSec's API over fern.tls: ssl.wrap takes a socket of fern.socket (or of
-- LuaSocket), with what is in its buffer, and gives an object with LuaSec's methods.
-- As there, nobody is verified unless `verify` says so, and then not whether the
-- certificate is for the host.

local context = require "fern.ssl.context"
local misuse = require "fern.misuse"
local openssl = require "fern.tls.openssl"
local socket = require "fern.socket"
local core = require("fern.core").open_ssl()

local ssl = {
  _VERSION = "1.3.2",
  _COPYRIGHT = "fern: the API of LuaSec 1.3.2",
  config = {
    algorithms = { ec = true },
    capabilities = {
      alpn = true, curves_list = true, dane = { no_ee_namechecks = true }, ecdh_auto = true, psk = true,
    },
    curves = context.curves,
    options = context.options,
    protocols = { tlsv1 = true, tlsv1_1 = true, tlsv1_2 = true, tlsv1_3 = true },
  },
  loadcertificate = openssl.load,
  newcontext = context.new,
}

-- ---- objects ----

-- Of each: what it is over (below, and from the handshake on TLS), with which context,
-- and whom it asks for, or, of a server, which names it has, and whether no others.
local states = setmetatable({}, { __mode = "k" })

local methods = core.meta.__index
methods.setfd = nil

local function checked(value, kind, argument, name)
  if type(value) == kind then return value end
  misuse.raise("bad argument #%d to '%s' (%s expected, got %s)", argument - 1, name or "sni", kind, type(value))
end

-- The stream that the socket is, with what is in its buffer; of LuaSocket's own, with
-- its descriptor.
local function take(sock)
  local lower, message = core.take(sock)
  if lower ~= false then return lower, message end
  local other <close> = socket.tcp()
  other:setfd(sock:getfd())
  sock:setfd(-1)
  return core.take(other)
end

local function is_context(value)
  return type(value) == "userdata" and (getmetatable(value) or {}).__name == "fern.tls.context"
end

local function check_wrap(sock, cfg)
  local has_fields, getfd = pcall(function() return sock.getfd end)
  if not has_fields or not getfd then
    misuse.raise("bad argument #1 to 'wrap' (socket expected, got %s)", type(sock))
  end
  if type(cfg) ~= "table" and not is_context(cfg) then
    misuse.raise("bad argument #2 to 'wrap' (table or context expected, got %s)", type(cfg))
  end
end

-- wrap(socket, cfg or context): an object, before its handshake; or nil, message.
function ssl.wrap(sock, cfg)
  check_wrap(sock, cfg)
  local made = cfg
  if type(cfg) == "table" then
    local why
    made, why = context.new(cfg)
    if not made then return nil, why end
  end
  local server = made:is_server()
  local lower, message = take(sock)
  if not lower then return nil, message end
  local self = core.new(lower)
  states[self] = { below = lower, context = made, server = server }
  return self
end

-- Seconds that a call may take, or nil.
local function limit_of(self)
  local block, total = core.gettimeout(self)
  if block < 0 then return total >= 0 and total or nil end
  return total >= 0 and math.min(block, total) or block
end

-- LuaSec's words for what fern.tls says, which are OpenSSL's but for these.
local WORDS <const> = {
  { "^the.* certificate.* is refused: ", "certificate verify failed" },
  { "^no server of the name ", "callback failed" },
  { "^the peer left during the handshake", "unexpected eof while reading" },
}

local function words(self, message, code)
  if code == "ETIMEDOUT" then return "want" .. (states[self].stream:want() or "read") end
  if code == "EPIPE" or code == "ECONNRESET" or code == "EBADF" then return "closed" end
  for _, pair in ipairs(WORDS) do
    if message:find(pair[1]) then return pair[2] end
  end
  return message
end

local function begin(self, state)
  if state.stream then return state.stream end
  local stream, message, code = openssl.wrap(state.below, state.context, nil, state.server_name or "", nil, true)
  if not stream then return nil, message, code end
  state.stream = stream
  core.attach(self, stream)
  return stream
end

-- Parks. True; or false, message.
function methods:dohandshake()
  local state = states[self]
  if self:getfd() < 0 then return false, "closed" end
  local stream, message, code = begin(self, state)
  local ok = stream
  if stream then ok, message, code = context.shake(state, stream.handshake, stream, limit_of(self)) end
  if not ok then return false, words(self, message, code) end
  core.shaken(self)
  state.shaken = true
  return true
end

-- A client: the name to ask the server for. A server: names and the contexts for them;
-- strict: for others there is none.
function methods:sni(names, strict)
  local state = states[self]
  if not state.server then
    state.server_name = checked(names, "string", 2)
    if state.stream then openssl.ask_for(state.stream, names) end
    return
  end
  for name, made in pairs(checked(names, "table", 2)) do
    checked(name, "string", 2)
    if not is_context(made) or not made:is_server() then
      misuse.raise("bad argument #1 to 'sni' (a server's context for '%s' expected)", name)
    end
  end
  state.names, state.strict = names, strict
end

-- A client: what the certificate has to be is said by records of the DNS for that name.
-- True, or false: not with this context.
function methods:setdane(host)
  local state = states[self]
  checked(host, "string", 2, "setdane")
  if state.server or self:getfd() < 0 then return false end
  local stream = begin(self, state)
  if not stream or not openssl.dane(stream, host) then return false end
  state.server_name = state.server_name or host
  return true
end

-- One of the records: true, or false: it is of no use.
function methods:settlsa(usage, selector, kind, data)
  local stream = states[self].stream
  if not stream or self:getfd() < 0 then return false end
  return openssl.tlsa(stream, usage, selector, kind, data)
end

-- ---- what is known of it ----

-- The stream, once there is a handshake to tell of; or nil, "closed".
local function open_stream(self)
  local state = states[self]
  if state.shaken and self:getfd() >= 0 then return state.stream end
  return nil, "closed"
end

function methods:getalpn()
  local stream = open_stream(self)
  return stream and stream:alpn()
end

function methods:getsniname()
  local state = states[self]
  if self:getfd() < 0 then return nil end
  if not state.server then return state.server_name end
  return state.stream and state.stream:sni()
end

-- What is wrong with each certificate of the peer's chain, if nobody was refused for it.
local function flaws_of(stream)
  local found
  for _, flaw in ipairs(stream:flaws()) do
    found = found or {}
    found[flaw.index] = found[flaw.index] or {}
    table.insert(found[flaw.index], flaw.message)
  end
  return found
end

function methods:getpeerverification()
  local stream = open_stream(self)
  if not stream then return false, "closed" end
  local good, why = stream:verified()
  if good or why == "the peer has no certificate" then return true end
  return false, flaws_of(stream) or why
end

function methods:getfinished()
  local stream, why = open_stream(self)
  if not stream then return nil, why end
  return stream:finished()
end

function methods:getpeerfinished()
  local stream, why = open_stream(self)
  if not stream then return nil, why end
  return stream:finished(true)
end

function methods:exportkeyingmaterial(label, length, more)
  local stream, why = open_stream(self)
  if not stream then return nil, why end
  local material = stream:export(label, length, more)
  if not material then return nil, "error exporting keying material" end
  return material
end

-- What the last call was out of time for.
function methods:want()
  local state = states[self]
  if state.shaken then return core.want(self) end
  return state.stream and state.stream:want() or "nothing"
end

-- One field of what is known of the cipher, or all.
function methods:info(field)
  local stream, why = open_stream(self)
  if not stream then return nil, why end
  local found = {}
  local cipher, bits, all, details = stream:cipher()
  found.cipher, found.bits, found.algbits = cipher, bits, all
  found.key, found.authentication, found.encryption, found.mac =
    details:match("%sKx=(%S+)%s+Au=(%S+)%s+Enc=(%S+)%s+Mac=(%S+)")
  found.export = false
  found.protocol = stream:version()
  if field then return found[field] end
  return found
end

-- ---- certificates ----

local function certificate_at(self, index, ours)
  local stream, why = open_stream(self)
  if not stream then return nil, why end
  index = index == nil and 1 or math.tointeger(index)
  if not index then misuse.raise("bad argument #1 to a certificate's method (integer expected)") end
  if index < 1 then return nil, "invalid certificate index" end
  return openssl.certificate(stream, index, ours)
end

local function chain_of(self, ours, first)
  local stream, why = open_stream(self)
  if not stream then return nil, why end
  local chain, index = {}, first
  repeat
    local one = openssl.certificate(stream, index, ours)
    chain[#chain + 1], index = one, index + 1
  until not one
  return chain
end

-- Number `index` of the peer's chain, its own by default; or of ours.
function methods:getpeercertificate(index) return certificate_at(self, index) end
function methods:getlocalcertificate(index) return certificate_at(self, index, true) end

function methods:getpeerchain() return chain_of(self, false, 1) end

-- As with LuaSec, a client's own certificate is not in it.
function methods:getlocalchain() return chain_of(self, true, states[self].server and 1 or 2) end

return ssl

-- SPDX-License-Identifier: MIT
-- ssl: LuaSec's API over fern.tls: ssl.wrap takes a socket of fern.socket (or of
-- LuaSocket), with what is in its buffer, and gives an object with LuaSec's methods.
-- As there, nobody is verified unless `verify` says so, and then not whether the
-- certificate is for the host.

local misuse = require "fern.misuse"
local socket = require "fern.socket"
local tls = require "fern.tls"
local openssl = require "fern.tls.openssl"
local core = require("fern.core").open_ssl()

local ssl = { _VERSION = "1.3.2" }

ssl.config = {
  algorithms = { ec = true },
  capabilities = { alpn = true, curves_list = true, ecdh_auto = true },
  protocols = { any = true, tlsv1 = true, tlsv1_1 = true, tlsv1_2 = true, tlsv1_3 = true },
}

-- ---- contexts ----

local VERSIONS <const> = { tlsv1 = "TLSv1.0", tlsv1_1 = "TLSv1.1", tlsv1_2 = "TLSv1.2", tlsv1_3 = "TLSv1.3" }

-- What OpenSSL 3 does in any case, or has no more.
local USUAL <const> = { all = true, no_sslv2 = true, no_sslv3 = true, single_dh_use = true, single_ecdh_use = true }

local function list_of(value)
  if value == nil or type(value) == "table" then return value or {} end
  return { value }
end

local function set_protocol(options, protocol)
  if protocol == "any" or protocol == "sslv23" then return true end
  local version = VERSIONS[protocol]
  if not version then return nil, ("invalid protocol (%s)"):format(tostring(protocol)) end
  options.min_version, options.max_version = version, version
  return true
end

local function set_verify(options, verify)
  local wanted = {}
  for _, word in ipairs(list_of(verify)) do
    if word ~= "none" and word ~= "peer" and word ~= "client_once" and word ~= "fail_if_no_peer_cert" then
      return nil, ("invalid verify option (%s)"):format(tostring(word))
    end
    wanted[word] = true
  end
  if not options.server then
    options.verify = wanted.peer == true
  elseif wanted.peer then
    options.verify = wanted.fail_if_no_peer_cert and "require" or "peer"
  end
  return true
end

local function set_options(options, words)
  local list = {}
  for _, word in ipairs(list_of(words)) do
    if type(word) ~= "string" then return nil, ("invalid option (%s)"):format(tostring(word)) end
    if not USUAL[word] then list[#list + 1] = word end
  end
  if #list > 0 then options.options = list end
  return true
end

local function set_key(options, cfg)
  local certificates = list_of(cfg.certificates)
  if #certificates > 1 then return nil, "only one certificate is supported" end
  local one = certificates[1] or cfg
  local password = one.password
  if password ~= nil and type(password) ~= "function" and type(password) ~= "string" then
    return nil, "invalid password type"
  end
  if type(password) == "function" then password = password() end
  options.certificate, options.key, options.password = one.certificate, one.key, password
  return true
end

local function set_alpn(options, alpn)
  if alpn == nil then return true end
  if type(alpn) ~= "table" and (type(alpn) ~= "string" or options.server) then return nil, "invalid ALPN parameter" end
  options.alpn = list_of(alpn)
  return true
end

-- What fern.tls does not do for a cfg that asks for it must not be left out in silence.
local function check_rest(cfg)
  for _, name in ipairs { "psk", "dane", "verifyext" } do
    if cfg[name] then return nil, name .. " is not supported" end
  end
  if cfg.dhparam ~= nil and type(cfg.dhparam) ~= "function" then return nil, "invalid DH parameter type" end
  return true
end

local function try_all(options, cfg)
  local steps = {
    { check_rest, cfg }, { set_protocol, options, cfg.protocol }, { set_key, options, cfg },
    { set_verify, options, cfg.verify }, { set_options, options, cfg.options }, { set_alpn, options, cfg.alpn },
  }
  for _, step in ipairs(steps) do
    local ok, message = step[1](step[2], step[3])
    if not ok then return nil, message end
  end
  return true
end

-- What LuaSec says of an option that OpenSSL does not know; raises for all else.
local function invalid_option(problem)
  if type(problem) ~= "string" then error(problem, 0) end
  local name = problem:match("OpenSSL has no '(.*)'%)$")
  if not name then misuse.raise(problem) end
  return ("invalid option (%s)"):format(name)
end

-- The options of those that newcontext has made.
local made_with = setmetatable({}, { __mode = "k" })

-- newcontext(cfg): what handshakes are made with, or nil, message.
function ssl.newcontext(cfg)
  if cfg.mode ~= "client" and cfg.mode ~= "server" then
    return nil, ("invalid mode (%s)"):format(tostring(cfg.mode))
  end
  local options = {
    cafile = cfg.cafile, capath = cfg.capath, ciphers = cfg.ciphers, ciphersuites = cfg.ciphersuites,
    depth = cfg.depth, curves = cfg.curveslist or cfg.curve, handshake_timeout = math.huge, sessions = 0,
    server = cfg.mode == "server" or nil,
  }
  local ok, message = try_all(options, cfg)
  if not ok then return nil, message end
  -- Who verifies nobody trusts nobody: the system's authorities take 20 ms to read, and
  -- ssl.https makes a context for each request.
  if not options.verify and not options.cafile and not options.capath then options.capath = "/dev/null" end
  if cfg.dhparam then options.dh = cfg.dhparam(false, 2048) end
  local made, context
  made, context, message = pcall(tls.context, options)
  if not made then return nil, invalid_option(context) end
  if not context then return nil, message end
  made_with[context] = options
  return context
end

-- Names, and for each context the one that knows them and nobody else.
local strict_ones = setmetatable({}, { __mode = "k" })

-- Made once for a table of names, which may change afterwards. Who asks for no name is
-- served, as by LuaSec.
local function strict_context(context, names)
  local known = strict_ones[names] or setmetatable({}, { __mode = "k" })
  strict_ones[names] = known
  if known[context] then return known[context] end
  local options = {}
  for name, value in pairs(made_with[context] or error("strict needs a context of newcontext", 3)) do
    options[name] = value
  end
  function options.sni(name) return name and (names[name] or false) end
  known[context] = assert(tls.context(options))
  return known[context]
end

-- ---- objects ----

-- Of each: what it is over (below, and from the handshake on TLS), with which context,
-- and whom it asks for.
local states = setmetatable({}, { __mode = "k" })

local methods = core.meta.__index
methods.setfd = nil

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

local function check_wrap(sock, cfg)
  local has_fields, getfd = pcall(function() return sock.getfd end)
  if not has_fields or not getfd then
    misuse.raise("bad argument #1 to 'wrap' (socket expected, got %s)", type(sock))
  end
  if type(cfg) ~= "table" and (getmetatable(cfg) or {}).__name ~= "fern.tls.context" then
    misuse.raise("bad argument #2 to 'wrap' (table or context expected, got %s)", type(cfg))
  end
end

-- wrap(socket, cfg or context): an object, before its handshake; or nil, message.
function ssl.wrap(sock, cfg)
  check_wrap(sock, cfg)
  local context = cfg
  if type(cfg) == "table" then
    local why
    context, why = ssl.newcontext(cfg)
    if not context then return nil, why end
  end
  local lower, message = take(sock)
  if not lower then return nil, message end
  local self = core.new(lower)
  states[self] = { below = lower, context = context }
  return self
end

-- Seconds that a call may take, or nil.
local function limit_of(self)
  local block, total = core.gettimeout(self)
  if block < 0 then return total >= 0 and total or nil end
  return total >= 0 and math.min(block, total) or block
end

local LEFT <const> = "the peer left during the handshake"

-- LuaSec's words for what fern.tls says.
local function words(message, code)
  if code == "ETIMEDOUT" then return "wantread" end
  if code == "EPIPE" or code == "ECONNRESET" or code == "EBADF" or message == LEFT then return "closed" end
  if message:find("^the.* certificate.* is refused: ") then return "certificate verify failed" end
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
  if stream then ok, message, code = stream:handshake(limit_of(self)) end
  if not ok then return false, words(message, code) end
  core.shaken(self)
  state.shaken = true
  return true
end

-- A client: the name to ask the server for. A server: names and the contexts for them.
function methods:sni(names, strict)
  local state = states[self]
  if type(names) == "string" then
    state.server_name = names
    return
  end
  if strict then
    state.context = strict_context(state.context, names)
    return
  end
  for name, context in pairs(names) do state.context:add(name, context) end
end

-- What the stream's method says, once there is a handshake to tell of; else nil.
local function asking(name)
  return function(self, ...)
    local stream = states[self].stream
    if stream and self:getfd() >= 0 then return stream[name](stream, ...) end
  end
end

methods.getalpn = asking "alpn"
methods.getsniname = asking "sni"
methods.getpeerverification = asking "verified"

methods.exportkeyingmaterial = asking "export"

-- What the last call was out of time for; a handshake waits for the peer.
function methods:want()
  local state = states[self]
  if state.shaken then return core.want(self) end
  return state.stream and "read" or "nothing"
end

function methods:info(field)
  local state = states[self]
  if not state.shaken or self:getfd() < 0 then return nil, "closed" end
  local line, bits, algbits = openssl.describe(state.stream)
  local found = { protocol = state.stream:version(), bits = bits, algbits = algbits }
  found.cipher, found.key, found.authentication, found.encryption, found.mac =
    line:match "^(%S+)%s+%S+%s+Kx=(%S+)%s+Au=(%S+)%s+Enc=(%S+)%s+Mac=(%S+)"
  found.export = line:find "%sexport%s*$" ~= nil
  if field then return found[field] end
  return found
end

-- ---- certificates ----

local certificate = {}
certificate.__index = certificate

function certificate:__tostring() return ("X509 certificate: %p"):format(self) end

local function new_certificate(view)
  return view and setmetatable({ view = view }, certificate)
end

function certificate:pem() return self.view.pem end
function certificate:serial() return self.view.serial:upper() end
function certificate:subject() return self.view.subject_parts end
function certificate:issuer() return self.view.issuer_parts end
function certificate:notbefore() return os.date("!%b %e %H:%M:%S %Y GMT", self.view.not_before) end
function certificate:notafter() return os.date("!%b %e %H:%M:%S %Y GMT", self.view.not_after) end

function certificate:validat(time)
  return time >= self.view.not_before and time <= self.view.not_after
end

-- In hexadecimal digits.
function certificate:digest(algorithm)
  local digest = openssl.digest(self.view.pem, algorithm or "sha1")
  if digest then return digest end
  return nil, ("digest algorithm not supported (%s)"):format(algorithm)
end

local KINDS <const> = { DNS = "dNSName", IP = "iPAddress", email = "rfc822Name", URI = "uniformResourceIdentifier" }

-- What it is for, and nothing of other extensions.
function certificate:extensions()
  local names = {}
  for _, name in ipairs(self.view.names) do
    local kind, value = name:match "^(%w+):(.*)$"
    kind = KINDS[kind]
    if kind then
      names[kind] = names[kind] or {}
      table.insert(names[kind], value)
    end
  end
  if not next(names) then return {} end
  names.name = "X509v3 Subject Alternative Name"
  return { ["2.5.29.17"] = names }
end

-- loadcertificate(pem): a certificate; nil: that is none.
function ssl.loadcertificate(pem) return new_certificate(openssl.certificate(pem)) end

-- What `look(stream, ...)` says, once there is a handshake to tell of.
local function told(self, look, ...)
  local state = states[self]
  if not state.shaken or self:getfd() < 0 then return nil, "closed" end
  return look(state.stream, ...)
end

local function certificate_of(stream, look, index)
  if index and index < 1 then return nil, "invalid certificate index" end
  return new_certificate(look(stream, index or 1))
end

local function chain_of(stream, look)
  local chain = {}
  repeat
    local one = certificate_of(stream, look, #chain + 1)
    chain[#chain + 1] = one
  until not one
  return chain
end

local function peer_certificate(stream, index) return stream:peer_certificate(index) end

-- Number `index` of the chain, its own by default; all of it; of the peer, and ours.
function methods:getpeercertificate(index) return told(self, certificate_of, peer_certificate, index) end
function methods:getpeerchain() return told(self, chain_of, peer_certificate) end
function methods:getlocalcertificate(index) return told(self, certificate_of, openssl.own_certificate, index) end
function methods:getlocalchain() return told(self, chain_of, openssl.own_certificate) end

-- The latest "finished" messages, which channel bindings are made of.
function methods:getfinished() return told(self, openssl.finished, false) end
function methods:getpeerfinished() return told(self, openssl.finished, true) end

return ssl

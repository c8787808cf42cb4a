-- SPDX-License-Identifier: MIT
-- ssl.context: fern.tls's contexts of LuaSec's cfg, with LuaSec's words for what is
-- wrong with one. What a connection of a server brings itself (its names) is found by
-- the thread that shakes hands.

local fern = require "fern"
local misuse = require "fern.misuse"
local tls = require "fern.tls"      -- first: without OpenSSL it says what is missing
local openssl = require "fern.tls.openssl"

local context = {}

local VERSIONS <const> = { tlsv1 = "TLSv1.0", tlsv1_1 = "TLSv1.1", tlsv1_2 = "TLSv1.2", tlsv1_3 = "TLSv1.3" }
local VERIFYEXT <const> = { lsec_continue = true, lsec_ignore_purpose = true, crl_check = true, crl_check_chain = true }
local VERIFY <const> = { none = true, peer = true, client_once = true, fail_if_no_peer_cert = true }

context.options = openssl.options()
context.curves = openssl.curves()

local function list_of(value)
  if value == nil or type(value) == "table" then return value or {} end
  return { value }
end

-- Of a list, or one word: a set of those that are known; or nil, message.
local function set_of(words, known, what)
  local set = {}
  for _, word in ipairs(list_of(words)) do
    if not known[word] then return nil, ("invalid %s (%s)"):format(what, tostring(word)) end
    set[word] = true
  end
  return set
end

-- ---- each takes from cfg into options: true, or nil and a message ----

local steps = {}

function steps.protocol(options, cfg)
  local protocol = cfg.protocol
  if type(protocol) ~= "string" and type(protocol) ~= "number" then
    misuse.raise("bad argument #1 to 'create' (string expected, got %s)", type(protocol))
  end
  if protocol == "any" or protocol == "sslv23" then return true end
  local version = VERSIONS[protocol]
  if not version then return nil, ("invalid protocol (%s)"):format(protocol) end
  options.min_version, options.max_version = version, version
  return true
end

-- A password that no key wants is not looked at, but must be one; so must a key be that
-- has no certificate.
function steps.certificates(options, cfg)
  local list = {}
  for _, one in ipairs(cfg.certificates or { cfg }) do
    local kind = type(one.password)
    if one.key and one.password and kind ~= "function" and kind ~= "string" then return nil, "invalid password type" end
    if one.certificate then
      list[#list + 1] = { certificate = one.certificate, key = one.key, password = one.password or nil }
    elseif one.key then
      options.key, options.password = one.key, one.password or nil
    end
  end
  if #list > 0 then options.certificates = list end
  return true
end

function steps.verify(options, cfg)
  local wanted, message = set_of(cfg.verify, VERIFY, "verify option")
  if not wanted then return nil, message end
  if not options.server then
    options.verify = wanted.peer == true
  elseif wanted.peer then
    options.verify = wanted.fail_if_no_peer_cert and "require" or "peer"
  end
  return true
end

function steps.verifyext(options, cfg)
  local wanted, message = set_of(cfg.verifyext, VERIFYEXT, "verify option")
  if not wanted then return nil, message end
  options.lenient = wanted.lsec_continue
  options.purpose = wanted.lsec_ignore_purpose and "server" or nil
  options.crl_check = wanted.crl_check_chain and "chain" or wanted.crl_check and "leaf" or nil
  return true
end

function steps.options(options, cfg)
  local wanted, message = set_of(cfg.options, context.options, "option")
  if not wanted then return nil, message end
  options.options = {}
  for word in pairs(wanted) do table.insert(options.options, word) end
  return true
end

-- Parameters are asked for at once, not in each handshake.
function steps.parameters(options, cfg)
  if not cfg.dhparam then return true end
  if type(cfg.dhparam) ~= "function" then return nil, "invalid DH parameter type" end
  local dh = cfg.dhparam(false, 2048)
  if type(dh) == "string" then options.dh = dh end
  return true
end

function steps.curves(options, cfg)
  if not cfg.curveslist and cfg.curve and not context.curves[cfg.curve] then
    return nil, ("elliptic curve '%s' not supported"):format(tostring(cfg.curve))
  end
  options.curves = cfg.curveslist or cfg.curve
  return true
end

local function check_protocols(list)
  for _, name in ipairs(list) do
    if type(name) ~= "string" then return nil, "invalid ALPN name (no string)" end
    if name == "" then return nil, "invalid ALPN name (empty string)" end
    if #name > 255 then return nil, "invalid ALPN name (length > 255)" end
  end
  if #list == 0 then return nil, "invalid ALPN list (empty)" end
  return list
end

-- A client that has none of the protocols is served all the same, without one: so a
-- list of a server's is a function, too.
local function answering(alpn)
  return function(offered)
    local answer = alpn(offered)
    if type(answer) ~= "string" and type(answer) ~= "table" then return nil end
    return check_protocols(list_of(answer))
  end
end

function steps.alpn(options, cfg)
  local alpn = cfg.alpn
  if not alpn then return true end
  local kind = type(alpn)
  if options.server and kind == "function" then
    options.alpn = answering(alpn)
    return true
  end
  if kind ~= "table" and (kind ~= "string" or options.server) then return nil, "invalid ALPN parameter" end
  local list, message = check_protocols(list_of(alpn))
  if not list then return nil, message end
  options.alpn = options.server and function() return list end or list
  return true
end

function steps.psk(options, cfg)
  local psk = cfg.psk
  if not psk then return true end
  if options.server and type(psk) == "table" and type(psk.hint) == "string" then
    options.psk_hint, psk = psk.hint, psk.callback
  end
  if type(psk) ~= "function" then return nil, "invalid PSK configuration" end
  options.psk = psk
  return true
end

function steps.dane(options, cfg)
  if not cfg.dane or options.server then return true end
  options.dane = true
  for _, word in ipairs(type(cfg.dane) == "table" and cfg.dane or {}) do
    if word ~= "no_ee_namechecks" then
      misuse.raise("bad argument #2 to 'setdane' (invalid option '%s')", tostring(word))
    end
    options.dane = "any_host"
  end
  return true
end

local ORDER <const> = {
  "protocol", "certificates", "verify", "options", "parameters", "curves", "verifyext", "alpn", "psk", "dane",
}

-- ---- words ----

-- LuaSec's for what fern.tls says, which begins with what it is about.
local function words(cfg, message)
  local about, reason = message:match("^(.-): (.*)$")
  if not about then return message end
  if about == "curves" then return ('unknown elliptic curve in "%s"'):format(cfg.curveslist or cfg.curve) end
  if about:find("^ciphers") then return ("error setting cipher list (%s)"):format(reason) end
  if about == cfg.cafile or about == cfg.capath or about == "ca" then
    return ("error loading CA locations (%s)"):format(reason)
  end
  for _, one in ipairs(cfg.certificates or { cfg }) do
    if about == one.key or about == "key" then
      if reason:find("mismatch", 1, true) or reason == "different key types" then
        return "private key does not match public key"
      end
      return ("error loading private key (%s)"):format(reason)
    elseif about == one.certificate or about == "certificate" then
      return ("error loading certificate (%s)"):format(reason)
    end
  end
  return message
end

-- ---- names of servers ----

local shaking = {}              -- threads, and the names that their connections have

-- For the name that a client asks for: as the connection says whose handshake it is.
local function choose(name)
  local own = shaking[fern.current() or "main"]
  if not name or not own or not own.names then return nil end
  local found = own.names[name]
  if found == nil and own.strict then return false end
  return found
end

-- shake(own, fn, ...): what fn(...) returns, which makes a handshake; own.names and
-- own.strict are what the connection's sni was told.
function context.shake(own, fn, ...)
  local thread = fern.current() or "main"
  shaking[thread] = own
  local _ <close> = setmetatable({}, { __close = function() shaking[thread] = nil end })
  return fn(...)
end

-- ---- making ----

-- new(cfg): what handshakes are made with, or nil, message.
function context.new(cfg)
  local options = {
    cafile = cfg.cafile, capath = cfg.capath, ciphers = cfg.ciphers, ciphersuites = cfg.ciphersuites,
    depth = math.tointeger(tonumber(cfg.depth)) or cfg.depth, handshake_timeout = math.huge,
  }
  if cfg.mode == "server" then
    options.server, options.sni = true, choose
  elseif cfg.mode == "client" then
    options.sessions = 0        -- each connection begins anew
  else
    return nil, ("invalid mode (%s)"):format(tostring(cfg.mode))
  end
  for _, name in ipairs(ORDER) do
    local ok, message = steps[name](options, cfg)
    if not ok then return nil, message end
  end
  -- Who verifies nobody trusts nobody: the system's authorities take 20 ms to read, and
  -- ssl.https makes a context for each request.
  if not options.verify and not options.cafile and not options.capath then options.capath = "/dev/null" end
  local made, message = misuse.call("newcontext", nil, tls.context, options)
  if not made then return nil, words(cfg, message) end
  return made
end

return context

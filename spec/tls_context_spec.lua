-- SPDX-License-Identifier: MIT
-- fern.tls: what contexts can be told: who we are, whom we trust, what is spoken.

local fern = require "fern"
local net = require "fern.net"
local tls = require "fern.tls"
local authority = require "spec.support.authority"
local support = require "spec.support.threads"

local made

setup(function() made = authority.make() end)

local function check_failure(code, pattern, ...)
  local result, message, given = ...
  assert.is_nil(result)
  assert.are.equal(code, given, message)
  assert.is_truthy(message:find(pattern), message)
end

local function with(options, more)
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  for name, value in pairs(more or {}) do all[name] = value end
  return all
end

local function client_options(more) return with({ cafile = made.ca, host = "ours.test", timeout = 10 }, more) end

local function server_options(more)
  return with({ server = true, certificate = made.ours.certificate, key = made.ours.key, timeout = 10 }, more)
end

-- Both ends, after their handshakes; or nil, the client's message, its code, and the
-- server's message.
local function pair(client_more, server_more)
  local listener <close> = assert(net.listen("127.0.0.1", 0))
  local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
  local shaking = fern.spawn(tls.wrap, assert(listener:accept(5)), server_options(server_more))
  local client, message, code = tls.wrap(plain, client_options(client_more))
  local server, why = shaking:wait()
  if client and server then return client, server end
  if client then client:close() end
  if server then server:close() end
  return nil, message, code, why
end

local function both(client, server)
  return support.closing(function()
    client:close()
    server:close()
  end)
end

describe("a key's password", function()
  it("may be a function's to tell, which is asked only if the key is locked", function()
    local asked = 0
    local function password()
      asked = asked + 1
      fern.sleep(0.01)
      return "sesame"
    end
    local options = { server = true, certificate = made.ours.certificate, key = made.ours.key, password = password }
    assert(tls.context(options))
    assert.are.equal(0, asked)
    options.key = made.locked.key
    local context = assert(tls.context(options))
    assert.are.equal(1, asked)
    assert.is_true(context:reload())
    assert.are.equal(2, asked)
  end)

  it("that is not told, or is wrong, is the key's failure; and an error is the caller's", function()
    local options = { server = true, certificate = made.ours.certificate, key = made.locked.key }
    check_failure("ETLS", "locked.key: ", tls.context(options))
    for _, said in ipairs { "wrong", false, 5, "ses\0ame" } do
      options.password = function() return said end
      check_failure("ETLS", "locked.key: ", tls.context(options))
    end
    options.password = function() error({ mine = true }) end
    local ok, message = pcall(tls.context, options)
    assert.is_false(ok)
    assert.is_true(message.mine)
    options.password = 5
    assert.has_error(function() tls.context(options) end, "bad option 'password' (a string or a function expected)")
  end)

  it("is asked for while the options change under it", function()
    local options = { server = true, certificate = made.ours.certificate, key = made.ours.key }
    options.certificates = { { certificate = made.ours.certificate, key = made.locked.key } }
    options.certificates[1].password = function()
      options.certificates[1].certificate = nil
      return "sesame"
    end
    assert.has_error(function() tls.context(options) end, "bad option 'certificates' (a certificate in each expected)")
  end)
end)

describe("certificates", function()
  it("of several kinds of keys are chosen from by what the client can do", function()
    local serving = {
      certificates = { { certificate = made.rsa.certificate, key = made.rsa.key } },
      max_version = "TLSv1.2",
    }
    for kind, subject in pairs { RSA = "CN=rsa.test", ECDSA = "CN=ours.test" } do
      local client, server = assert(pair({ ciphers = ("ECDHE-%s-AES128-GCM-SHA256"):format(kind) }, serving))
      local _ <close> = both(client, server)
      assert.are.equal(subject, client:peer_certificate().subject)
    end
  end)

  it("may be all there is, with passwords of their own", function()
    local context = assert(tls.context { server = true, certificates = {
      { certificate = made.rsa.certificate, key = made.rsa.key },
      { certificate = made.ours.certificate, key = made.locked.key, password = function() return "sesame" end },
    } })
    assert.is_true(context:reload())
  end)

  it("that are none are refused, by name", function()
    local function check(message, certificates)
      assert.has_error(function() tls.context { certificates = certificates } end, message)
    end
    check("bad option 'certificates' (an array of tables expected)", 5)
    check("bad option 'certificates' (an array of tables expected)", { 5 })
    check("bad option 'certificates' (a certificate in each expected)", { {} })
    check("bad option 'certificate' (string expected)", { { certificate = 5 } })
    check_failure("ETLS", "rsa.key: different key types", tls.context { certificates = {
      { certificate = made.ours.certificate, key = made.rsa.key },
    } })
    check_failure("ENOENT", "/no/such", tls.context { certificates = { { certificate = "/no/such" } } })
  end)
end)

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

local function close(...)
  for _, stream in pairs { ... } do stream:close() end
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

describe("a server's alpn function", function()
  -- What is spoken with a client that offers these, or what the client's failure is.
  local function speak(alpn, offered, more)
    local client, message, _, why = pair({ alpn = offered }, with({ alpn = alpn }, more))
    if not client then return nil, message, why end
    local server <close> = message
    local spoken = client:alpn()
    assert.are.equal(spoken, server:alpn())
    client:close()
    return spoken
  end

  it("is told what is offered, and says what is spoken", function()
    local told
    local function answer(what)
      return function(offered)
        told = offered
        fern.sleep(0.005)
        return what
      end
    end
    assert.are.equal("h2", (speak(answer "h2", { "h1", "h2" })))
    assert.are.same({ "h1", "h2" }, told)
    assert.are.equal("b", (speak(answer { "x", "b", "a" }, { "a", "b" })))
    for _, nothing in ipairs { "x", {}, { "x" }, { 5, {} } } do assert.is_nil(speak(answer(nothing), { "a" })) end
    assert.is_nil(speak(answer(nil), { "a" }))
    told = nil
    assert.is_nil(speak(answer "a"))
    assert.is_nil(told)
  end)

  it("may refuse the client", function()
    assert.are.same({ nil, "tlsv1 alert no application protocol", "none of the client's protocols is spoken" },
      { speak(function() return false end, { "a" }) })
  end)

  it("that raises or answers nonsense ends that handshake alone, and is reported", function()
    local reports = fern.queue()        -- they come from a thread of their own, perhaps after the failure
    local before = fern.on_error(function(message) reports:put(tostring(message)) end)
    assert.is_nil((select(1, speak(function() error "oops" end, { "a" }))))
    assert.matches("oops", reports:get(10))
    assert.is_nil((select(1, speak(function() return 5 end, { "a" }))))
    assert.matches("the alpn function has returned a number", reports:get(10))
    fern.on_error(before)
  end)

  it("of the context that serves the name counts, also once nothing else holds that", function()
    local context = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key, alpn = { "a" } })
    context:add("ours.test", assert(tls.context {
      server = true, certificate = made.ours.certificate, key = made.ours.key, alpn = function() return "b" end,
    }))
    collectgarbage()
    collectgarbage()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    for _, case in ipairs { { "ours.test", "b" }, { "", "a" } } do
      local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
      local shaking = fern.spawn(tls.wrap, assert(listener:accept(5)), { context = context, timeout = 10 })
      local client = assert(tls.wrap(plain, client_options { server_name = case[1], alpn = { "a", "b" } }))
      local _ <close> = both(client, assert(shaking:wait()))
      assert.are.equal(case[2], client:alpn())
    end
  end)

  it("comes and goes with a reload", function()
    local context = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key, alpn = { "a" } })
    local function check(expected)
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
      local shaking = fern.spawn(tls.wrap, assert(listener:accept(5)), { context = context, timeout = 10 })
      local client = assert(tls.wrap(plain, client_options { alpn = { "a", "b" } }))
      local _ <close> = both(client, assert(shaking:wait()))
      assert.are.equal(expected, client:alpn())
    end
    check "a"
    assert.is_true(context:reload { alpn = function() return "b" end })
    check "b"
    assert.is_true(context:reload { alpn = { "a" } })
    check "a"
  end)

  it("is none of a client's", function()
    assert.has_error(function() tls.context { alpn = print } end, "bad option 'alpn' (an array of names, of a client expected)")
  end)
end)

describe("a lenient context", function()
  it("refuses nobody for a certificate, and tells what is wrong with it", function()
    local client, server = assert(pair({ cafile = made.stranger_ca, host = "nobody.test", lenient = true }))
    local _ <close> = both(client, server)
    assert.is_false((client:verified()))
    local words = {}
    for _, flaw in ipairs(client:flaws()) do words[flaw.message] = flaw.index end
    assert.are.equal(1, words["unable to get local issuer certificate"])
    assert.are.equal(1, words["hostname mismatch"])
    assert.are.same({}, server:flaws())
  end)

  it("of a server takes any client's certificate, but wants one, if it is required", function()
    local serving = { verify = "require", cafile = made.ca, lenient = true }
    local client, server = assert(pair({ certificate = made.self.certificate, key = made.self.key }, serving))
    local _ <close> = both(client, server)
    assert.are.equal("CN=self.test", server:peer_certificate().subject)
    assert.are.same({ { message = "self-signed certificate", index = 1 } }, server:flaws())
    check_failure("ETLS", "handshake failure", pair({ max_version = "TLSv1.2" }, serving))
  end)

  it("finds nothing where all is well", function()
    local client, server = assert(pair { lenient = true })
    local _ <close> = both(client, server)
    assert.are.same({}, client:flaws())
    assert.is_true(client:verified())
  end)

  it("leaves one that serves a name as strict as that is", function()
    local function serve(outer, inner)
      local own = with(server_options { timeout = false }, { verify = "require", cafile = made.ca })
      own.timeout = nil
      local context = assert(tls.context(with(own, { lenient = outer })))
      context:add("ours.test", assert(tls.context(with(own, { lenient = inner }))))
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
      local shaking = fern.spawn(tls.wrap, assert(listener:accept(5)), { context = context, timeout = 10 })
      local client = tls.wrap(plain, client_options { certificate = made.self.certificate, key = made.self.key })
      local server, message = shaking:wait()
      if client then client:close() end
      if server then server:close() end
      return server ~= nil, message
    end
    assert.is_true((serve(false, true)))
    assert.are.same({ false, "the peer's certificate is refused: self-signed certificate" }, { serve(true, false) })
  end)
end)

describe("a list of revoked certificates", function()
  it("keeps out who is on it", function()
    local client, server = assert(pair { crl = made.crl.none })
    close(client, server)
    check_failure("ETLS", "certificate revoked", pair { crl = made.crl.ours })
    check_failure("ETLS", "certificate revoked", pair { crl = made.crl.ours, crl_check = "leaf" })
    client, server = assert(pair { crl = made.crl.ours, crl_check = "none" })
    close(client, server)
  end)

  it("has to be there, if it is asked for; it may be in the file of authorities", function()
    check_failure("ETLS", "unable to get certificate CRL", pair { crl_check = "leaf" })
    local function read(path)
      local file <close> = assert(io.open(path))
      return file:read("a")
    end
    local client, server = assert(pair { crl_check = "chain", cafile = read(made.ca) .. read(made.crl.none) })
    close(client, server)
    check_failure("ETLS", "certificate revoked", pair { crl_check = "chain", cafile = read(made.crl.ours) .. read(made.ca) })
    client, server = assert(pair { cafile = read(made.ca) .. read(made.crl.ours) })
    close(client, server)
  end)

  it("that is none is told", function()
    check_failure("ETLS", "ca.pem: no crl found", tls.context { crl = made.ca })
    check_failure("ENOENT", "/no/such", tls.context { crl = "/no/such" })
    assert.has_error(function() tls.context { crl_check = "maybe" } end,
      'bad option \'crl_check\' ("none", "leaf" or "chain" expected)')
  end)
end)

describe("a purpose", function()
  it("is what the peer is, unless told otherwise", function()
    local serving = { verify = "require", cafile = made.ca }
    local function visit(name, more)
      local mine = { certificate = made[name].certificate, key = made[name].key, max_version = "TLSv1.2" }
      local client, server = pair(mine, with(serving, more))
      if not client then return false end
      close(client, server)
      return true
    end
    assert.is_true(visit("visits"))
    assert.is_false(visit("serves"))
    assert.is_true(visit("serves", { purpose = "server" }))
    assert.is_false(visit("visits", { purpose = "server" }))
    assert.is_true(visit("serves", { purpose = "any" }))
    assert.is_true(visit("visits", { purpose = "any" }))
    assert.has_error(function() tls.context { purpose = "fun" } end,
      'bad option \'purpose\' ("client", "server" or "any" expected)')
  end)
end)

describe("a psk function", function()
  local KEY <const> = "0123456789abcdef"

  -- Whether hands are shaken; else nil and what the ends say.
  local function shake(client_psk, server_psk, more, server_more)
    local without = with({ psk = server_psk }, server_more)
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
    without.server, without.timeout = true, 10
    local shaking = fern.spawn(tls.wrap, assert(listener:accept(5)), without)
    local client, message = tls.wrap(plain, client_options(with({ psk = client_psk }, more)))
    local server, why = shaking:wait()
    local subject = client and (client:peer_certificate() or { subject = "nobody" }).subject
    close(client, server)
    if client and server then return subject end
    return nil, message, why
  end

  local function anna() return "anna", KEY end
  local function knows(identity) return identity == "anna" and KEY or nil end

  it("makes certificates needless", function()
    for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
      local asked = {}
      local function client(...)
        asked.client = table.pack(...)
        return anna()
      end
      local function server(...)
        asked.server = table.pack(...)
        return knows(...)
      end
      assert.are.equal("nobody", (shake(client, server, { max_version = version }, { psk_hint = "here" })))
      assert.are.same({ version == "TLSv1.2" and "here" or nil, 255, 512 }, { table.unpack(asked.client, 1, 3) })
      assert.are.same({ "anna", 512 }, { table.unpack(asked.server) })
    end
  end)

  it("whose key is another one, or that has none, opens nothing", function()
    local function nobody() end
    local function wrong() return "anna", "another key" end
    for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
      for _, case in ipairs { { wrong, knows }, { nobody, knows }, { anna, nobody } } do
        assert.is_nil((shake(case[1], case[2], { max_version = version })))
      end
    end
    assert.are.equal("CN=ours.test", (shake(anna, nobody, nil, { certificate = made.ours.certificate, key = made.ours.key })))
  end)

  it("must not wait, raise or answer nonsense, and its reporter must not wait, too", function()
    local reports
    local before = fern.on_error(function(message)
      reports:put(tostring(message))
      fern.sleep(0.01)
    end)
    local function check(pattern, client, server)
      reports = fern.queue()
      assert.is_nil((shake(client, server, { max_version = "TLSv1.2" })))
      assert.matches(pattern, reports:get(10))
    end
    check("cannot park in the psk function", anna, function(identity)
      fern.sleep(0.01)
      return knows(identity)
    end)
    check("cannot park in the psk function", function()
      fern.sleep(0)
      return anna()
    end, knows)
    check("oops", anna, function() error "oops" end)
    check("key of more than 512 bytes", anna, function() return ("x"):rep(513) end)
    check("no identity, or one of more than 255 bytes", function() return ("x"):rep(256), KEY end, knows)
    check("no identity", function() return "a\0b", KEY end, knows)
    fern.on_error(before)
  end)

  it("of the context that serves the name counts", function()
    local context = assert(tls.context { server = true, psk = function() end })
    context:add("ours.test", assert(tls.context { server = true, psk = knows }))
    for _, case in ipairs { { "ours.test", true }, { "other.test", false } } do
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
      local shaking = fern.spawn(tls.wrap, assert(listener:accept(5)), { context = context, timeout = 10 })
      local client = tls.wrap(plain, client_options { psk = anna, server_name = case[1] })
      close(client, (shaking:wait()))
      assert.are.equal(case[2], client ~= nil)
    end
  end)
end)

describe("records of the DNS", function()
  local function bytes(hex)
    return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
  end

  local function digest()
    local client, server = assert(pair())
    local _ <close> = both(client, server)
    return bytes(client:peer_certificate().fingerprint)
  end

  it("say what the certificate has to be, whoever has signed it", function()
    local ours = digest()
    local client, server = assert(pair { cafile = made.stranger_ca, tlsa = { { 3, 0, 1, ours } } })
    assert.is_true(client:verified())
    close(client, server)
    local other = { cafile = made.ca, tlsa = { { 3, 0, 1, ("x"):rep(32) } } }
    check_failure("ETLS", "no matching DANE TLSA records", pair(other))
    check_failure("ETLS", "hostname mismatch", pair { host = "else.test", tlsa = { { 3, 0, 1, ours } } })
    client, server = assert(pair { host = "else.test", dane = "any_host", tlsa = { { 3, 0, 1, ours } } })
    close(client, server)
    client, server = assert(pair { tlsa = { { 1, 0, 1, ours } } })
    close(client, server)
    check_failure("ETLS", "unable to get local issuer", pair { cafile = made.stranger_ca, tlsa = { { 1, 0, 1, ours } } })
  end)

  it("that are of no use leave all as it was", function()
    local useless = { { 3, 0, 1, "short" }, { 9, 0, 1, ("x"):rep(32) }, { 3, 0, 1, "" }, { 300, 0, 1, "x" } }
    local client, server = assert(pair { tlsa = useless })
    close(client, server)
    check_failure("ETLS", "unable to get local issuer", pair { cafile = made.stranger_ca, tlsa = useless })
  end)

  it("are looked at where a session could be resumed, too", function()
    local context = assert(tls.context { cafile = made.ca, dane = true })
    local serving = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key })
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local function connect(tlsa)
      local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
      local shaking = fern.spawn(tls.wrap, assert(listener:accept(5)), { context = serving, timeout = 10 })
      local client, message = tls.wrap(plain, { context = context, host = "ours.test", timeout = 10, tlsa = tlsa })
      local server = shaking:wait()
      if client and server then
        server:write("x")
        client:read(1)          -- the session has come
      end
      local reused = client and client:session_reused()
      close(client, server)
      return reused, message
    end
    assert.is_false((connect()))
    assert.is_true((connect()))
    local reused, message = connect { { 3, 0, 1, ("x"):rep(32) } }
    assert.is_nil(reused)
    assert.matches("no matching DANE TLSA records", message)
    assert.is_false((connect { { 3, 0, 1, digest() } }))
  end)

  it("are refused for who is not to be verified by them, and leave no connection open", function()
    local function check(pattern, options)
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local plain = assert(net.connect("127.0.0.1", select(2, listener:address())))
      local other <close> = assert(listener:accept(5))
      local ok, message = pcall(tls.wrap, plain, options)
      assert.is_false(ok)
      assert.matches(pattern, message)
      assert.are.same({ nil, "closed", "EPIPE" }, { other:read(1, 5) })
    end
    local without = assert(tls.context { cafile = made.ca })
    check("needs a client's context with 'dane'", { context = without, host = "a.test", tlsa = {} })
    check("needs the option 'host'", { cafile = made.ca, any_host = true, tlsa = {} })
    check("bad option 'tlsa' %(record 1: ", { cafile = made.ca, host = "a.test", tlsa = { {} } })
    assert.has_error(function() tls.context { dane = "maybe" } end, "bad option 'dane' (a boolean or \"any_host\" expected)")
  end)
end)

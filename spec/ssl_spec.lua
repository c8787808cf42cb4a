-- SPDX-License-Identifier: MIT
-- fern.ssl: what LuaSec's users call, over fern.tls; and LuaSec's own ssl.https, unchanged.

local fern = require "fern"
local net = require "fern.net"
local nginx = require "spec.support.nginx"
local script = require "spec.support.script"
local socket = require "fern.socket"
local ssl = require "fern.ssl"
local tls = require "fern.tls"

fern.patch { "socket", "ssl" }

local SOON <const> = 30     -- seconds: longer than anything here takes

local site
setup(function() site = nginx.start() end)
teardown(function() site:stop() end)

local function pem(name) return ("%s/%s"):format(site.dir, name) end

local function client_cfg(more)
  local cfg = { mode = "client", protocol = "any", verify = "peer", cafile = pem "ca.pem" }
  for name, value in pairs(more or {}) do cfg[name] = value end
  return cfg
end

local function server_cfg(more)
  local cfg = { mode = "server", protocol = "any", certificate = pem "ours.pem", key = pem "ours.key" }
  for name, value in pairs(more or {}) do cfg[name] = value end
  return cfg
end

local function plain_pair()
  local server <close> = assert(socket.bind("127.0.0.1", 0))
  local client = assert(socket.connect("127.0.0.1", (select(2, server:getsockname()))))
  server:settimeout(SOON)
  return client, assert(server:accept())
end

-- Both ends, before the handshake.
local function wrapped_pair(client_more, server_more)
  local client, peer = plain_pair()
  return assert(ssl.wrap(client, client_cfg(client_more))), assert(ssl.wrap(peer, server_cfg(server_more)))
end

local function pair(client_more, server_more)
  local client, peer = wrapped_pair(client_more, server_more)
  local other = fern.spawn(peer.dohandshake, peer)
  assert(client:dohandshake())
  assert.is_true(other:wait(SOON))
  return client, peer
end

local function finish(...)
  for _, object in ipairs { ... } do object:close() end
end

describe("ssl.https", function()
  local https = require "ssl.https"
  local ltn12 = require "ltn12"

  it("is LuaSec's own, and fetches thirty pages at once", function()
    assert.are.equal(ssl, require "ssl")
    local numbers = {}
    for i = 1, 30 do numbers[i] = i end
    local bodies = fern.pool(30):map(function(i)
      return (assert(https.request(site:url("secure", ("/page/%d.html"):format(i)))))
    end, numbers)
    for i = 1, 30 do assert.are.equal(nginx.page(i), bodies[i]) end
  end)

  it("verifies when it is told to", function()
    local parts = {}
    local function get(ca)
      return https.request { url = site:url("secure", "/page/7.html"), verify = "peer", cafile = pem(ca),
                             sink = ltn12.sink.table(parts) }
    end
    assert.are.same({ 1, 200 }, { table.unpack({ get("ca.pem") }, 1, 2) })
    assert.are.equal(nginx.page(7), table.concat(parts))
    assert.are.same({ nil, "certificate verify failed" }, { table.unpack({ get("stranger.pem") }, 1, 2) })
  end)

  it("is refused, and ended by a deadline", function()
    assert.are.same({ nil, "connection refused" },
      { table.unpack({ https.request((site:url("nobody", "/"):gsub("^http:", "https:"))) }, 1, 2) })
    local silent = assert(socket.bind("127.0.0.1", 0))
    local url = "https://127.0.0.1:" .. (select(2, silent:getsockname()))
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.05, https.request, url) })
    silent:close()
  end)
end)

describe("an object of ssl", function()
  it("takes the socket, and what is in its buffer: TLS may begin in the middle", function()
    local client, peer = plain_pair()
    local server = fern.spawn(function()
      fern.sleep(0.05)          -- the hello has come, too
      local line = peer:receive()
      local secure = assert(ssl.wrap(peer, server_cfg()))
      assert.are.equal(-1, peer:getfd())
      assert(secure:dohandshake())
      secure:send(line .. " it was\n")
      return secure
    end)
    client:send("STARTTLS\n")
    local secure = assert(ssl.wrap(client, client_cfg()))
    assert(secure:dohandshake())
    assert.are.equal("STARTTLS it was", (secure:receive()))
    finish(secure, server:wait(SOON))
  end)

  it("receives and sends as sockets do", function()
    local client, peer = pair()
    assert.is_truthy(tostring(client):find("^SSL connection: "))
    assert.is_true(client:getfd() >= 0)
    assert.are.same({ 9, nil, nil }, { client:send("one\r\ntwo\n") })
    assert.are.same({ 4 }, { (client:send("abcdef", 3, 4)) })
    assert.are.equal("one", (peer:receive()))
    assert.is_true(peer:dirty())
    assert.are.equal("pretwo\n", (peer:receive(7, "pre")))
    assert.are.equal("cd", (peer:receive(2)))
    peer:settimeout(0)
    assert.are.same({ nil, "wantread", "" }, { peer:receive() })
    assert.are.equal("read", peer:want())
    peer:settimeout(0.02)
    assert.are.same({ nil, "wantread", "" }, { peer:receive() })
    peer:settimeout(nil)
    local text = ("0123456789"):rep(100000)
    local writer = fern.spawn(client.send, client, text)
    assert.are.equal(text, (peer:receive(#text)))
    assert.are.equal(#text, writer:wait(SOON))
    assert.are.equal(#text + 11, (peer:getstats()))
    client:send("rest")
    client:close()
    assert.are.same({ nil, "closed", "rest" }, { peer:receive() })
    assert.are.equal(1, peer:close())
    assert.are.equal(1, peer:close())
    assert.is_truthy(tostring(peer):find("^SSL connection: .* %(closed%)$"))
    assert.are.equal(-1, peer:getfd())
    assert.are.same({ nil, "closed", 0 }, { peer:send("x") })
  end)

  -- Of a client whose peer has sent "rest" when the connection is cut: check(client).
  local function cut(cfg, check)
    local server <close> = assert(socket.bind("127.0.0.1", 0))
    local between <close> = assert(net.listen("127.0.0.1", 0))
    local client = assert(socket.connect("127.0.0.1", (select(2, between:address()))))
    local near <close> = assert(between:accept(SOON))
    local far <close> = assert(net.connect("127.0.0.1", (select(2, server:getsockname()))))
    local _ <close> = fern.spawn(near.copy_to, near, far)
    local _ <close> = fern.spawn(far.copy_to, far, near)
    local peer = assert(ssl.wrap(assert(server:accept()), server_cfg()))
    local other = fern.spawn(peer.dohandshake, peer)
    client = assert(ssl.wrap(client, client_cfg(cfg)))
    assert(client:dohandshake())
    assert.is_true(other:wait(SOON))
    peer:send("rest")
    assert.are.equal("re", (client:receive(2)))
    near:shutdown("write")
    check(client)
    finish(client, peer)
  end

  it("counts nothing as sent that has not left", function()
    local client, peer = pair()
    peer:close()
    local results
    repeat
      results = table.pack(client:send("hello"))
      fern.sleep(0.01)
    until results[1] == nil
    assert.are.same({ nil, "closed", 0, n = 3 }, results)
    client:close()
  end)

  it("resumes the sessions of clients that keep them", function()
    local theirs, ours = assert(ssl.newcontext(server_cfg())), tls.context { cafile = pem "ca.pem" }
    local server <close> = assert(socket.bind("127.0.0.1", 0))
    for round = 1, 2 do
      local client = assert(net.connect("127.0.0.1", (select(2, server:getsockname()))))
      local peer = assert(ssl.wrap(assert(server:accept()), theirs))
      local greeting = fern.spawn(function() return peer:dohandshake() and peer:send("x") end)
      local stream <close> = assert(tls.wrap(client, { context = ours, host = "127.0.0.1", timeout = SOON }))
      assert.are.equal("x", stream:read(1))
      assert.are.equal(round == 2, stream:session_reused())
      assert.are.equal(1, greeting:wait(SOON))
      peer:close()
    end
  end)

  it("tells of a cut in OpenSSL's words, with what came before", function()
    cut(nil, function(client)
      assert.are.same({ nil, "unexpected eof while reading", "st" }, { client:receive("*a") })
      assert.are.same({ nil, "unexpected eof while reading", "" }, { client:receive() })
    end)
  end)

  it("takes a cut for the end where it is told to", function()
    cut({ options = { "all", "ignore_unexpected_eof" } }, function(client)
      assert.are.same({ "st" }, { client:receive("*a") })
      assert.are.same({ nil, "closed", "" }, { client:receive() })
    end)
  end)

  it("tells of what it has run out of time for, as LuaSec does, however long that was", function()
    local client, peer = wrapped_pair()
    assert.are.equal("nothing", client:want())
    assert.are.same({ nil, "closed" }, { client:info() })
    for _, seconds in ipairs { 0, 0.01 } do
      client:settimeout(seconds)
      assert.are.same({ false, "wantread" }, { client:dohandshake() })
      assert.are.equal("read", client:want())
    end
    peer:close()
    assert.are.same({ false, "closed" }, { client:dohandshake() })
    client:close()
    client, peer = pair()
    assert.are.equal("nothing", client:want())
    client:settimeout(0.01, "t")
    assert.are.same({ nil, "wantread", "" }, { client:receive(5) })
    assert.are.equal("read", client:want())
    assert.are.equal(1, client:send("x"))
    assert.are.equal("nothing", client:want())
    local ok, message
    repeat ok, message = client:send(("x"):rep(2 ^ 20)) until not ok
    assert.are.equal("wantwrite", message)
    assert.are.equal("write", client:want())
    finish(client, peer)
  end)

  it("says that it is closed before its handshake", function()
    local client, peer = wrapped_pair()
    assert.are.same({ nil, "closed", "" }, { client:receive() })
    assert.are.same({ nil, "closed", 0 }, { client:send("x") })
    client:settimeout(0)
    assert.are.same({ false, "wantread" }, { client:dohandshake() })
    client:settimeout(0.02)
    assert.are.same({ false, "wantread" }, { client:dohandshake() })
    client:settimeout(nil)
    local other = fern.spawn(peer.dohandshake, peer)
    assert.is_true(client:dohandshake())
    other:wait(SOON)
    finish(client, peer)
    assert.are.same({ false, "closed" }, { client:dohandshake() })
  end)

  it("tells what was agreed on, and with whom", function()
    local client, peer = wrapped_pair({ alpn = { "h9", "h2" } }, { alpn = { "h2" } })
    client:sni("localhost")
    local other = fern.spawn(peer.dohandshake, peer)
    assert(client:dohandshake())
    other:wait(SOON)
    assert.are.equal("h2", client:getalpn())
    assert.are.equal("localhost", peer:getsniname())
    assert.is_truthy(client:info("protocol"):find("^TLSv1"))
    assert.are.equal(client:info().cipher, peer:info("cipher"))
    assert.is_true((client:getpeerverification()))
    local certificate = client:getpeercertificate()
    assert.are.same({ { oid = "2.5.4.3", name = "commonName", value = "ours.test" } }, certificate:subject())
    assert.is_true(certificate:validat(os.time()))
    assert.is_truthy(certificate:pem():find("BEGIN CERTIFICATE", 1, true))
    assert.are.equal(certificate:pem(), peer:getlocalcertificate():pem())
    assert.are.same({ 1, 1, 0, 0 },
      { #client:getpeerchain(), #peer:getlocalchain(), #peer:getpeerchain(), #client:getlocalchain() })
    assert.are.same({ nil, "invalid certificate index" }, { client:getpeercertificate(0) })
    assert.is_nil(client:getpeercertificate(5))
    assert.are.equal(client:exportkeyingmaterial("x", 16), peer:exportkeyingmaterial("x", 16))
    assert.is_nil(peer:getpeercertificate())
    assert.are.equal(certificate:pem(), peer:getlocalcertificate():pem())
    assert.are.same({ 1, 0 }, { #peer:getlocalchain(), #client:getlocalchain() })
    assert.are.equal(certificate:pem(), client:getpeerchain()[1]:pem())
    assert.are.same({ nil, "invalid certificate index" }, { client:getpeercertificate(0) })
    assert.are.equal(client:getfinished(), peer:getpeerfinished())
    assert.are.equal(peer:getfinished(), client:getpeerfinished())
    assert.is_true(#client:getfinished() >= 12)
    finish(client, peer)
    for _, method in ipairs { "getpeercertificate", "getlocalchain", "getfinished" } do
      assert.are.same({ nil, "closed" }, { client[method](client) })
    end
  end)

  it("serves by name, and, if it is strict, nobody who asks for another", function()
    local context = assert(ssl.newcontext(server_cfg()))
    local names = { ["known.test"] = assert(ssl.newcontext(server_cfg { alpn = { "known" } })) }
    local function ask(name, strict)
      local client, peer = plain_pair()
      client = assert(ssl.wrap(client, client_cfg { alpn = { "known" } }))
      peer = assert(ssl.wrap(peer, context))
      peer:sni(names, strict)
      if name then client:sni(name) end
      local other = fern.spawn(peer.dohandshake, peer)
      local ok, message = client:dohandshake()
      other:wait(SOON)
      local protocol = ok and client:getalpn()
      finish(client, peer)
      return ok and (protocol or "another") or message
    end
    assert.are.equal("tlsv1 unrecognized name", ask("unknown.test", true))
    assert.are.equal("known", ask("known.test", true))
    assert.are.equal("another", ask(nil, true))
    assert.are.equal("another", ask("unknown.test", false))
    assert.are.equal("known", ask("known.test", false))
  end)

  it("tells all that it knows of its cipher, and the messages that finished its handshake", function()
    local client, peer = pair { protocol = "tlsv1_2" }
    assert.are.same({
      cipher = "ECDHE-ECDSA-AES256-GCM-SHA384", protocol = "TLSv1.2", key = "ECDH", authentication = "ECDSA",
      encryption = "AESGCM(256)", mac = "AEAD", bits = 256, algbits = 256, export = false,
    }, client:info())
    assert.are.equal("ECDSA", peer:info("authentication"))
    assert.is_nil(client:info("compression"))
    assert.are.equal(12, #client:getfinished())
    assert.are.equal(client:getfinished(), peer:getpeerfinished())
    assert.are.equal(peer:getfinished(), client:getpeerfinished())
    finish(client, peer)
    for _, name in ipairs { "info", "getfinished", "getpeercertificate", "getlocalchain", "exportkeyingmaterial" } do
      assert.are.same({ nil, "closed" }, { client[name](client) })
    end
    assert.are.same({ false, "closed" }, { client:getpeerverification() })
  end)

  it("serves names with contexts of their own, and with strict no others", function()
    local other = assert(ssl.newcontext(server_cfg { certificate = pem "other.pem", key = pem "other.key" }))
    local shared = assert(ssl.newcontext(server_cfg()))
    local function shake(name, names, strict)
      local client, peer = plain_pair()
      client, peer = assert(ssl.wrap(client, client_cfg())), assert(ssl.wrap(peer, shared))
      if name then client:sni(name) end
      if names then peer:sni(names, strict) end
      local thread = fern.spawn(peer.dohandshake, peer)
      local ok, message = client:dohandshake()
      local subject = ok and client:getpeercertificate():subject()[1].value
      local _, why = thread:wait(SOON)
      finish(client, peer)
      return subject or message, why
    end
    local names = { ["other.test"] = other }
    assert.are.equal("other.test", (shake("other.test", names)))
    assert.are.equal("ours.test", (shake("nobody.test", names)))
    assert.are.equal("ours.test", (shake(nil, names, true)))
    assert.are.equal("ours.test", (shake("other.test")))
    assert.are.same({ "tlsv1 unrecognized name", "callback failed" }, { shake("nobody.test", names, true) })
    local client, peer = wrapped_pair()
    assert.has_error(function() client:sni {} end, "bad argument #1 to 'sni' (string expected, got table)")
    assert.has_error(function() peer:sni "x" end, "bad argument #1 to 'sni' (table expected, got string)")
    finish(client, peer)
  end)

  it("speaks what the server's function says of what the client offers, or its list, or nothing", function()
    local told
    local function spoken(alpn)
      local client, peer = pair({ alpn = { "h1", "h2" } }, { alpn = alpn })
      local answer = client:getalpn()
      assert.are.equal(answer, peer:getalpn())
      finish(client, peer)
      return answer
    end
    local function answer(what)
      return function(offered)
        told = offered
        return what
      end
    end
    assert.are.equal("h2", spoken(answer "h2"))
    assert.are.same({ "h1", "h2" }, told)
    assert.are.equal("h2", spoken(answer { "x", "h2", "h1" }))
    for _, none in ipairs { "x", {}, { "" }, { 5 }, 5, false } do assert.is_nil(spoken(answer(none))) end
    assert.is_nil(spoken(answer(nil)))
    assert.is_nil(spoken { "x" })
  end)

  it("refuses a certificate that nobody it trusts has signed, if it is told to verify", function()
    local client, peer = wrapped_pair { cafile = pem "stranger.pem" }
    local other = fern.spawn(peer.dohandshake, peer)
    assert.are.same({ false, "certificate verify failed" }, { client:dohandshake() })
    assert.is_false((other:wait(SOON)))
    finish(client, peer)
    client, peer = wrapped_pair { cafile = pem "stranger.pem", verify = "none" }
    other = fern.spawn(peer.dohandshake, peer)
    assert.is_true(client:dohandshake())
    assert.is_false((client:getpeerverification()))
    other:wait(SOON)
    finish(client, peer)
  end)

  it("goes on with lsec_continue, and tells all that is wrong", function()
    local client, peer = pair(
      { verifyext = "lsec_continue", cafile = pem "stranger.pem", certificate = pem "odd.pem", key = pem "odd.key" },
      { verify = { "peer", "fail_if_no_peer_cert" }, cafile = pem "ca.pem",
        verifyext = { "lsec_continue", "lsec_ignore_purpose" } })
    assert.are.same({ false, { [2] = { "self-signed certificate in certificate chain" } } }, { client:getpeerverification() })
    assert.are.same({ false, { { "self-signed certificate" } } }, { peer:getpeerverification() })
    finish(client, peer)
    client, peer = pair { verifyext = "lsec_continue" }
    assert.are.same({ true }, { client:getpeerverification() })
    finish(client, peer)
  end)

  it("looks for lists of revoked certificates when it is told to", function()
    for _, words in ipairs { "crl_check", "crl_check_chain" } do
      local client, peer = wrapped_pair { verifyext = words }
      local other = fern.spawn(peer.dohandshake, peer)
      assert.are.same({ false, "certificate verify failed" }, { client:dohandshake() })
      other:wait(SOON)
      finish(client, peer)
    end
    assert.are.same({ nil, "invalid verify option (x)" }, { ssl.newcontext(client_cfg { verifyext = "x" }) })
  end)

  it("needs no certificates where both ends know a key", function()
    assert.is_true(ssl.config.capabilities.psk)
    local function anna(hint, ...)
      assert.are.same({ 255, 512 }, { ... })
      assert.are.equal("who?", hint)
      return "anna", "secret"
    end
    local function key(identity, longest)
      assert.are.equal(512, longest)
      return identity == "anna" and "secret" or nil
    end
    local without = { mode = "server", protocol = "tlsv1_2", ciphers = "PSK", psk = { hint = "who?", callback = key } }
    local client, peer = plain_pair()
    client = assert(ssl.wrap(client, client_cfg { psk = anna, ciphers = "PSK", protocol = "tlsv1_2" }))
    peer = assert(ssl.wrap(peer, without))
    local other = fern.spawn(peer.dohandshake, peer)
    assert.is_true(client:dohandshake())
    assert.is_true(other:wait(SOON))
    assert.are.equal("PSK", client:info("authentication"))
    assert.is_nil(client:getpeercertificate())
    assert.are.same({ true }, { client:getpeerverification() })
    finish(client, peer)
  end)

  it("believes the DNS, where it is told to", function()
    assert.are.same({ no_ee_namechecks = true }, ssl.config.capabilities.dane)
    local file <close> = assert(io.open(pem "ours.pem"))
    local digest = ssl.loadcertificate(file:read("a")):digest("sha256")
    local bytes = digest:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
    local function shake(dane, data, host)
      local client, peer = plain_pair()
      client = assert(ssl.wrap(client, { mode = "client", protocol = "any", verify = "peer", dane = dane, capath = "/no/such" }))
      peer = assert(ssl.wrap(peer, server_cfg()))
      local told = { client:setdane(host or "localhost"), client:settlsa(3, 0, 1, data), client:settlsa(9, 9, 9, data) }
      local other = fern.spawn(peer.dohandshake, peer)
      local ok, message = client:dohandshake()
      other:wait(SOON)
      local name = peer:getsniname()
      finish(client, peer)
      return told, ok, message, name
    end
    local all = { true, true, false }
    local told, ok, message, name = shake(true, bytes)
    assert.are.same({ all, true, "localhost" }, { told, ok, name }, message)
    assert.are.same({ all, false, "certificate verify failed" }, { table.unpack({ shake(true, ("x"):rep(32)) }, 1, 3) })
    assert.are.same({ all, false, "certificate verify failed" }, { table.unpack({ shake(true, bytes, "else.test") }, 1, 3) })
    assert.are.same({ all, true }, { table.unpack({ shake({ "no_ee_namechecks" }, bytes, "else.test") }, 1, 2) })
    assert.are.same({ false, false, false }, (shake(nil, bytes)))
  end)

  it("is ended by a close, a kill and a deadline, in its handshake and afterwards", function()
    local client, peer = wrapped_pair()
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.02, client.dohandshake, client) })
    local thread = fern.spawn(client.dohandshake, client)
    fern.sleep(0.01)
    client:close()
    assert.are.same({ true, false, "closed" }, { thread:join(SOON) })
    peer:close()
    client, peer = pair()
    thread = fern.spawn(client.receive, client)
    fern.sleep(0.01)
    thread:kill()
    assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
    thread = fern.spawn(client.receive, client)
    fern.sleep(0.01)
    client:close()
    assert.are.same({ true, nil, "closed", "" }, { thread:join(SOON) })
    peer:close()
  end)

  it("may be selected", function()
    local client, peer = pair()
    client:settimeout(0)
    client:receive()            -- what the handshake leaves behind
    fern.spawn(function()
      fern.sleep(0.01)
      peer:send("one\ntwo\n")
    end)
    client:settimeout(nil)
    assert.are.equal(client, socket.select({ client }, nil, SOON)[1])
    assert.are.equal("one", (client:receive()))
    assert.are.equal(client, socket.select({ client }, nil, 0)[1])
    finish(client, peer)
  end)
end)

describe("a certificate", function()
  local function read(name)
    local file <close> = assert(io.open(pem(name)))
    return file:read("a")
  end

  it("is loaded of a text, or is nil", function()
    assert.are.equal(read "ours.pem", ssl.loadcertificate(read "ours.pem"):pem())
    assert.is_nil(ssl.loadcertificate("x"))
    assert.is_nil(ssl.loadcertificate(read "ours.key"))
    assert.is_nil(ssl.loadcertificate("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n"))
    assert.has_error(ssl.loadcertificate)
  end)

  it("tells what it says as LuaSec does", function()
    local output, code = script.run_text("", ([[
      local function show(value)
        if type(value) ~= "table" then return tostring(value) end
        local names, parts = {}, {}
        for name in pairs(value) do names[#names + 1] = name end
        table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
        for i, name in ipairs(names) do parts[i] = tostring(name) .. "=" .. show(value[name]) end
        return "{" .. table.concat(parts, ", ") .. "}"
      end
      local file = assert(io.open("%s"))
      local text, lines = file:read("a"), { {}, {} }
      for which, ssl in ipairs { require "ssl", (require "fern.ssl") } do
        local one = assert(ssl.loadcertificate(text))
        local function tell(name, ...)
          local parts = table.pack(one[name](one, ...))
          for i = 1, parts.n do parts[i] = show(parts[i]) end
          table.insert(lines[which], name .. ": " .. table.concat(parts, " | "))
        end
        for _, code in ipairs { "ai5", "utf8", "other" } do
          for _, name in ipairs { "subject", "issuer", "extensions" } do tell(name) end
          tell("setencode", code)
        end
        for _, name in ipairs { "pem", "pubkey", "serial", "getsignaturename", "notbefore", "notafter", "digest" } do tell(name) end
        for _, name in ipairs { "sha1", "sha256", "sha512", "md5" } do tell("digest", name) end
        for _, at in ipairs { 0, os.time(), os.time() + 86400 * 3 } do tell("validat", at) end
      end
      assert(require "ssl" ~= require "fern.ssl")
      for i, line in ipairs(lines[1]) do
        if line ~= lines[2][i] then print(line, lines[2][i]) end
      end
      print(#lines[1])
    ]]):format(pem "odd.pem"))
    assert.are.equal(0, code, output)
    assert.are.equal("26\n", output)
  end)

  it("knows whom it has issued, also by way of others", function()
    local ca, ours, stranger =
      ssl.loadcertificate(read "ca.pem"), ssl.loadcertificate(read "ours.pem"), ssl.loadcertificate(read "stranger.pem")
    assert.is_true(ca:issued(ours))
    assert.is_true(ca:issued(ours, stranger))
    assert.are.same({ nil, "unable to get local issuer certificate" }, { stranger:issued(ours) })
    assert.has_error(function() ca:issued() end)
    assert.has_error(function() ca:issued(ours, 5) end)
    getmetatable(ca).__close(ca)
    assert.has_error(function() ca:issued(ours) end)
  end)
end)

it("info says what LuaSec's says", function()
  local text = [[
    local socket, ssl = require(arg[1]), require(arg[2])
    local function check(protocol)
      local server = assert(socket.bind("127.0.0.1", 0))
      local one = assert(socket.connect("127.0.0.1", (select(2, server:getsockname()))))
      local other = { mode = "server", protocol = protocol, certificate = arg[3], key = arg[4] }
      other = assert(ssl.wrap(assert(server:accept()), other))
      one = assert(ssl.wrap(one, { mode = "client", protocol = protocol, verify = "none" }))
      one:settimeout(0)
      other:settimeout(0)
      print(one:info())
      local here, there
      repeat here, there = here or one:dohandshake(), there or other:dohandshake() until here and there
      for _, key in ipairs { "protocol", "cipher", "bits", "algbits", "key", "authentication", "encryption", "mac",
                             "export", "compression" } do
        local value = one:info(key)
        print(key, value == one:info()[key], type(value) == "number" and value // 1 | 0 or value)
      end
      one:close()
      print(one:info())
    end
    check "tlsv1_2"
    check "tlsv1_3"
  ]]
  local expected, code = script.run_text("", text, "socket", "ssl", pem "ours.pem", pem "ours.key")
  assert.are.equal(0, code, expected)
  assert.are.equal(expected, (script.run_text("", text, "fern.socket", "fern.ssl", pem "ours.pem", pem "ours.key")))
end)

describe("a loaded certificate", function()
  local PEM <const> = [[
-----BEGIN CERTIFICATE-----
MIICIDCCAcagAwIBAgIDAIrxMAoGCCqGSM49BAMCMFkxCzAJBgNVBAYTAkZJMRow
GAYDVQQKDBFGZXJuLCBNb3NzIGFuZCBDbzESMBAGA1UEAwwJZmVybi50ZXN0MRow
GAYJKoZIhvcNAQkBFgthQGZlcm4udGVzdDAeFw0yNjAxMDUwMzA0MDVaFw0zNjAy
MDMwNDA1MDZaMFkxCzAJBgNVBAYTAkZJMRowGAYDVQQKDBFGZXJuLCBNb3NzIGFu
ZCBDbzESMBAGA1UEAwwJZmVybi50ZXN0MRowGAYJKoZIhvcNAQkBFgthQGZlcm4u
dGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABL3qW4TSA/W9g8Ft+oVAty+l
CAiSy4sSn370LbfM8la56a1oNXO4pbUVcN4lcRX5BfuBATgzBXtVBpJIhHv7wVej
fTB7MFoGA1UdEQRTMFGCCWZlcm4udGVzdIILKi5mZXJuLnRlc3SHBMAAAgGHECAB
DbgAAAAAAAAAAAAAAAGBC2FAZmVybi50ZXN0hhJodHRwczovL2Zlcm4udGVzdC8w
HQYDVR0OBBYEFKgJm6Fmep8yEbAADEI32WPWppmIMAoGCCqGSM49BAMCA0gAMEUC
IEOlMiv3MlMDQ5JDZS7Kk2Uoh4Y+4RAmhJP9TirM2DG0AiEA+Yy5wG0dco5jEpq4
Ts3mUR8VXcz7VBLsBtQPChJblr8=
-----END CERTIFICATE-----
]]

  local TELLS <const> = [[
    local ssl = require(arg[1])
    local function show(value)
      if type(value) ~= "table" then return tostring(value) end
      local texts = {}
      for key, one in pairs(value) do texts[#texts + 1] = tostring(key) .. "=" .. show(one) end
      table.sort(texts)
      return "{" .. table.concat(texts, ", ") .. "}"
    end
    local certificate = ssl.loadcertificate(arg[2])
    for _, method in ipairs { "subject", "issuer", "serial", "notbefore", "notafter", "pem", "extensions" } do
      print(method, show(certificate[method](certificate)))
    end
    for _, algorithm in ipairs { "sha1", "sha256", "sha512", "none" } do print(certificate:digest(algorithm)) end
    print(certificate:digest(), certificate:validat(1.7e9), certificate:validat(1.8e9))
    print(tostring(certificate):match("^[%w ]+: 0x") , ssl.loadcertificate("none"))
  ]]

  it("says what LuaSec's says", function()
    local expected, code = script.run_text("", TELLS, "ssl", PEM)
    assert.are.equal(0, code, expected)
    assert.are.equal(expected, (script.run_text("", TELLS, "fern.ssl", PEM)))
    assert.is_truthy(expected:find("notbefore\tJan  5 03:04:05 2026 GMT", 1, true))
  end)
end)

describe("newcontext", function()
  it("tells what it cannot do", function()
    local function check(message, more) assert.are.same({ nil, message }, { ssl.newcontext(client_cfg(more)) }) end
    check("invalid mode (x)", { mode = "x" })
    check("invalid protocol (x)", { protocol = "x" })
    check("invalid verify option (x)", { verify = { "peer", "x" } })
    check("invalid ALPN parameter", { alpn = 5 })
    check("invalid password type", { certificate = pem "ours.pem", key = pem "ours.key", password = 5 })
    check("private key does not match public key", { certificate = pem "ours.pem", key = pem "ca.key" })
    check("error loading private key (no such file or directory)", { certificate = pem "ours.pem", key = "/no/such" })
    check("error loading certificate (no such file or directory)", { certificate = "/no/such", key = pem "ours.key" })
    check("error loading private key (no such file or directory)", { key = "/no/such" })
    check("error loading private key (unsupported)", { certificates = { { key = pem "ours.pem" } } })
    check("error loading CA locations (no such file or directory)", { cafile = "/no/such" })
    check("error setting cipher list (no cipher match)", { ciphers = "x" })
    check("elliptic curve 'x' not supported", { curve = "x" })
    check('unknown elliptic curve in "x:y"', { curveslist = "x:y" })
    check("invalid option (x)", { options = { "all", "x" } })
    check("invalid ALPN name (empty string)", { alpn = { "" } })
    check("invalid ALPN list (empty)", { alpn = {} })
    check("invalid DH parameter type", { dhparam = "x" })
    check("invalid PSK configuration", { psk = 5 })
    check("invalid PSK configuration", { psk = { hint = "x", callback = print } })
    assert.is_nil((ssl.wrap(socket.tcp(), client_cfg { mode = "x" })))
    assert.is_truthy(ssl.newcontext(client_cfg { depth = "3", options = "msie_sslv2_rsa_padding" }))
  end)

  it("and wrap say what is wrong with what they are given", function()
    assert.are.same({ nil, "invalid option (no_such)" },
      { ssl.newcontext { mode = "client", protocol = "any", options = "no_such" } })
    assert.has_error(function() ssl.newcontext { mode = "client", protocol = "any", cafile = 5 } end)
    local raised, problem = pcall(ssl.wrap, nil, { mode = "client", protocol = "any" })
    assert.are.same({ false, true }, { raised, problem:find("socket expected, got nil", 1, true) ~= nil })
    local master <close> = socket.tcp4()
    raised, problem = pcall(ssl.wrap, master)
    assert.are.same({ false, true }, { raised, problem:find("table or context expected, got nil", 1, true) ~= nil })
    assert.are.equal(1, master:settimeout(1))
  end)

  it("reads the system's authorities for who verifies only", function()
    local output, code = script.run_text(("export SSL_CERT_FILE=%s; "):format(pem "ca.pem"), [[
      local fern = require "fern"
      local socket, ssl = require "fern.socket", require "fern.ssl"
      local server = assert(socket.bind("127.0.0.1", 0))
      for _, verify in ipairs { "none", "peer" } do
        local client = assert(socket.connect("127.0.0.1", (select(2, server:getsockname()))))
        local cfg = { mode = "server", protocol = "any", certificate = arg[1], key = arg[2] }
        local peer = assert(ssl.wrap(server:accept(), cfg))
        client = assert(ssl.wrap(client, { mode = "client", protocol = "any", verify = verify }))
        local other = fern.spawn(peer.dohandshake, peer)
        print(client:dohandshake(), other:wait(), client:getpeerverification())
      end
    ]], pem "ours.pem", pem "ours.key")
    assert.are.equal(0, code, output)
    assert.are.equal("true\ttrue\tfalse\tunable to get local issuer certificate\ntrue\ttrue\ttrue\n", output)
  end)

  it("makes what many connections share", function()
    local context = assert(ssl.newcontext(client_cfg()))
    for _ = 1, 3 do
      local client, peer = plain_pair()
      local other = fern.spawn(function()
        local secure = assert(ssl.wrap(peer, server_cfg()))
        assert(secure:dohandshake())
        return secure
      end)
      local secure = assert(ssl.wrap(client, context))
      assert(secure:dohandshake())
      finish(secure, other:wait(SOON))
    end
  end)
end)

describe("patch", function()
  it("changes LuaSec in place when that is loaded", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local ssl = require "ssl"
      local wrap = ssl.wrap
      print(fern.patch().ssl, ssl.wrap ~= wrap, ssl.wrap == require("fern.ssl").wrap)
    ]])
    assert.are.equal(0, code, output)
    assert.are.equal("changed\ttrue\ttrue\n", output)
  end)
end)

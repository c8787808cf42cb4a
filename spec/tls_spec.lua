-- SPDX-License-Identifier: MIT
-- fern.tls: streams of TLS, both ends ours, and with OpenSSL's own programs.

local fern = require "fern"
local net = require "fern.net"
local tls = require "fern.tls"
local authority = require "spec.support.authority"
local script = require "spec.support.script"
local support = require "spec.support.threads"

local killed_join = support.killed_join

local made, server_context, client_context

setup(function()
  made = authority.make()
  server_context = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key })
  client_context = assert(tls.context { cafile = made.ca })
end)

local function check_failure(code, pattern, ...)
  local result, message, given = ...
  assert.is_nil(result)
  assert.are.equal(code, given, message)
  assert.is_truthy(message:find(pattern), message)
end

-- ---- what specs are made of ----

-- A plain connection, both ends.
local function plain_pair()
  local listener <close> = assert(net.listen("127.0.0.1", 0))
  local _, port = listener:address()
  local client = assert(net.connect("127.0.0.1", port))
  return client, assert(listener:accept(5))
end

local function both(client, server)
  return support.closing(function()
    client:close()
    server:close()
  end)
end

-- Both ends of TLS: with options of tls.wrap for the client, and for the server.
local function pair(options, serving)
  local client, server = plain_pair()
  local shaking = fern.spawn(tls.wrap, server, serving or { context = server_context, timeout = 10 })
  local ours, message, code =
    tls.wrap(client, options or { context = client_context, host = "ours.test", timeout = 10 })
  local theirs, why = shaking:wait()
  if ours and theirs then return ours, theirs end
  if ours then ours:close() end
  if theirs then theirs:close() end
  return nil, message or why, code
end

-- A server on a port of its own, in threads: handler(stream).
local function serve(handler, context)
  local listener = assert(tls.listen("127.0.0.1", 0, context or server_context))
  local threads = {}
  local function run()
    while true do
      local stream = listener:accept()
      if not stream then return end
      threads[#threads + 1] = fern.spawn(function()
        local held <close> = stream
        return tls.handler(handler)(held)
      end)
    end
  end
  local thread = fern.spawn(run)
  local server = { port = select(2, listener:address()), threads = threads }
  return setmetatable(server, { __close = function()
    listener:close()
    for _, each in ipairs { thread, table.unpack(threads) } do
      each:kill()
      each:join()
    end
  end })
end

local function echo(stream)
  for line in stream:lines("L") do assert(stream:write(line)) end
end

local function connect(server, options)
  options = options or {}
  options.context = options.context or client_context
  options.timeout = options.timeout or 10
  return tls.connect("127.0.0.1", server.port, options)
end

-- Starts a program that reads what a shell says; returns a function that waits for its
-- end and returns its output.
local function program(command, input)
  local path = os.tmpname()
  assert(os.execute(("cd %s && { (%s sleep 0.3) | env -u LD_PRELOAD timeout 20 %s >%s 2>&1; echo >%s.done; } &"):format(
    made.dir, input or "", command, path, path)))
  return function()
    local done
    fern.timeout(25, function()
      repeat
        fern.sleep(0.01)
        done = io.open(path .. ".done")
      until done
    end)
    assert(done, "it has not ended: " .. command):close()
    local file <close> = assert(io.open(path, "rb"))
    os.remove(path)
    os.remove(path .. ".done")
    return file:read("a")
  end
end

describe("a connection", function()
  it("reads and writes as any stream", function()
    local client, server = assert(pair())
    local _ <close> = both(client, server)
    assert(client:write("one\ntwo\n", 3, "\nrest"))
    assert.are.equal("one", server:read())
    assert.are.equal("two\n", server:read("L"))
    assert.are.equal(3, server:read("n"))
    assert(client:shutdown("write"))
    assert.are.equal("\nrest", server:read("a"))
    check_failure("EPIPE", "^closed$", server:read())
    assert(server:write("goodbye"))
    assert.are.equal("good", client:read(4))
    assert.are.equal(3, client:buffered())
  end)

  it("has no port over a Unix socket", function()
    local listener <close> = assert(net.listen_unix "@")
    local plain = assert(net.connect_unix(listener:address()))
    local stream <close> =
      assert(tls.wrap(plain, { context = client_context, host = "ours.test", handshake = false }))
    assert.are.same({ listener:address() }, { stream:peer() })
  end)

  it("tells what was agreed on", function()
    local context = assert(tls.context { cafile = made.ca, alpn = { "h2", "http/1.1" } })
    local client, server = assert(pair({ context = context, host = "ours.test", timeout = 10 },
      { server = true, certificate = made.ours.certificate, key = made.ours.key, alpn = { "http/1.1" } }))
    local _ <close> = both(client, server)
    assert.are.equal("TLSv1.3", client:version())
    assert.are.equal(client:cipher(), server:cipher())
    assert.are.equal("http/1.1", client:alpn())
    assert.are.equal("http/1.1", server:alpn())
    assert.are.equal("ours.test", server:sni())
    assert.is_true(client:verified())
    assert.are.same({ false, "the peer has no certificate" }, { server:verified() })
    assert.is_false(client:session_reused())
    assert.matches("TLSv1.3", tostring(client))
    assert.are.same({ server:address() }, { client:peer() })
    assert.are.equal(client:export("EXPORTER-test", 20), server:export("EXPORTER-test", 20))
    assert.are.equal(48, #client:finished())
    assert.are.same({ client:finished(), client:finished(true) }, { server:finished(true), server:finished() })
    local _, bits, all, details = client:cipher()
    assert.are.same({ 256, 256 }, { bits, all })
    assert.matches("TLSv1.3 +Kx=any", details)
    assert.is_nil(client:want())
  end)

  it("tells what the peer's certificate says", function()
    local client, server = assert(pair())
    local _ <close> = both(client, server)
    local certificate = client:peer_certificate()
    assert.are.equal("CN=ours.test", certificate.subject)
    assert.are.equal("CN=ca.test", certificate.issuer)
    assert.are.same({ { oid = "2.5.4.3", name = "commonName", value = "ours.test" } }, certificate.subject_parts)
    assert.are.equal("ca.test", certificate.issuer_parts[1].value)
    assert.are.same({ "DNS:localhost", "DNS:ours.test", "IP:127.0.0.1" }, certificate.names)
    assert.is_true(certificate.not_before <= os.time() and certificate.not_after > os.time())
    assert.matches("^%x+$", certificate.fingerprint)
    assert.are.equal(64, #certificate.fingerprint)
    assert.matches("^%-%-%-%-%-BEGIN CERTIFICATE", certificate.pem)
    assert.is_nil(client:peer_certificate(7))
    assert.is_nil(server:peer_certificate())
  end)

  it("begins in the middle of a conversation, and loses nothing", function()
    local client, server = plain_pair()
    assert(client:write("STARTTLS\n"))
    local shaking = fern.spawn(tls.wrap, client, { context = client_context, host = "ours.test", timeout = 10 })
    fern.sleep(0.01)
    assert.are.equal("STARTTLS", server:read())
    assert.is_true(server:buffered() > 100)
    local theirs = assert(tls.wrap(server, { context = server_context, timeout = 10 }))
    local ours = assert(shaking:wait())
    local _ <close> = both(ours, theirs)
    check_failure("EBADF", "", server:read())
    assert(ours:write("safe\n"))
    assert.are.equal("safe", theirs:read(5) and "safe")
  end)

  it("leaves the stream alone for want of a file, or while another thread uses it", function()
    local client, server = plain_pair()
    check_failure("ENOENT", "no such file or directory", tls.wrap(client, { host = "ours.test", cafile = "/no/such" }))
    local reading = fern.spawn(client.read, client)
    fern.sleep(0)
    check_failure("EBUSY", "in use", tls.wrap(client, { context = client_context, host = "ours.test" }))
    server:write("here\n")
    assert.are.equal("here", reading:wait())
    assert.is_true(client:write("still\n"))
    assert.are.equal("still", server:read())
    server:close()
    check_failure("ETLS", "the peer left", tls.wrap(client, { context = client_context, host = "ours.test", timeout = 10 }))
    check_failure("EBADF", "", client:read())
  end)

  it("carries much in both directions at once", function()
    local client, server = assert(pair())
    local _ <close> = both(client, server)
    local text = ("0123456789abcdef"):rep(2 ^ 17)
    local function send(stream) assert(stream:write(text)) end
    local function receive(stream) return stream:read(#text) == text end
    local threads = { fern.spawn(send, client), fern.spawn(send, server) }
    local readers = { fern.spawn(receive, client), fern.spawn(receive, server) }
    for _, thread in ipairs(threads) do thread:wait() end
    for _, thread in ipairs(readers) do assert.is_true(thread:wait()) end
  end)

  it("sends files through TLS, never past it", function()
    local client, server = assert(pair())
    local _ <close> = both(client, server)
    local path = made.dir .. "/big"
    local file = assert(io.open(path, "wb"))
    file:write(("secret"):rep(50000))
    file:close()
    local sending = fern.spawn(client.sendfile, client, path)
    assert.are.equal(("secret"):rep(50000), server:read(300000))
    assert.are.equal(300000, sending:wait())
  end)
end)

describe("a client", function()
  local function refused(identity, options, pattern)
    check_failure("ETLS", pattern, pair(options or { context = client_context, host = "ours.test", timeout = 10 },
      { server = true, certificate = identity.certificate, key = identity.key, timeout = 10 }))
  end

  it("refuses certificates that are expired, self-signed, a stranger's, or another host's", function()
    refused(made.expired, nil, "^the certificate of 'ours.test' is refused: certificate has expired$")
    refused(made.self, nil, "self%-signed certificate")
    refused(made.theirs, nil, "hostname mismatch")
    refused(made.ours, { context = client_context, host = "127.0.0.9", timeout = 10 }, "IP address mismatch")
    refused(made.ours, { host = "ours.test", cafile = made.stranger_ca, timeout = 10 }, "issuer certificate")
    refused(made.ours, { host = "ours.test", timeout = 10 }, "issuer certificate")
  end)

  it("takes wildcards for one label", function()
    local serving = { server = true, certificate = made.wild.certificate, key = made.wild.key, timeout = 10 }
    local client, server = assert(pair({ context = client_context, host = "a.wild.test", timeout = 10 }, serving))
    client:close()
    server:close()
    refused(made.wild, { context = client_context, host = "a.b.wild.test", timeout = 10 }, "hostname mismatch")
  end)

  it("wants no host that begins with a dot, which OpenSSL takes for any below it", function()
    local client, server = plain_pair()
    check_failure("EINVAL", "", tls.wrap(client, { context = client_context, host = ".test" }))
    server:close()
  end)

  it("trusts anybody only when told so", function()
    local client, server = assert(pair({ verify = false, timeout = 10 }))
    local _ <close> = both(client, server)
    assert.are.same({ false, "unable to get local issuer certificate" }, { client:verified() })
    local any <close> = assert(pair({ context = client_context, any_host = true, timeout = 10 }))
    assert.is_true(any:verified())
  end)

  it("has to say whom it wants", function()
    local client, server = plain_pair()
    local _ <close> = both(client, server)
    assert.has_error(function() tls.wrap(client, { context = client_context }) end,
      "a client needs the option 'host': who the certificate is to be of")
    assert(client:write("unharmed\n"))
    assert.are.equal("unharmed", server:read())
  end)

  it("connects by name and by address", function()
    local server <close> = serve(echo)
    for _, host in ipairs { "localhost", "127.0.0.1" } do
      local stream <close> = assert(tls.connect(host, server.port, { context = client_context, timeout = 10 }))
      assert(stream:write("hello\n"))
      assert.are.equal("hello", stream:read())
    end
    check_failure("ECONNREFUSED", "refused", tls.connect("127.0.0.1", 1, { context = client_context }))
  end)

  it("resumes its session with the same server", function()
    local server <close> = serve(echo)
    local context = assert(tls.context { cafile = made.ca })
    for i = 1, 3 do
      local stream <close> = assert(connect(server, { context = context }))
      assert(stream:write("x\n"))
      assert.are.equal("x", stream:read())
      assert.are.equal(i > 1, stream:session_reused())
    end
    local without = assert(tls.context { cafile = made.ca, sessions = 0 })
    for _ = 1, 2 do
      local stream <close> = assert(connect(server, { context = without }))
      assert(stream:write("x\n"))
      assert.are.equal("x", stream:read())
      assert.is_false(stream:session_reused())
    end
  end)
end)

describe("a server", function()
  it("asks for certificates of clients", function()
    local serving = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key,
      cafile = made.ca, verify = true })
    local seen
    local server <close> = serve(function(stream)
      seen = stream:peer_certificate()
      assert(stream:write("welcome\n"))
    end, serving)
    local known = assert(tls.context { cafile = made.ca, certificate = made.client.certificate, key = made.client.key })
    local stream <close> = assert(connect(server, { context = known }))
    assert.are.equal("welcome", stream:read())
    assert.are.same({ "DNS:anna.test", "email:anna@client.test" }, seen.names)
    local unknown <close> = assert(connect(server))
    check_failure("ETLS", "certificate required", unknown:read())
    local stranger = assert(tls.context { cafile = made.ca, certificate = made.self.certificate, key = made.self.key })
    local third <close> = assert(connect(server, { context = stranger }))
    check_failure("ETLS", "alert unknown ca", third:read())
  end)

  it("serves names by a table", function()
    local theirs = assert(tls.context { server = true, certificate = made.theirs.certificate, key = made.theirs.key })
    local wild = assert(tls.context { server = true, certificate = made.wild.certificate, key = made.wild.key })
    local context = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key,
      sni = { ["theirs.test"] = theirs, ["*.wild.test"] = wild } })
    local server <close> = serve(function(stream) assert(stream:write(stream:sni() or "none", "\n")) end, context)
    for _, name in ipairs { "theirs.test", "x.wild.test", "ours.test" } do
      local stream <close> = assert(connect(server, { host = name }))
      assert.are.equal(name, stream:read())
    end
    assert(context:add("theirs.test", nil))
    check_failure("ETLS", "hostname mismatch", connect(server, { host = "theirs.test" }))
  end)

  it("serves names by a function, which may take its time", function()
    local theirs = assert(tls.context { server = true, certificate = made.theirs.certificate, key = made.theirs.key })
    local asked = {}
    local context = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key,
      sni = function(name)
        asked[#asked + 1] = name or "none"
        fern.sleep(0.001)
        if name == "nobody.test" then return false end
        return name == "theirs.test" and theirs or nil
      end })
    local server <close> = serve(function(stream) stream:write("hello\n") end, context)
    collectgarbage()
    for _, name in ipairs { "theirs.test", "ours.test", "127.0.0.1" } do
      local stream <close> = assert(connect(server, { host = name }))
      assert.are.equal("hello", stream:read())
    end
    check_failure("ETLS", "unrecognized name", connect(server, { host = "nobody.test" }))
    assert.are.same({ "theirs.test", "ours.test", "none", "nobody.test" }, asked)
  end)

  it("survives a function for names that fails", function()
    local reported = fern.queue()
    fern.on_error(function(err) reported:put(err) end)
    local context = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key,
      sni = function() error("no names today", 0) end })
    local server <close> = serve(echo, context)
    local stream, _, code = connect(server, { host = "ours.test" })
    assert.is_nil(stream)
    assert.is_true(code == "ETLS" or code == "ECONNRESET", code)
    assert.are.equal("no names today", reported:get(5))
  end)

  it("takes new certificates without a restart", function()
    local path = { certificate = made.dir .. "/live.pem", key = made.dir .. "/live.key" }
    local function put(identity)
      assert(os.execute(("cp %s %s && cp %s %s"):format(identity.certificate, path.certificate, identity.key, path.key)))
    end
    put(made.ours)
    local context = assert(tls.context { server = true, certificate = path.certificate, key = path.key })
    local server <close> = serve(echo, context)
    local before <close> = assert(connect(server, { host = "ours.test" }))
    put(made.theirs)
    assert.is_true(context:reload())
    local after <close> = assert(connect(server, { host = "theirs.test" }))
    for _, stream in ipairs { before, after } do
      assert(stream:write("here\n"))
      assert.are.equal("here", stream:read())
    end
    os.remove(path.certificate)
    check_failure("ENOENT", "live.pem: no such file or directory", context:reload())
    check_failure("ETLS", "key values mismatch", context:reload(made.ours.key and { certificate = made.wild.certificate }))
    local still <close> = assert(connect(server, { host = "theirs.test" }))
    assert(still:write("here\n"))
    assert.are.equal("here", still:read())
  end)

  it("gives a silent client its time, and nobody else waits for it", function()
    local context = assert(tls.context { server = true, certificate = made.ours.certificate, key = made.ours.key,
      handshake_timeout = os.getenv "FLAVOUR" == "valgrind" and 5 or 0.5 })
    local listener <close> = assert(tls.listen("127.0.0.1", 0, context))
    local failures = fern.queue()
    local _, port = listener:address()
    local silent <close> = assert(net.connect("127.0.0.1", port))
    local function talk(stream)
      local held <close> = stream
      local ok, message, code = held:handshake()
      if not ok then return failures:put { message, code } end
      held:write("hello\n")
    end
    fern.spawn(talk, assert(listener:accept(5)))
    local busy = fern.spawn(function() talk(assert(listener:accept(5))) end)
    local client <close> = assert(tls.connect("127.0.0.1", port, { context = client_context, timeout = 10 }))
    assert.are.equal("hello", client:read())
    busy:wait()
    assert.are.same({ "timeout", "ETIMEDOUT" }, failures:get(30))
    check_failure("EPIPE", "closed", silent:read())
  end)

  it("is run by serve, which shields it from bad handshakes", function()
    local listener = assert(tls.listen("127.0.0.1", 0, server_context))
    local _, port = listener:address()
    local failures, handled = fern.queue(), 0
    local serving = fern.spawn(tls.serve, listener, function(stream, host)
      handled = handled + 1
      stream:write("hello ", host, "\n")
    end, { max = 10, on_handshake_error = function(message, code) failures:put { message, code } end })
    local garbage <close> = assert(net.connect("127.0.0.1", port))
    assert(garbage:write("GET / HTTP/1.0\r\n\r\n"))
    assert.are.same({ "http request", "ETLS" }, failures:get(5))
    local stream <close> = assert(tls.connect("127.0.0.1", port, { context = client_context, timeout = 10 }))
    assert.are.equal("hello 127.0.0.1", stream:read())
    check_failure("EPIPE", "closed", stream:read())
    assert.are.equal(1, handled)
    serving:kill()
    killed_join(serving)
    check_failure("ECONNREFUSED", "", net.connect("127.0.0.1", port))
  end)

  it("holds 200 connections at once", function()
    local patient = { server = true, certificate = made.ours.certificate, key = made.ours.key, handshake_timeout = 100 }
    local server <close> = serve(echo, patient)
    local pool = fern.pool(200)
    local open = fern.waitgroup()
    open:add(200)
    local function talk(i)
      local stream <close> = assert(connect(server, { timeout = 100 }))
      open:done()
      open:wait()               -- until all of them are connected
      for n = 1, 3 do
        assert(stream:write(i, ".", n, "\n"))
        assert(stream:read() == i .. "." .. n)
      end
      return i
    end
    local numbers = {}
    for i = 1, 200 do numbers[i] = i end
    assert.are.same(numbers, pool:map(talk, numbers))
  end)
end)

describe("the end", function()
  it("is told from a cut", function()
    local client, server = plain_pair()
    local fd_client = client
    local shaking = fern.spawn(tls.wrap, server, { context = server_context, timeout = 10 })
    local ours = assert(tls.wrap(fd_client, { context = client_context, host = "ours.test", timeout = 10 }))
    local theirs = assert(shaking:wait())
    local _ <close> = both(ours, theirs)
    assert(theirs:write("not the e"))
    assert(theirs:shutdown("write"))
    assert.are.equal("not the e", ours:read("a"))
    assert.is_false(ours:truncated())
  end)

  it("without a good-bye is an error, and takes no half line for a line", function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    -- a relay that forwards until it is told to cut
    local client <close> = assert(net.connect("127.0.0.1", port))
    local near = assert(listener:accept(5))
    local far, server = plain_pair()
    local threads = { fern.spawn(near.copy_to, near, far), fern.spawn(far.copy_to, far, near) }
    local shaking = fern.spawn(tls.wrap, server, { context = server_context, timeout = 10 })
    local ours <close> = assert(tls.wrap(client, { context = client_context, host = "ours.test", timeout = 10 }))
    local theirs <close> = assert(shaking:wait())
    assert(theirs:write("whole\nhalf of a li"))
    assert.are.equal("whole", ours:read())
    near:close()
    far:close()
    for _, thread in ipairs(threads) do thread:join() end
    local line, message, code = ours:read()
    assert.is_nil(line)
    assert.is_true(code == "ETLS" and message:find("without a good%-bye") ~= nil or code == "ECONNRESET", message)
  end)

  it("by a reset is told to who writes, whatever the size", function()
    for _, size in ipairs { 1, 16384, 100000 } do
      local client, server = plain_pair()
      server:setoption("linger", 0)
      local shaking = fern.spawn(tls.wrap, server, { context = server_context, timeout = 10 })
      local ours <close> = assert(tls.wrap(client, { context = client_context, host = "ours.test", timeout = 10 }))
      local theirs = assert(shaking:wait())
      theirs:close()
      check_failure("ECONNRESET", "reset by peer", ours:write(("x"):rep(size)))
      check_failure("EPIPE", "closed", ours:write("x"))
    end
  end)

  it("that fails while bytes are copied to it has its own words", function()
    local source, from = plain_pair()
    local peer, lower = plain_pair()
    local to <close> = assert(tls.wrap(lower, { context = client_context, host = "ours.test", handshake = false }))
    source:write("secret")
    peer:write("220 no TLS here\r\n")
    local copied = table.pack(from:copy_to(to, nil, 10))
    assert.are.same({ nil, "writing: wrong version number", "ETLS", 0, n = 4 }, copied)
    assert.are.equal("secret", from:read(6, 10))
    local _, message = to:copy_to(from, nil, 10)
    assert.are.equal("reading: wrong version number", message)
    for _, stream in ipairs { source, from, peer } do stream:close() end
  end)

  it("of both is waited for by shutdown", function()
    local client, server = assert(pair())
    local _ <close> = both(client, server)
    check_failure("ETIMEDOUT", "^timeout$", client:shutdown("both", 0.01))
    local thread = fern.spawn(client.shutdown, client, "both", 10)
    assert.is_true(server:shutdown("both", 10))
    assert.is_true(thread:wait())
  end)
end)

describe("a call", function()
  it("that is killed or out of time leaves a connection that goes on", function()
    local client, server = assert(pair())
    local _ <close> = both(client, server)
    check_failure("ETIMEDOUT", "^timeout$", client:read("l", 0.005))
    local reader = fern.spawn(client.read, client)
    fern.sleep(0)
    reader:kill()
    killed_join(reader)
    local flood = ("x"):rep(1000000)
    local sent = select(4, fern.timeout(5, function()
      client:settimeout(0.02)
      while true do
        local ok, message, code, written = client:write(flood)
        if not ok then return ok, message, code, written end
      end
    end))
    assert.is_true(sent >= 0)
    client:settimeout(5)
    local draining = fern.spawn(function()
      local count = 0
      for piece in function() return server:read_some(65536) end do count = count + #piece end
      return count
    end)
    assert(client:write("and the end\n"))
    assert(client:shutdown("write"))
    assert.are.equal((sent + 12) % 1000000, draining:wait() % 1000000)
  end)

  local function stages(client)
    return {
      function() return client:handshake() end, function() return client:read() end,
      function() return client:write("x") end, function() return client:shutdown() end,
    }
  end

  it("hears a kill, though the connection is closed in the same turn", function()
    for stage = 1, 4 do
      local client, peer = plain_pair()
      local _ <close> = peer
      client = assert(tls.wrap(client, { context = client_context, host = "ours.test", handshake = false }))
      local thread = fern.spawn(function()
        stages(client)[stage]()
        return "goes on"
      end)
      fern.sleep(0.002)
      thread:kill()
      client:close()
      killed_join(thread)
    end
    local client, server = assert(pair())
    local thread = fern.spawn(function() return client:read() end)
    fern.sleep(0.002)
    thread:kill()
    client:close()
    killed_join(thread)
    server:close()
  end)

  it("ends when another thread closes the connection, at every stage", function()
    for stage = 1, 4 do
      local plain, peer = plain_pair()
      local _ <close> = peer
      local client <close> = assert(tls.wrap(plain, { context = client_context, host = "ours.test", handshake = false }))
      local thread = fern.spawn(stages(client)[stage])
      fern.sleep(0.002)
      client:close()
      check_failure("EBADF", "", thread:wait())
    end
  end)

  it("is killed at once in the handshake", function()
    local plain, other = plain_pair()
    local _ <close> = other
    local thread = fern.spawn(tls.wrap, plain, { context = client_context, host = "ours.test" })
    fern.sleep(0.002)
    thread:kill()
    killed_join(thread)
    other:read("a")             -- the connection has been closed
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.01, function()
      local one, two = plain_pair()
      local _ <close> = two
      return tls.wrap(one, { context = client_context, host = "ours.test" })
    end) })
  end)

  it("meets garbage, and says what it was", function()
    local client, server = plain_pair()
    local shaking = fern.spawn(tls.wrap, server, { context = server_context, timeout = 10 })
    assert(client:write("GET / HTTP/1.0\r\n\r\n"))
    check_failure("ETLS", "http request", shaking:wait())
    client:close()
    local one, two = plain_pair()
    assert(two:write("220 mail.test ESMTP\r\n"))
    check_failure("ETLS", "wrong version number", tls.wrap(one, { context = client_context, host = "x", timeout = 10 }))
    two:close()
  end)
end)

describe("a context", function()
  it("opens keys with their passwords", function()
    local locked = { server = true, certificate = made.locked.certificate, key = made.locked.key }
    check_failure("ETLS", "locked.key: ", tls.context(locked))
    locked.password = "wrong"
    check_failure("ETLS", "locked.key: ", tls.context(locked))
    locked.password = "sesame"
    assert.is_truthy(tls.context(locked))
  end)

  it("trusts the system's authorities, or fails for want of a descriptor", function()
    local output = script.run_text("", [[
      local tls = require "fern.tls"
      local unix = require "spec.support.unix"
      unix.limit("files", 3)
      print(select(3, tls.context {}))
      unix.limit("files", 100)
      print(tls.context {})
    ]])
    assert.are.equal("EMFILE\nfern.tls.context (client)\n", output)
  end)

  it("takes PEM in place of a file's name", function()
    local function text(path)
      local file <close> = assert(io.open(path, "rb"))
      return file:read("a")
    end
    local serving = { server = true, certificate = text(made.ours.certificate), key = text(made.ours.key), timeout = 10 }
    local client, server = assert(pair({ cafile = text(made.ca), host = "ours.test", timeout = 10 }, serving))
    client:close()
    server:close()
  end)

  it("tells what is wrong with its options", function()
    check_failure("ENOENT", "/no/such: no such file or directory", tls.context { cafile = "/no/such" })
    check_failure("ETLS", "ciphers: no cipher match", tls.context { ciphers = "NONE-SUCH" })
    check_failure("ETLS", "no certificate or crl found", tls.context { cafile = made.ours.key })
    local wrong = {
      { { bad = 1 }, "unknown option 'bad'" }, { { cafile = 7 }, "bad option 'cafile'" },
      { { cafile = "a\0b" }, "bad option 'cafile'" }, { { server = true }, "a server needs the option 'certificate'" },
      { { min_version = "SSLv2" }, "bad option 'min_version'" }, { { verify = "maybe" }, "bad option 'verify'" },
      { { alpn = { "" } }, "bad option 'alpn'" }, { { alpn = "h2" }, "bad option 'alpn'" },
      { { options = { "no_such" } }, "OpenSSL has no 'no_such'" }, { { sni = {} }, "bad option 'sni'" },
      { { handshake_timeout = 0 }, "bad option 'handshake_timeout'" }, { { depth = -1 }, "bad option 'depth'" },
      { { server = true, sni = { a = 1 } }, "bad option 'sni'" },
      { { server = true, sni = 7 }, "bad option 'sni'" },
    }
    for _, each in ipairs(wrong) do
      local ok, message = pcall(tls.context, each[1])
      assert.is_false(ok)
      assert.is_truthy(tostring(message):find(each[2], 1, true), message)
    end
    assert.has_error(function() tls.connect("x", 1, { context = client_context, cafile = made.ca }) end)
    assert.has_error(function() tls.connect("x", 1, { timeout = "soon" }) end)
    assert.has_error(function() client_context:reload { server = true } end)
  end)

  it("may insist on a version", function()
    local old = { server = true, certificate = made.ours.certificate, key = made.ours.key, max_version = "TLSv1.2", timeout = 10 }
    local client, server = assert(pair(nil, old))
    assert.are.equal("TLSv1.2", client:version())
    client:close()
    server:close()
    check_failure("ETLS", "version", pair({ cafile = made.ca, min_version = "1.3", host = "ours.test", timeout = 10 }, old))
  end)
end)

describe("OpenSSL's own", function()
  it("s_client talks to our server, and may not negotiate again", function()
    local server <close> = serve(echo)
    local command = "openssl s_client -connect 127.0.0.1:%d -CAfile ca.pem -verify_return_error -verify_hostname ours.test %s"
    local output = program(command:format(server.port, "-quiet -no_ign_eof"), "printf 'hello\\n';")()
    assert.matches("\nhello\n", output)
    output = program(command:format(server.port, "-tls1_2"), "printf 'hello\\n'; sleep 0.3; printf 'R\\n';")()
    assert.matches("hello", output)
    assert.matches("no renegotiation", output)
  end)

  it("s_server talks to our client, and resumes its sessions", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    listener:close()
    local ended = program(("openssl s_server -accept 127.0.0.1:%d -cert ours.pem -key ours.key -rev -naccept 2"):format(port))
    for i = 1, 2 do
      local stream, message
      for _ = 1, 500 do
        stream, message = tls.connect("localhost", port, { context = client_context, timeout = 10 })
        if stream then break end
        fern.sleep(0.01)
      end
      local held <close> = assert(stream, message)
      assert(held:write("stressed\n"))
      assert.are.equal("desserts", held:read())
      assert.are.equal(i == 2, held:session_reused())
      assert(held:shutdown("write"))
    end
    ended()
  end)
end)

describe("fern.tls without OpenSSL", function()
  it("says what to install", function()
    local output = script.run_text("", [[
      table.insert(package.searchers, 1, function(name)
        if name == "fern.tls.openssl" then error("module 'fern.tls.openssl' not found: as if", 0) end
      end)
      print(pcall(require, "fern.tls"))
      print(pcall(require, "fern.ssl"))
    ]])
    local line <const> = "false\tfern.tls needs a fern built with OpenSSL 3 %(Debian: libssl%-dev[^\n]*\n"
    assert.matches("^" .. line:rep(2) .. "$", output)
  end)
end)

-- SPDX-License-Identifier: MIT
-- Bodies that are sent in pieces, and forms: to the real web server, every byte;
-- and to servers that do not read, answer early, reset, or send us elsewhere.

local fern = require "fern"
local http = require "fern.http"
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local site

setup(function()
  site = nginx.start()
  os.execute("mkdir -p " .. site.dir .. "/www/put")
end)
teardown(function() site:stop() end)

-- A function that gives `text` in pieces of that size, and parks now and then.
local function pieces(text, size)
  local position = 1
  return function()
    if position > #text then return nil end
    local piece = text:sub(position, position + size - 1)
    position = position + size
    if position % 7 == 0 then fern.sleep(0) end
    return piece
  end
end

local function check_failure(code, pattern, response, message, given)
  assert.is_nil(response)
  assert.are.equal(code, given, message)
  assert.is_truthy(message:find(pattern), message)
end

local function read_chunked(connection)
  local list = {}
  while true do
    local size = tonumber((connection:read("l") or "0"):match("^%x+"), 16)
    if size > 0 then list[#list + 1] = connection:read(size) end
    connection:read("l")
    if size == 0 then return table.concat(list) end
  end
end

-- Answers with what it was sent; keeps the last request.
local function echo()
  return server.serve(function(connection, self)
    while true do
      local first, headers, body = server.read_request(connection)
      if not first then return end
      if headers["transfer-encoding"] == "chunked" then body = read_chunked(connection) end
      self.first, self.headers = first, headers
      server.answer(connection, body)
    end
  end)
end

local function post(url, body, options)
  options = options or {}
  options.url, options.body = url, body
  return http.request(options)
end

local function await(condition)
  local limit = fern.now() + 5
  while not condition() do
    assert(fern.now() < limit, "waited in vain")
    fern.sleep(0.001)
  end
end

-- A body that never goes on after its first piece, and tells when it was left.
local function hanging()
  local self = {}
  self.body = function()
    if not self.begun then
      self.begun = true
      return "begun"
    end
    local _ <close> = setmetatable({}, { __close = function() self.left = true end })
    fern.sleep(math.huge)
  end
  return self
end

describe("a body in pieces", function()
  it("arrives, every byte, of many at once, over each version", function()
    local function put(i)
      local kind = i % 2 == 0 and "http" or "secure"
      local url = site:url(kind, ("/put/%d.txt"):format(i))
      local options = { method = "PUT", cafile = site.dir .. "/ca.pem" }
      if i % 3 == 0 then options.body_size = #nginx.page(i) end
      local response = assert(post(url, pieces(nginx.page(i), i * 31 % 5000 + 1), options))
      assert(response.status == 201 or response.status == 204, response.status)
      assert(assert(http.get(url, { cafile = options.cafile })).body == nginx.page(i), "page " .. i)
      return true
    end
    local numbers = {}
    for i = 1, 100 do numbers[i] = i end
    assert.are.equal(100, #fern.pool(50):map(put, numbers))
  end)

  it("has its connection to itself, while others share one", function()
    local trust = { cafile = site.dir .. "/ca.pem" }
    local page = site:url("secure", "/page/3.html")
    local begun, go_on = fern.event(), fern.event()
    local function body()
      if begun:ready() then return go_on:wait() end
      begun:send()
      return "begun"
    end
    local put = fern.spawn(function()
      return post(site:url("secure", "/put/alone.txt"), body, { method = "PUT", cafile = trust.cafile })
    end)
    begun:wait()
    for _ = 1, 3 do assert.is_true(assert(http.get(page, trust)).body == nginx.page(3)) end
    go_on:send()
    local _, response = assert(put:join())
    assert.are.equal(201, assert(response).status)
    assert.are.equal("begun", assert(http.get(site:url("secure", "/put/alone.txt"), trust)).body)
  end)

  it("is longer than any buffer", function()
    local url = site:url("http", "/put/big.txt")
    assert(post(url, pieces(nginx.big, 100000), { method = "PUT" }))
    assert.is_true(assert(http.get(url)).body == nginx.big)
  end)

  it("goes out in chunks, or with the length that was told", function()
    local peer <close> = echo()
    assert.are.equal("abcdef", assert(post(peer.url, pieces("abcdef", 2))).body)
    assert.are.equal("POST / HTTP/1.1", peer.first)
    assert.are.equal("chunked", peer.headers["transfer-encoding"])
    assert.is_nil(peer.headers.expect)
    assert.is_nil(peer.headers["content-type"])
    assert.are.equal("abcdef", assert(post(peer.url, pieces("abcdef", 4), { method = "PATCH", body_size = 6 })).body)
    assert.are.equal("PATCH / HTTP/1.1", peer.first)
    assert.are.equal("6", peer.headers["content-length"])
    assert.are.equal("", assert(post(peer.url, function() end)).body)
    assert.are.equal("ab", assert(post(peer.url, pieces("ab", 1), { method = "PUT" })).body)
    assert.are.equal("PUT / HTTP/1.1", peer.first)
    assert.are.equal("", assert(post(peer.url, function() end, { body_size = 0 })).body)
  end)

  it("without a length is not for HTTP/1.0", function()
    local peer <close> = echo()
    assert.is_nil(post(peer.url, pieces("abcdef", 2), { http_version = "1.0" }))
    assert.are.equal("abcdef", assert(post(peer.url, pieces("abcdef", 2), { http_version = "1.0", body_size = 6 })).body)
  end)

  it("that is not as long as was told is a failure", function()
    local peer <close> = echo()
    for _, size in ipairs { 5, 7, 100000, 0 } do
      check_failure("EINVAL", "as long as announced", post(peer.url, pieces("abcdef", 2), { body_size = size }))
    end
    assert.are.equal("abcdef", assert(post(peer.url, pieces("abcdef", 2), { body_size = 6 })).body)
  end)

  it("comes from streams and files", function()
    local peer <close> = echo()
    local source = assert(http.get(peer.url .. "x", { stream = true, method = "POST", body = nginx.big }))
    assert.is_true(assert(post(peer.url, source.body)).body == nginx.big)
    local file <close> = io.open("README.md", "rb")
    local text = file:read("a")
    file:seek("set")
    assert.is_true(assert(post(peer.url, file)).body == text)
  end)

  it("of a stream that breaks off makes the request fail like it", function()
    local peer <close> = echo()
    local short <close> = server.serve(function(connection)
      server.read_request(connection)
      connection:write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123")
    end)
    local source = assert(http.get(short.url, { stream = true }))
    check_failure("ECONNRESET", "^http://127%.0%.0%.1:%d+/: ", post(peer.url, source.body))
  end)

  it("is sent again over a new connection where a kept one is dead", function()
    local once <close> = server.serve(function(connection)
      local _, headers = server.read_request(connection)
      server.answer(connection, headers["transfer-encoding"] and read_chunked(connection) or "")
    end)
    for _ = 1, 20 do assert.are.equal("abcdef", assert(post(once.url, pieces("abcdef", 2))).body) end
  end)

  it("and the answer's body go both ways at once", function()
    local peer <close> = server.serve(function(connection)
      server.read_request(connection)
      connection:write("HTTP/1.1 200 OK\r\n\r\n")
      while true do
        local size = tonumber(connection:read("l"), 16)
        local piece = size > 0 and connection:read(size)
        connection:read("l")
        if not piece then return end
        connection:write(piece:upper(), "\n")
      end
    end)
    local questions = fern.queue()
    local response = assert(post(peer.url, function() return (questions:get()) end, { stream = true }))
    for _, word in ipairs { "one", "two", "three" } do
      questions:put(word)
      assert.are.equal(word:upper(), response:read("l"))
    end
    questions:close()
    assert.are.equal("", response:read("a"))
  end)
end)

describe("a body that fails", function()
  it("raises what it raised", function()
    local peer <close> = echo()
    local thing = {}
    local ok, err = pcall(post, peer.url, function() error(thing) end)
    assert.is_true(not ok and err == thing)
    ok, err = pcall(post, peer.url, function() return 42 end)
    assert.is_true(not ok)
    assert.is_truthy(err:find("bad body %(string expected, got number"), err)
    assert.are.equal("x", assert(post(peer.url, "x")).body)
  end)

  it("fails the request with its own message and code", function()
    local peer <close> = echo()
    check_failure("EWHY", ": for no reason$", post(peer.url, function() return nil, "for no reason", "EWHY" end))
  end)

  it("does so at once, whatever the server does", function()
    local silent <close> = server.serve(server.stall)
    check_failure("EWHY", "no reason", post(silent.url, function()
      await(function() return silent.accepted > 0 end)
      return nil, "for no reason", "EWHY"
    end))
    local given = 0
    check_failure("EWHY", "no reason", post(silent.url, function()
      given = given + 1
      if given < 10 then return "piece" end
      fern.sleep(0.01)
      return nil, "for no reason", "EWHY"
    end))
  end)

  it("after the head of the answer breaks off its body", function()
    local peer <close> = server.serve(function(connection)
      server.read_request(connection)
      connection:write("HTTP/1.1 200 OK\r\n\r\nbegun")
      connection:read("a")
    end)
    local go = fern.event()
    local response = assert(post(peer.url, function()
      go:wait()
      return nil, "for no reason", "EWHY"
    end, { stream = true }))
    assert.are.equal("begun", response:read(5))
    go:send()
    local rest, _, code = response:read(1)
    assert.is_nil(rest)
    assert.are.equal("ERAISED", code)
    response:close()
  end)
end)

describe("a server", function()
  it("that does not read is not sent more than it takes", function()
    local deaf <close> = server.serve(function(connection)
      connection:read("l")
      server.stall()
    end)
    local given, piece = 0, ("x"):rep(100000)
    local thread = fern.spawn(post, deaf.url, function()
      given = given + #piece
      return piece
    end)
    local last = -1
    await(function()
      local stalled = given == last
      last = given
      fern.sleep(0.05)
      return stalled and given > 0
    end)
    assert.is_true(given < 32 * 1024 * 1024, tostring(given))
    thread:kill()
    thread:join()
  end)

  it("that answers before it has read the body is heard, and the body ends", function()
    local early <close> = server.serve(function(connection)
      connection:read("l")
      connection:write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
      connection:read("a")
    end)
    local body = hanging()
    local response = assert(post(early.url, body.body))
    assert.are.equal(413, response.status)
    assert.are.equal("no", response.body)
    assert.is_true(not body.begun or body.left)
  end)

  it("that closes in the midst of it fails the request, and the body ends", function()
    local resets <close> = server.serve(function(connection) connection:read("l") end)
    local body = hanging()
    check_failure("ECONNRESET", "", post(resets.url, body.body))
    assert.is_true(not body.begun or body.left)
    check_failure("ECONNRESET", "", post(resets.url, function() return ("x"):rep(10000) end))
  end)

  it("that is not there fails it, too", function()
    local body = hanging()
    check_failure("ECONNREFUSED", "refused", post(site:url("nobody", "/"), body.body))
    check_failure("EAI_NONAME", "", post("http://host.invalid/", body.body, { timeout = 5 }))
    for _, url in ipairs { "x", "http://a\0b/", "http://a b/" } do
      check_failure("EINVAL", "not a valid URL", post(url, body.body))
    end
    assert.is_true(not body.begun or body.left)
  end)

  it("that sends it elsewhere gets it once", function()
    for _, status in ipairs { 301, 302, 303 } do
      assert.are.equal("GET", assert(post(site:url("http", "/turn/" .. status), pieces("abc", 1))).body)
    end
    for _, status in ipairs { 307, 308 } do
      check_failure("EREDIRECTS", "the body cannot be sent again", post(site:url("http", "/turn/" .. status), pieces("abc", 1)))
    end
  end)
end)

describe("whoever sends", function()
  local silent

  before_each(function() silent = server.serve(server.stall) end)
  after_each(function() silent:close() end)

  it("is killed, and so is the body", function()
    local body = hanging()
    local thread = fern.spawn(post, silent.url, body.body)
    await(function() return body.begun end)
    fern.sleep(0.01)
    thread:kill()
    thread:join()
    await(function() return body.left end)
  end)

  it("is out of time, and the body ends", function()
    local body = hanging()
    check_failure("ETIMEDOUT", ": timeout$", post(silent.url, body.body, { timeout = 0.03 }))
    assert.is_true(body.left)
    body = hanging()
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.03, post, silent.url, body.body) })
    await(function() return body.left end)
  end)

  it("closes a streamed answer, and the body ends", function()
    local begins <close> = server.serve(function(connection)
      server.read_request(connection)
      connection:write("HTTP/1.1 200 OK\r\n\r\n")
      connection:read("a")
    end)
    local body = hanging()
    local response = assert(post(begins.url, body.body, { stream = true }))
    await(function() return body.begun end)
    response:close()
    await(function() return body.left end)
  end)

  it("is killed at any time, and leaves nothing", function()
    for rounds = 0, 8 do
      local threads = {}
      for i = 1, 20 do threads[i] = fern.spawn(post, silent.url, hanging().body) end
      for _ = 1, rounds do fern.sleep(0.0005) end
      for _, thread in ipairs(threads) do thread:kill() end
      for _, thread in ipairs(threads) do thread:join() end
    end
    await(function() return http.statistics().running == 0 end)
  end)
end)

describe("a form", function()
  it("is sent as browsers do: names in order, or pairs in theirs", function()
    local peer <close> = echo()
    assert.are.equal("a=1&a=2&b=x%20%26%20y&c=%C3%A4",
      assert(http.request { url = peer.url, form = { b = "x & y", c = "ä", a = { 1, 2 } } }).body)
    assert.are.equal("application/x-www-form-urlencoded", peer.headers["content-type"])
    assert.are.equal("POST / HTTP/1.1", peer.first)
    assert.are.equal("b=1&a=2&b=3", assert(http.request { url = peer.url, form = { { "b", 1 }, { "a", 2 }, { "b", 3 } } }).body)
    assert.are.equal("", assert(http.request { url = peer.url, form = {} }).body)
    assert.are.equal("a=1", http.encode { a = 1 })
  end)

  it("goes into the URL as its query", function()
    local peer <close> = echo()
    local function asked(path, query)
      assert(http.get(peer.url .. path, { query = query }))
      return peer.first:match("^GET (%S+) ")
    end
    assert.are.equal("/p?a=1", asked("p", { a = 1 }))
    assert.are.equal("/p?z=0&a=1", asked("p?z=0", { a = 1 }))
    assert.are.equal("/p?a=%23", asked("p#part", { a = "#" }))
    assert.are.equal("/p", asked("p", {}))
  end)

  -- The parts of a multipart body: { headers, content } each.
  local function parts_of(headers, body)
    local boundary = headers["content-type"]:match("^multipart/form%-data; boundary=(%S+)$")
    local list = {}
    for head, content in ("\r\n" .. body):gsub("\r\n%-%-" .. boundary:gsub("%p", "%%%0"), "\0"):gmatch("%z\r\n(.-)\r\n\r\n(%Z*)") do
      list[#list + 1] = { head, content }
    end
    return list
  end

  it("of several parts has texts, functions, streams and files", function()
    local peer <close> = echo()
    local response = assert(http.request { url = peer.url, multipart = {
      { name = "text", body = "some text" },
      { name = "file", file = "LICENSE", type = "text/plain" },
      { name = "function", body = pieces("abcdef", 1), filename = "f.txt" },
      { name = "sized", body = pieces("abc", 2), size = 3 },
      number = 42,
    } })
    local parts = parts_of(peer.headers, response.body)
    local file <close> = io.open("LICENSE", "rb")
    assert.are.same({
      { 'Content-Disposition: form-data; name="text"', "some text" },
      { 'Content-Disposition: form-data; name="file"; filename="LICENSE"\r\nContent-Type: text/plain', file:read("a") },
      { 'Content-Disposition: form-data; name="function"; filename="f.txt"\r\nContent-Type: text/plain', "abcdef" },
      { 'Content-Disposition: form-data; name="sized"', "abc" },
      { 'Content-Disposition: form-data; name="number"', "42" },
    }, parts)
    assert.is_nil(peer.headers["content-length"])
    assert(http.request { url = peer.url, multipart = { a = "1", b = { file = "LICENSE" } } })
    assert.is_truthy(peer.headers["content-length"])
  end)

  it("of several parts waits for one that comes late, at whatever time", function()
    local peer <close> = echo()
    for rounds = 0, 20 do
      local given
      local function late()
        for _ = 1, rounds do fern.sleep(rounds % 3 * 0.0001) end
        given = not given
        return given and "late" or nil
      end
      local multipart = { { name = "a", body = late, size = rounds % 2 == 0 and 4 or nil }, { name = "b", body = "text" } }
      local response = assert(http.request { url = peer.url, multipart = multipart })
      assert.is_truthy(response.body:find("late.*text"))
    end
  end)

  it("of several parts is sent again where a redirect asks for it", function()
    local peer <close> = server.serve(function(connection)
      while true do
        local first, headers, body = server.read_request(connection)
        if not first then return end
        if first:find("/moved") then
          connection:write("HTTP/1.1 307 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
        else
          server.answer(connection, parts_of(headers, body)[1][2])
        end
      end
    end)
    assert.are.equal("again", assert(http.request { url = peer.url .. "moved", multipart = { a = "again" } }).body)
    local file = { file = "LICENSE" }
    check_failure("EREDIRECTS", "sent again", http.request { url = peer.url .. "moved", multipart = { a = file } })
  end)

  it("cannot be made to say more than it should", function()
    local peer <close> = echo()
    local response = assert(http.request { url = peer.url, multipart = {
      ['a"\r\nX-Evil: 1'] = { body = "1", filename = 'b".txt' },
    } })
    local parts = parts_of(peer.headers, response.body)
    local head = 'Content-Disposition: form-data; name="a%22%0D%0AX-Evil: 1"; filename="b%22.txt"\r\nContent-Type: text/plain'
    assert.are.equal(head, parts[1][1])
    for _, part in ipairs { { body = "1", type = "a\r\nX: 1" }, { body = "1", filename = "\n" }, { body = "1", type = "\0" } } do
      assert.has_error(function() http.request { url = peer.url, multipart = { a = part } } end)
    end
  end)

  it("with a file that is not there is not sent", function()
    local peer <close> = echo()
    check_failure("ENOENT", "no%-such%-file", http.request { url = peer.url, multipart = { a = { file = "/no-such-file" } } })
    assert.are.equal(0, peer.accepted)
  end)

  it("whose part fails fails like it", function()
    local peer <close> = echo()
    check_failure("EWHY", "no reason", http.request { url = peer.url, multipart = {
      { name = "a", body = pieces("abc", 1) },
      { name = "b", body = function() return nil, "for no reason", "EWHY" end },
    } })
  end)
end)

describe("misuse of bodies", function()
  local function check_misuse(pattern, options)
    options.url = "http://127.0.0.1:1/"
    local ok, err = pcall(http.request, options)
    assert.is_false(ok)
    assert.is_truthy(err:find(pattern), err)
  end

  it("raises, and says what is wrong", function()
    check_misuse("'body' and 'form' exclude each other", { body = "x", form = {} })
    check_misuse("'form' and 'multipart'", { form = {}, multipart = { a = "1" } })
    check_misuse("'body_size' goes with", { body = "x", body_size = 1 })
    check_misuse("'body_size'.*whole number of 0", { body = function() end, body_size = -1 })
    check_misuse("'form'.*table expected", { form = "a=1" })
    check_misuse("'query'.*table expected", { query = "a=1" })
    check_misuse("bad field 'a' %(string expected, got boolean", { form = { a = true } })
    check_misuse("bad field %(a pair of name and value expected at 1", { form = { "a=1" } })
    check_misuse("'multipart'.*table expected", { multipart = "a" })
    check_misuse("'multipart'.*no parts", { multipart = {} })
    check_misuse("bad part %(it has no name", { multipart = { { body = "1" } } })
    check_misuse("bad part 'a' %(either 'body' or 'file'", { multipart = { a = {} } })
    check_misuse("bad part 'a' %(its body is a boolean", { multipart = { a = { body = true } } })
    check_misuse("unknown key 'fil' in part 'a'", { multipart = { a = { fil = "x" } } })
    check_misuse("bad part 'a' %(its size", { multipart = { a = { body = function() end, size = -1 } } })
    check_misuse("'cookies'.*jar of cookies expected", { cookies = {} })
  end)
end)

-- SPDX-License-Identifier: MIT
-- fern.http against servers that reset, stall, lie and send garbage, and
-- against callers that misuse it. Whatever happens to one request, others go
-- on: each spec of a stall ends only if nothing waits for the stalled one.

local fern = require "fern"
local http = require "fern.http"
local server = require "spec.support.server"

local function check_failure(code, pattern, response, message, given)
  assert.is_nil(response)
  assert.are.equal(code, given, message)
  assert.is_truthy(message:find("^http"), message)
  assert.is_truthy(message:find(pattern), message)
end

-- A server that answers every request with `text`, and closes.
local function says(text)
  return server.serve(function(connection)
    server.read_request(connection)
    connection:write(text)
  end)
end

local function get_from(text, options)
  local hostile <close> = says(text)
  return http.get(hostile.url, options)
end

-- A server that is as it should be, and whoever asks it 20 times meanwhile.
local function good_server()
  return server.serve(function(connection)
    while server.read_request(connection) do server.answer(connection, "good") end
  end)
end

local function check_others(good)
  for _ = 1, 20 do assert.are.equal("good", assert(http.get(good.url)).body) end
end

describe("a server that closes", function()
  it("with something unread resets the connection", function()
    local hostile <close> = server.serve(function(connection) connection:read(5) end)
    check_failure("ECONNRESET", "", http.get(hostile.url))
  end)

  it("without a word is a reset, too", function()
    check_failure("ECONNRESET", "[Ee]mpty reply", get_from(""))
  end)

  it("in the midst of the body tells how much is missing", function()
    check_failure("ECONNRESET", "90 bytes remaining", get_from("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"))
    check_failure("ECONNRESET", "", get_from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01"))
  end)

  it("before the head is whole is no answer", function()
    local response = get_from("HTTP/1.1 200 OK\r\nX-One: 1\r\n")
    assert.is_true(not response or response.body == "")
  end)

  it("after a body without a length has answered", function()
    assert.are.equal("until the end", assert(get_from("HTTP/1.1 200 OK\r\n\r\nuntil the end")).body)
  end)

  it("a connection that was kept makes no failure of the next request", function()
    local count = 0
    local hostile <close> = server.serve(function(connection)
      count = count + 1
      server.read_request(connection)
      server.answer(connection, tostring(count))      -- and closes, though it said nothing of that
    end)
    for i = 1, 20 do assert.are.equal(tostring(i), assert(http.get(hostile.url)).body) end
  end)

  it("or is not there at all refuses", function()
    local gone = says("")
    gone:close()
    check_failure("ECONNREFUSED", "^http://127%.0%.0%.1:%d+/: connection refused$", http.get(gone.url))
  end)
end)

describe("a server that lies", function()
  it("about its length, too short, is cut there", function()
    assert.are.equal("0123", assert(get_from("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123456789")).body)
  end)

  it("about its length, absurdly long, costs no memory", function()
    collectgarbage()
    check_failure("ECONNRESET", "remaining", get_from("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\nx"))
  end)

  it("with a length that is none does not crash", function()
    for _, length in ipairs { "-1", "x", "99999999999999999999999999", "" } do
      local response, message, code = get_from("HTTP/1.1 200 OK\r\nContent-Length: " .. length .. "\r\n\r\nx")
      if not response then assert.are.equal("EPROTO", code, message) end
    end
  end)

  it("about its encoding is told so", function()
    check_failure("EPROTO", "", get_from("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx"))
  end)

  it("about its chunks is told so", function()
    check_failure("EPROTO", "", get_from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx"))
  end)
end)

describe("a server that sends garbage", function()
  it("speaks no HTTP", function()
    for _, text in ipairs { "garbage\r\n\r\n", "\0\1\2\3\255\254", "SSH-2.0-x\r\n", ("x"):rep(100000) } do
      check_failure("EPROTO", "", get_from(text))
    end
  end)

  it("with a status that is none", function()
    local response, _, code = get_from("HTTP/1.1 999999999999 OK\r\nContent-Length: 0\r\n\r\n")
    assert.is_true(response ~= nil or code == "EPROTO")
    response, _, code = get_from("HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert.is_true(response ~= nil or code == "EPROTO")
  end)

  it("HTTP/2, to those who insist on it, harms nobody else", function()
    local old <close> = server.serve(function(connection)
      while server.read_request(connection) do server.answer(connection, "1.1") end
    end)
    local function post(i)
      local version = i % 5 == 0 and "2" or nil
      local response = http.request { url = old.url, http_version = version, body = ("x"):rep(100000) }
      return response and response.body or "none"
    end
    local numbers = {}
    for i = 1, 300 do numbers[i] = i end
    for i, body in ipairs(fern.pool(50):map(post, numbers)) do
      assert.are.equal(i % 5 == 0 and "none" or "1.1", body)
    end
  end)

  it("to one who expects TLS", function()
    local hostile <close> = server.serve(function(connection)
      connection:read(5)
      connection:write("this is no TLS at all\r\n")
      connection:read("a")
    end)
    local response, message, code = http.get((hostile.url:gsub("^http", "https")))
    assert.is_nil(response)
    assert.are.equal("ETLS", code, message)
  end)

  local function endless(first, line)
    return server.serve(function(connection)
      server.read_request(connection)
      connection:write(first)
      while connection:write(line) do fern.sleep(0) end
    end)
  end

  it("without end, in headers", function()
    local hostile <close> = endless("HTTP/1.1 200 OK\r\n", ("X-One: " .. ("1"):rep(1000) .. "\r\n"):rep(10))
    check_failure("EPROTO", "headers", http.get(hostile.url))
  end)

  it("without end, in one header", function()
    local hostile <close> = endless("HTTP/1.1 200 OK\r\nX-One: ", ("1"):rep(10000))
    local response, message, code = http.get(hostile.url)
    assert.is_nil(response)
    assert.is_true(code == "EPROTO" or code == "ENOMEM", message)
  end)

  it("without end, in interim answers", function()
    local hostile <close> = endless("", "HTTP/1.1 102 Wait\r\nX-One: 1\r\n\r\n")
    check_failure("EPROTO", "headers", http.get(hostile.url))
  end)

  it("without end, in the body", function()
    local hostile <close> = endless("HTTP/1.1 200 OK\r\n\r\n", ("x"):rep(10000))
    check_failure("EMSGSIZE", "longer than max_body", http.get(hostile.url, { max_body = 100000 }))
  end)
end)

describe("a server that redirects", function()
  local function redirected_to(path, headers)
    local other <close> = server.serve(function(connection)
      server.answer(connection, (select(4, server.read_request(connection))))
    end)
    local hostile <close> = says("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " .. other.url .. path .. "\r\n\r\n")
    return assert(http.get(hostile.url, { headers = headers })).body
  end

  it("to where there are spaces is understood", function()
    assert.is_truthy(redirected_to("a page?of two words"):find("^GET /a%%20page%?of%%20two%%20words HTTP"))
  end)

  it("elsewhere is not told whom the first one was asked for", function()
    local asked = redirected_to("", { Host = "first.test", ["Proxy-Authorization"] = "secret", ["X-One"] = "1" })
    assert.is_nil(asked:find("first.test", 1, true))
    assert.is_nil(asked:find("secret", 1, true))
    assert.is_truthy(asked:find("X-One: 1", 1, true))
  end)
end)

describe("headers of an answer", function()
  it("that go on in the next line are one", function()
    local response = assert(get_from("HTTP/1.1 200 OK\r\nX-Long: one\r\n  two\r\nContent-Length: 0\r\n\r\n"))
    assert.are.equal("one two", response.headers["x-long"])
  end)

  it("after the body are no headers", function()
    local response = assert(get_from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\n\r\n"
      .. "1\r\nx\r\n0\r\nX-One: 2\r\nHTTP/1.1 500 Oh: no\r\n\r\n"))
    assert.are.equal("1", response.headers["x-one"])
    assert.are.equal(200, response.status)
    assert.are.equal("x", response.body)
  end)

  it("of interim answers are forgotten", function()
    local response = assert(get_from("HTTP/1.1 103 Early Hints\r\nX-One: 1\r\n\r\n"
      .. "HTTP/1.1 200 OK\r\nX-Two: 2\r\nContent-Length: 0\r\n\r\n"))
    assert.are.equal(200, response.status)
    assert.is_nil(response.headers["x-one"])
    assert.are.equal("2", response.headers["x-two"])
  end)
end)

-- ---- stalls ----

-- Where it stalls, over which scheme, and after what it has said.
local stages = {
  { "before a word", "http", "" },
  { "in the status line", "http", "HTTP/1." },
  { "in the headers", "http", "HTTP/1.1 200 OK\r\nX-One: " },
  { "before the body", "http", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" },
  { "in the body", "http", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n0123" },
  { "in a chunk", "http", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01" },
  { "before the TLS handshake", "https", "" },
  { "in the TLS handshake", "https", "\22\3\3\0\100\2" },
}

for _, stage in ipairs(stages) do
  local where, scheme, words = table.unpack(stage)
  describe("a server that stalls " .. where, function()
    local hostile, good, url

    before_each(function()
      good = good_server()
      hostile = server.serve(function(connection)
        connection:read(1)
        connection:write(words)
        server.stall()
      end)
      url = hostile.url:gsub("^http", scheme)
    end)

    after_each(function()
      hostile:close()
      good:close()
    end)

    it("meets the request's own timeout", function()
      check_failure("ETIMEDOUT", ": timeout$", http.get(url, { timeout = 0.05 }))
      check_others(good)
    end)

    it("meets an enclosing time limit", function()
      assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.05, http.get, url) })
      check_others(good)
    end)

    it("does not keep one who is killed, nor others", function()
      local thread = fern.spawn(http.get, url)
      while hostile.accepted == 0 do check_others(good) end
      thread:kill()
      local ok, err = thread:join()
      assert.is_false(ok)
      assert.is_true(fern.is_killed(err))
      check_others(good)
    end)
  end)
end

describe("a request", function()
  it("that is killed at once, or before it began, leaves nothing", function()
    local good <close> = good_server()
    for rounds = 0, 5 do
      local threads = {}
      for i = 1, 50 do threads[i] = fern.spawn(http.get, good.url) end
      for _ = 1, rounds do fern.sleep(0) end
      for _, thread in ipairs(threads) do thread:kill() end
      for _, thread in ipairs(threads) do thread:join() end
    end
    check_others(good)
  end)

  it("that times out at once is not sent", function()
    local good <close> = good_server()
    for _, timeout in ipairs { 0, -1, -math.huge } do
      check_failure("ETIMEDOUT", ": timeout$", http.get(good.url, { timeout = timeout }))
    end
    assert.are.equal("good", assert(http.get(good.url, { timeout = math.huge })).body)
    assert.are.equal(1, good.accepted)
  end)

  it("is described while it waits", function()
    local hostile <close> = server.serve(function() server.stall() end)
    local thread = fern.spawn(http.get, hostile.url)
    while hostile.accepted == 0 do fern.sleep(0) end
    assert.are.equal("waiting", thread:status())
    assert.is_truthy(thread:traceback():find("http"), thread:traceback())
    thread:kill()
    thread:join()
  end)

  it("cannot be made to send headers of its own", function()
    local all
    local echo <close> = server.serve(function(connection)
      all = select(4, server.read_request(connection))
      server.answer(connection, "")
    end)
    local base = echo.url
    for _, path in ipairs { "a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\0b", "a b", "\1", "?a\r\nX: 1", "#\r\n", "\127" } do
      all = ""
      local response, message, code = http.get(base .. path)
      if not response then assert.are.equal("EINVAL", code, message) end
      assert.is_nil(all:find("Evil"))
    end
    for _, name in ipairs { "X-Evil: 1\r\nX-Two", "", "a b", "a:b", "a\0", "\195\164" } do
      assert.has_error(function() http.get(base, { headers = { [name] = "1" } }) end)
    end
    for _, value in ipairs { "1\r\nX-Evil: 1", "1\nX: 1", "1\r", "1\0" } do
      local ok, err = pcall(http.get, base, { headers = { ["X-One"] = value } })
      assert.is_false(ok)
      assert.is_truthy(err:find("X%-One"), err)
    end
    for _, method in ipairs { "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\n", "", "A B", "GET\0" } do
      assert.has_error(function() http.request { url = base, method = method } end)
    end
  end)

  it("to what is no URL fails", function()
    for _, url in ipairs {
      "", "x", "http://", "http:///", "://x", "127.0.0.1", "http://a b/", "http://127.0.0.1:99999/", "http://127.0.0.1:x/",
      "http://[::1/", "http://\r\n/", "http://x\0y/", "/path", "http//x",
    } do
      local response, message, code = http.get(url)
      assert.is_nil(response, url)
      assert.are.equal("EINVAL", code, url)
      assert.is_truthy(message:find("not a valid URL$"), message)
    end
  end)

  it("of another scheme fails", function()
    for _, url in ipairs { "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "x://y/" } do
      local response, message, code = http.get(url)
      assert.is_nil(response)
      assert.are.equal("EPROTONOSUPPORT", code, message)
    end
  end)
end)

describe("misuse", function()
  local url = "http://127.0.0.1:1/"

  local function check_misuse(pattern, fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    assert.is_truthy(err:find(pattern), err)
  end

  it("raises, and says what is wrong", function()
    check_misuse("url.*string expected, got nil", http.get)
    check_misuse("url.*string expected, got table", http.get, {})
    check_misuse("url.*string expected, got nil", http.request, {})
    check_misuse("table expected, got string", http.request, url)
    check_misuse("table expected, got number", http.get, url, 5)
    check_misuse("unknown option 'timout'", http.get, url, { timout = 5 })
    check_misuse("unknown option 'url'", http.get, url, { url = url })
    check_misuse("unknown option '1'", http.get, url, { "x" })
    check_misuse("'timeout'.*NaN", http.get, url, { timeout = 0 / 0 })
    check_misuse("'timeout'.*number expected, got string", http.get, url, { timeout = "5" })
    check_misuse("'max_redirects'.*whole number of 0", http.get, url, { max_redirects = -1 })
    check_misuse("'max_redirects'.*whole number", http.get, url, { max_redirects = 1.5 })
    check_misuse("'max_redirects'.*whole number", http.get, url, { max_redirects = 0 / 0 })
    check_misuse("'max_body'.*whole number of 1", http.get, url, { max_body = 0 })
    check_misuse("'max_body'.*number expected", http.get, url, { max_body = "1" })
    check_misuse("'verify'.*boolean expected", http.get, url, { verify = "no" })
    check_misuse("'cafile'.*string expected", http.get, url, { cafile = true })
    check_misuse("'cafile'.*zero", http.get, url, { cafile = "a\0b" })
    check_misuse("'proxy'.*string expected", http.get, url, { proxy = false })
    check_misuse("'body'.*string, function or stream expected, got table", http.request, { url = url, body = {} })
    check_misuse("'headers'.*table expected", http.get, url, { headers = "X: 1" })
    check_misuse("header 'X%-One'.*string expected, got boolean", http.get, url, { headers = { ["X-One"] = true } })
    check_misuse("header 'X%-One'.*string expected, got table", http.get, url, { headers = { ["X-One"] = { {} } } })
    check_misuse("'headers'.*names and values expected, but '1'", http.get, url, { headers = { "X-One: 1" } })
    check_misuse("'http_version'.*\"2\" expected, got 3", http.get, url, { http_version = 3 })
    check_misuse("'method'", http.request, { url = url, method = 5 })
  end)

  it("is told at the caller's line", function()
    local ok, err = pcall(function() http.get(url, { timout = 5 }) end)
    assert.is_false(ok)
    assert.is_truthy(err:find("http_hostile_spec.lua:%d+: unknown option"), err)
    ok, err = pcall(function() http.request { url = 5 } end)
    assert.is_false(ok)
    assert.is_truthy(err:find("http_hostile_spec.lua:%d+: bad url"), err)
    ok, err = pcall(function() http.request { url = url, headers = { ["a b"] = "" } } end)
    assert.is_false(ok)
    assert.is_truthy(err:find("http_hostile_spec.lua:%d+: bad header"), err)
  end)

  it("works with the largest numbers", function()
    local good <close> = good_server()
    assert(http.get(good.url, { max_redirects = 1e9, max_body = 1e9, timeout = 1e9 }))
    assert(http.get(good.url, { max_redirects = math.huge, max_body = math.huge, timeout = math.huge }))
  end)
end)

-- SPDX-License-Identifier: MIT
-- Clients with connections, limits and defaults of their own; jars of cookies;
-- statistics.

local fern = require "fern"
local http = require "fern.http"
local server = require "spec.support.server"

-- Answers each request with its first line; sets and shows cookies; counts how
-- many are at work at once.
local function site_of(delay)
  return server.serve(function(connection, self)
    while true do
      local first, headers, body = server.read_request(connection)
      if not first then return end
      self.now = (self.now or 0) + 1
      self.most = math.max(self.most or 0, self.now)
      if delay then fern.sleep(delay) end
      self.now = self.now - 1
      local set = first:match("/set~(%S+)")
      if first:find("/moved") then
        connection:write("HTTP/1.1 302 Found\r\nSet-Cookie: moved=1\r\nLocation: /shown\r\nContent-Length: 0\r\n\r\n")
      elseif set then
        server.answer(connection, "", "Set-Cookie: " .. set:gsub("%%20", " ") .. "\r\n")
      else
        self.headers = headers
        server.answer(connection, first .. "|" .. (headers.cookie or "") .. "|" .. body)
      end
    end
  end)
end

local function cookies_shown(client, site)
  return assert(client:get(site.url .. "shown")).body:match("|(.-)|")
end

local function check_failure(code, pattern, response, message, given)
  assert.is_nil(response)
  assert.are.equal(code, given, message)
  assert.is_truthy(message:find(pattern), message)
end

-- How many are open.
local function descriptors()
  local count = 0
  for _ in pairs(require("fern.core").debug.descriptors()) do count = count + 1 end
  return count
end

describe("a client", function()
  it("has defaults, which a request may replace", function()
    local site <close> = site_of()
    local client <close> = http.client { base = site.url .. "api/", headers = { ["X-One"] = "1", ["X-Two"] = "2" }, max_body = 100 }
    assert.are.equal("GET /api/thing HTTP/1.1||", assert(client:get("thing")).body)
    assert.are.equal("1", site.headers["x-one"])
    assert.are.equal("GET /top HTTP/1.1||", assert(client:get("/top", { headers = { ["x-one"] = "3" } })).body)
    assert.are.same({ "3", "2" }, { site.headers["x-one"], site.headers["x-two"] })
    assert.are.equal("POST /api/ HTTP/1.1||x", assert(client:request { url = "", body = "x" }).body)
    assert.are.equal("GET /?a=1 HTTP/1.1||", assert(client:get("../", { query = { a = 1 } })).body)
    check_failure("EMSGSIZE", "max_body", client:get("thing", { max_body = 1 }))
    check_failure("EINVAL", "not a valid URL", client:get("http://"))
    assert.is_truthy(tostring(client):find(site.url, 1, true))
  end)

  it("reaches other hosts than its base, too", function()
    local site <close> = site_of()
    local other <close> = site_of()
    local client <close> = http.client { base = site.url }
    assert.are.equal("GET /x HTTP/1.1||", assert(client:get(other.url .. "x")).body)
    assert.are.equal(1, other.accepted)
  end)

  it("streams and sends like anybody", function()
    local site <close> = site_of()
    local client <close> = http.client { base = site.url }
    local response <close> = assert(client:get("x", { stream = true }))
    assert.are.equal("GET /x HTTP/1.1||", response:read("a"))
  end)

  it("has connections of its own", function()
    local site <close> = site_of()
    local one <close> = http.client()
    local other <close> = http.client()
    for _ = 1, 5 do
      assert(one:get(site.url))
      assert(other:get(site.url))
    end
    assert.are.equal(2, site.accepted)
    assert.are.equal(1, one:statistics().connected)
  end)

  it("has no more connections to a host than it may, and everybody gets a turn", function()
    local site <close> = site_of(0.001)
    local other <close> = site_of(0.001)
    local client <close> = http.client { max_host_connections = 3 }
    local threads = {}
    for i = 1, 60 do
      threads[i] = fern.spawn(function() return assert(client:get((i % 2 == 0 and site or other).url .. i)).body end)
    end
    for i, thread in ipairs(threads) do assert.are.equal(("GET /%d HTTP/1.1||"):format(i), thread:wait()) end
    assert.is_true(site.most <= 3 and other.most <= 3 and site.most > 1)
    assert.is_true(site.accepted <= 3 and other.accepted <= 3)
  end)

  it("has no more connections in all than it may", function()
    local sites = {}
    for i = 1, 5 do sites[i] = site_of(0.001) end
    local client <close> = http.client { max_connections = 2 }
    local threads = {}
    for i = 1, 50 do threads[i] = fern.spawn(function() return client:get(sites[i % 5 + 1].url) end) end
    while client:statistics().running > 0 do
      assert.is_true(client:statistics().connections <= 2)
      fern.sleep(0.001)
    end
    for _, thread in ipairs(threads) do assert(thread:wait()) end
    for i = 1, 5 do sites[i]:close() end
  end)

  it("lets those who wait for a connection be killed and time out", function()
    local stalls <close> = server.serve(server.stall)
    local good <close> = site_of()
    local client <close> = http.client { max_host_connections = 1 }
    local first = fern.spawn(client.get, client, stalls.url)
    while stalls.accepted == 0 do fern.sleep(0.001) end
    check_failure("ETIMEDOUT", ": timeout$", client:get(stalls.url, { timeout = 0.02 }))
    local second = fern.spawn(client.get, client, stalls.url)
    fern.sleep(0.005)
    assert(client:get(good.url))
    second:kill()
    second:join()
    first:kill()
    first:join()
    assert.are.equal(1, stalls.accepted)
    assert(client:get(good.url))
  end)

  it("is closed, even if a connection of it is in the same turn", function()
    local kept
    local site <close> = server.serve(function(connection)
      kept = connection
      server.read_request(connection)
      connection:write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
      fern.sleep(60)
    end)
    local before = descriptors()
    local client = http.client()
    local response = assert(client:get(site.url, { stream = true }))
    kept:close()
    response:close()
    client:close()
    fern.sleep(0.01)
    assert.are.equal(before, descriptors())
  end)

  it("that is closed ends what is under way, and begins nothing", function()
    local stalls <close> = server.serve(function(connection)
      server.read_request(connection)
      connection:write("HTTP/1.1 200 OK\r\n\r\n0123")
      connection:read("a")
    end)
    local client = http.client()
    local response = assert(client:get(stalls.url, { stream = true }))
    local reader = fern.spawn(response.read, response, 10)
    local waiter = fern.spawn(client.get, client, stalls.url)
    while stalls.accepted < 2 do fern.sleep(0.001) end
    assert.is_true(client:close())
    assert.are.equal("EBADF", select(3, reader:wait()))
    check_failure("EBADF", "the client is closed", waiter:wait())
    check_failure("EBADF", "the client is closed", client:get(stalls.url))
    assert.are.equal(0, client:statistics().running)
    assert.are.equal(0, client:statistics().connections)
    assert.is_true(client:close())
    local other <close> = site_of()
    assert(http.get(other.url))
  end)

  it("that is collected closes its connections", function()
    local closed = 0
    local site <close> = server.serve(function(connection)
      server.read_request(connection)
      server.answer(connection, "")
      connection:read("a")
      closed = closed + 1
    end)
    assert(http.client():get(site.url))
    collectgarbage()
    collectgarbage()
    local limit = fern.now() + 5
    while closed == 0 and fern.now() < limit do fern.sleep(0.001) end
    assert.are.equal(1, closed)
  end)

  it("raises what is wrong with its options", function()
    local function check_misuse(pattern, options)
      local ok, err = pcall(http.client, options)
      assert.is_false(ok)
      assert.is_truthy(err:find(pattern), err)
    end
    check_misuse("table expected", "http://x/")
    check_misuse("unknown option 'body'", { body = "x" })
    check_misuse("unknown option 'url'", { url = "x" })
    check_misuse("'max_connections'.*whole number of 1", { max_connections = 0 })
    check_misuse("'cookies'.*jar", { cookies = 5 })
    check_misuse("'base'.*string expected", { base = 1 })
    check_misuse("'base'.*URL expected, got \"nonsense\"", { base = "nonsense" })
    local client <close> = http.client {}
    assert.has_error(function() client:get("http://x/", { base = "x" }) end)
    assert.has_error(function() client:get("http://x/", { max_connections = 1 }) end)
    assert.has_error(function() client:get(5) end)
    assert.has_error(function() client:request("x") end)
  end)
end)

describe("cookies", function()
  it("are kept only when asked for", function()
    local site <close> = site_of()
    assert(http.get(site.url .. "set~a=1"))
    assert.are.equal("GET /shown HTTP/1.1||", assert(http.get(site.url .. "shown")).body)
    local client <close> = http.client { cookies = true }
    assert(client:get(site.url .. "set~a=1"))
    assert.are.equal("a=1", cookies_shown(client, site))
    assert.are.equal("GET /shown HTTP/1.1||", assert(http.get(site.url .. "shown")).body)
  end)

  it("come and go: by a redirect, replaced, expired, by path", function()
    local site <close> = site_of()
    local client <close> = http.client { cookies = true }
    assert.are.equal("GET /shown HTTP/1.1|moved=1|", assert(client:get(site.url .. "moved")).body)
    assert(client:get(site.url .. "set~moved=2"))
    assert.is_truthy(cookies_shown(client, site):find("moved=2"))
    assert(client:get(site.url .. "set~elsewhere=1;%20Path=/else"))
    assert.is_nil(cookies_shown(client, site):find("elsewhere"))
    assert(client:get(site.url .. "set~moved=;%20Max-Age=0"))
    assert.is_nil(cookies_shown(client, site):find("moved=2"))
  end)

  it("are those of their jar, whoever asks; a client's and a request's", function()
    local site <close> = site_of()
    local jar = http.cookies()
    local client <close> = http.client { cookies = jar }
    assert.are.equal(jar, client.cookies)
    assert(http.get(site.url .. "set~a=1", { cookies = jar }))
    assert.are.equal("a=1", cookies_shown(client, site))
    local other = http.cookies()
    assert.are.equal("GET /x HTTP/1.1||", assert(client:get(site.url .. "x", { cookies = other })).body)
    local threads = {}
    for i = 1, 50 do threads[i] = fern.spawn(http.get, site.url .. "set~c" .. i .. "=1", { cookies = jar }) end
    for _, thread in ipairs(threads) do assert(thread:wait()) end
    assert.are.equal(51, #jar:list())
  end)

  it("are listed, set, saved, read back, cleared", function()
    local site <close> = site_of()
    local jar = http.cookies()
    assert.is_true(jar:set { domain = "127.0.0.1", name = "a", value = "1" })
    assert.is_true(jar:set { domain = "example.com", name = "b", value = "", path = "/x", secure = true,
      http_only = true, subdomains = true, expires = 4000000000 })
    assert.are.equal("GET /shown HTTP/1.1|a=1|", assert(http.get(site.url .. "shown", { cookies = jar })).body)
    local list = jar:list()
    table.sort(list, function(a, b) return a.name < b.name end)
    assert.are.same({
      { domain = "127.0.0.1", name = "a", value = "1", path = "/", secure = false, http_only = false, subdomains = false },
      { domain = "example.com", name = "b", value = "", path = "/x", secure = true, http_only = true, subdomains = true,
        expires = 4000000000 },
    }, list)
    assert.are.equal(jar:text(), http.cookies(jar:text()):text())
    assert.are.equal(2, #http.cookies("# a comment\n\n" .. jar:text()):list())
    assert.is_truthy(tostring(jar):find("2"))
    assert.is_true(jar:clear())
    assert.are.same({}, jar:list())
  end)

  it("cannot be made to say more than they should", function()
    local jar = http.cookies()
    for _, cookie in ipairs { {}, { domain = "x", name = "a" }, { domain = "x", name = "a\tb", value = "" },
      { domain = "x\n", name = "a", value = "" }, { domain = "x", name = "a", value = "\r\nX: 1" },
      { domain = "x", name = "a", value = "1", secure = "no" }, { domain = "", name = "a", value = "1" },
      { domain = "x", name = "", value = "1" }, { domain = "x", name = "a", value = "1", path = "" },
      { domain = "#x", name = "a", value = "1" }, { domain = "x", name = "a", value = "1", expires = 0 / 0 } } do
      assert.has_error(function() jar:set(cookie) end)
    end
    assert.are.same({ nil, "invalid argument: no such line", "EINVAL" }, { http.cookies("no such line") })
    assert.are.same({}, jar:list())
    assert.has_error(function() http.cookies(5) end)
    assert.has_error(function() http.cookies():set { domain = "a.test", name = "n", value = "v", expire = 1 } end)
  end)

  it("of a foreign host are not taken", function()
    local site <close> = site_of()
    local jar = http.cookies()
    assert(http.get(site.url .. "set~a=1;%20Domain=example.com", { cookies = jar }))
    assert.are.same({}, jar:list())
  end)

  it("of one request are not sent with the next that has no jar", function()
    local site <close> = site_of()
    local jar = http.cookies()
    for _ = 1, 20 do
      assert(http.get(site.url .. "set~a=1", { cookies = jar }))
      assert.are.equal("GET /shown HTTP/1.1||", assert(http.get(site.url .. "shown")).body)
    end
    jar = nil -- luacheck: ignore
    collectgarbage()
    assert.are.equal("GET /shown HTTP/1.1||", assert(http.get(site.url .. "shown")).body)
  end)
end)

describe("statistics", function()
  it("count requests, connections and bytes", function()
    local site <close> = site_of()
    local client <close> = http.client()
    local zero = client:statistics()
    for _, count in pairs(zero) do assert.are.equal(0, count) end
    local received = 0
    for _ = 1, 3 do received = received + #assert(client:request { url = site.url, body = "abc" }).body end
    assert(client:get(site.url .. "moved"))
    local gone <close> = site_of()
    gone:close()
    assert.is_nil(client:get(gone.url))
    local found = client:statistics()
    assert.are.equal(6, found.requests)         -- a redirect is one more
    assert.are.equal(1, found.failed)
    assert.are.equal(0, found.running)
    assert.are.equal(1, found.connections)
    assert.are.equal(4, found.reused)
    assert.are.equal(9, found.sent)
    assert.is_true(found.received >= received)
    assert.is_true(http.statistics().requests >= 0)
  end)

  it("of a response tell when what happened", function()
    local site <close> = site_of(0.01)
    local client <close> = http.client()
    local first, second = client:get(site.url), client:get(site.url)
    local timings = first:timings()
    assert.is_true(timings.lookup <= timings.connect and timings.connect <= timings.first_byte)
    assert.is_true(timings.first_byte >= 0.01 and timings.first_byte <= timings.total)
    assert.are.equal(0, timings.tls)
    assert.is_false(timings.reused)
    assert.is_true(second:timings().reused)
    assert.are.equal(#first.body, timings.received)
  end)
end)

-- SPDX-License-Identifier: MIT
-- fern.http against the real web server.

local fern = require "fern"
local http = require "fern.http"
local nginx = require "spec.support.nginx"
local script = require "spec.support.script"
local server = require "spec.support.server"

local site

setup(function() site = nginx.start() end)
teardown(function() site:stop() end)

local function get(path, options) return assert(http.get(site:url("http", path), options)) end

local function read(url) return assert(http.get(url)).body end

-- As http.get for one of the servers with TLS, whose authority we trust.
local function get_tls(kind, path, options)
  options = options or {}
  options.cafile = options.cafile or site.dir .. "/ca.pem"
  return http.get(site:url(kind, path), options)
end

local function check_failure(code, pattern, ...)
  local response, message, given = ...
  assert.is_nil(response)
  assert.are.equal(code, given, message)
  assert.is_truthy(message:find(pattern), message)
end

local function plain(text) return (text:gsub("%p", "%%%0")) end

local function numbers(count)
  local list = {}
  for i = 1, count do list[i] = i end
  return list
end

describe("http.get", function()
  it("fetches 1,000 pages, 200 at once, every byte of them", function()
    local urls = {}
    for i = 1, nginx.PAGES do urls[i] = site:url("http", ("/page/%d.html"):format(i)) end
    local number = 0
    for url, response in fern.pool(200):imap(function(url) return url, assert(http.get(url)) end, urls) do
      number = number + 1
      assert.are.equal(urls[number], url)
      assert.are.equal(200, response.status)
      assert.is_true(response.body == nginx.page(number), "page " .. number)
    end
    assert.are.equal(nginx.PAGES, number)
  end)

  it("tells status, headers, body and URL", function()
    local response = get("/page/7.html")
    assert.are.equal(200, response.status)
    assert.are.equal(nginx.page(7), response.body)
    assert.are.equal(site:url("http", "/page/7.html"), response.url)
    assert.are.equal("text/html", response.headers["content-type"])
    assert.are.equal(tostring(#response.body), response.headers["Content-Length"])
    assert.is_nil(response.headers["no-such-header"])
    assert.is_nil(response.headers[1])
    assert.is_truthy(tostring(response):find("200"))
    assert.is_truthy(tostring(response.headers):find("headers"))
  end)

  it("takes any status for an answer", function()
    for path, status in pairs { ["/missing"] = 404, ["/broken"] = 500, ["/empty"] = 204, ["/none"] = 404 } do
      local response, message = http.get(site:url("http", path))
      assert(response, message)
      assert.are.equal(status, response.status)
    end
    assert.are.equal("no such thing", get("/missing").body)
    assert.are.equal("", get("/empty").body)
  end)

  it("fetches a page of some megabytes", function()
    assert.is_true(get("/big.txt").body == nginx.big)
  end)

  it("decodes gzip", function()
    local response = get("/zipped/big.txt")
    assert.are.equal("gzip", response.headers["content-encoding"])
    assert.is_true(response.body == nginx.big)
  end)

  it("puts chunks together", function()
    local response = get("/chunked/page/77.html")
    assert.are.equal("chunked", response.headers["transfer-encoding"])
    assert.are.equal(nginx.page(77), response.body)
  end)

  it("works in the main thread, in others, in coroutines and wherever Lua calls back", function()
    local function fetch() return get("/page/1.html").body end
    local page = nginx.page(1)
    assert.are.equal(page, fetch())
    assert.are.equal(page, fern.spawn(fetch):wait())
    assert.are.equal(page, coroutine.wrap(fetch)())
    assert.are.equal(page, (("x"):gsub("x", fetch)))
    assert.are.equal(page, setmetatable({}, { __index = fetch }).anything)
    local sorted = { 2, 1 }
    table.sort(sorted, function(a, b) return #fetch() > 0 and a < b end)
    assert.are.same({ 1, 2 }, sorted)
  end)
end)

describe("headers", function()
  it("are found in upper and lower case, and joined when repeated", function()
    local response = get("/twice")
    assert.are.equal("first, second", response.headers["x-one"])
    assert.are.equal("first, second", response.headers["X-ONE"])
    assert.are.same({ "first", "second" }, response:header_list("X-One"))
    assert.are.same({}, response:header_list("X-None"))
    assert.are.equal("spaces", response.headers["X-Two"])
  end)

  it("do not join cookies, which have commas in them", function()
    local response = get("/twice")
    assert.are.equal("a=1, 2", response.headers["Set-Cookie"])
    assert.are.same({ "a=1, 2", "b=3" }, response:header_list("set-cookie"))
  end)

  it("come in the order received", function()
    local names = {}
    for name, value in pairs(get("/twice").headers) do
      assert.are.equal("string", type(value))
      names[#names + 1] = name
    end
    local list = table.concat(names, " ")
    assert.is_truthy(list:find("X%-One X%-One x%-two Set%-Cookie Set%-Cookie"), list)
  end)

  it("outlive the response", function()
    local headers = get("/twice").headers
    collectgarbage()
    assert.are.equal("first, second", headers["x-one"])
  end)

  it("of the caller are sent", function()
    local body = get("/agent", { headers = { ["User-Agent"] = "spec", ["X-One"] = "1", cookie = { "a=b" } } }).body
    local agent, encoding, one, cookie = body:match("^(.-)|(.-)|(.-)|(.-)$")
    assert.are.same({ "spec", "1", "a=b" }, { agent, one, cookie })
    assert.is_truthy(encoding:find("gzip"))
    assert.are.equal("fern", get("/agent").body:match("^(.-)|"))
  end)

  it("of one request are not sent with the next", function()
    get("/agent", { headers = { ["X-One"] = "1" }, method = "PUT", body = "x" })
    assert.are.equal("", get("/agent").body:match("^.-|.-|(.-)|"))
    assert.are.equal("GET", get("/method").body)
  end)
end)

describe("redirects", function()
  it("lead on: relative, by path, absolute, to another scheme", function()
    for _, path in ipairs { "relative", "path", "absolute" } do
      local response = get("/moved/" .. path)
      assert.are.equal(nginx.page(7), response.body)
      assert.is_truthy(response.url:find("/page/7.html$"))
    end
    local secure = get("/moved/secure", { cafile = site.dir .. "/ca.pem" })
    assert.are.equal(site:url("secure", "/protocol"), secure.url)
    local down = assert(get_tls("secure", "/moved/down"))
    assert.are.equal(site:url("plain", "/page/7.html"), down.url)
  end)

  it("are followed in a chain", function()
    local response = get("/chain/3")
    assert.are.equal("the end", response.body)
    assert.are.equal(site:url("http", "/chain/0"), response.url)
    assert.is_nil(response.headers.location)
  end)

  it("end where there are too many", function()
    local url = site:url("http", "/loop")
    check_failure("EREDIRECTS", "too many redirects$", http.get(url))
    check_failure("EREDIRECTS", "^" .. plain(url), http.get(url, { max_redirects = 3 }))
    check_failure("EREDIRECTS", "too many", http.get(site:url("http", "/chain/3"), { max_redirects = 2 }))
    assert.are.equal("the end", get("/chain/3", { max_redirects = 3 }).body)
    check_failure("EREDIRECTS", "too many", http.get(url, { max_redirects = 100 }))
  end)

  it("are answers with max_redirects = 0", function()
    local response = get("/moved/path", { max_redirects = 0 })
    assert.are.equal(301, response.status)
    assert.are.equal("/page/7.html", response.headers.location)
    assert.are.equal(site:url("http", "/moved/path"), response.url)
  end)

  it("never lead out of HTTP", function()
    local url = site:url("http", "/moved/file")
    check_failure("EPROTONOSUPPORT", "^" .. plain(url), http.get(url))
  end)

  it("that lead nowhere tell where they led", function()
    local message = "/moved/nowhere: redirected to http://127%.0%.0%.1:%d+/: connection refused$"
    check_failure("ECONNREFUSED", message, http.get(site:url("http", "/moved/nowhere")))
  end)

  local function method_after(status, method, body)
    local response = assert(http.request {
      url = site:url("http", "/turn/" .. status), method = method, body = body,
    })
    assert.are.equal(200, response.status)
    return response.body
  end

  it("change the method as browsers do", function()
    for _, status in ipairs { 301, 302, 303, 307, 308 } do
      assert.are.equal("GET", method_after(status, "GET"))
      assert.are.equal("", method_after(status, "HEAD"))
      assert.are.equal(status < 307 and "GET" or "POST", method_after(status, "POST", "x"))
      assert.are.equal(status == 303 and "GET" or "PUT", method_after(status, "PUT", "x"))
      assert.are.equal(status == 303 and "GET" or "DELETE", method_after(status, "DELETE"))
    end
  end)

  it("do not carry secrets elsewhere", function()
    local headers = { Authorization = "Bearer secret", Cookie = "a=secret", ["X-One"] = "1" }
    assert.are.equal("elsewhere: ||1", get("/moved/away", { headers = headers }).body)
    assert.is_truthy(get("/moved/here", { headers = headers }).body:find("|1|a=secret$"))
  end)

  it("carry the user of the URL on to the same host", function()
    local url = site:url("http", "/locked"):gsub("//", "//anna:secret@")
    assert.are.equal(nginx.page(3), read(url))
    assert.are.equal(401, get("/locked").status)
    local away = site:url("http", "/moved/away"):gsub("//", "//anna:secret@")
    assert.are.equal("elsewhere: ||", read(away))
  end)
end)

describe("connections", function()
  it("are used again", function()
    local first = get("/connection").body
    for _ = 1, 20 do assert.are.equal(first, get("/connection").body) end
  end)

  it("are as many as there are requests at once, not more", function()
    local before = site:accepted(read)
    local bodies = fern.pool(20):map(function() return get("/page/9.html").body end, numbers(500))
    assert.are.equal(500, #bodies)
    assert.is_true(site:accepted(read) - before <= 20)
  end)

  it("survive answers of all kinds", function()
    local first = get("/connection").body
    get("/missing")
    get("/empty")
    get("/zipped/1k.txt")
    get("/chunked/page/2.html")
    assert(http.request { url = site:url("http", "/page/1.html"), method = "HEAD" })
    assert.are.equal(first, get("/connection").body)
  end)
end)

describe("http.request", function()
  it("sends each method", function()
    for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND" } do
      assert.are.equal(method, assert(http.request { url = site:url("http", "/method"), method = method }).body)
    end
    assert.are.equal("DELETE", assert(http.request { url = site:url("http", "/method"), method = "delete" }).body)
    assert.are.equal("POST", assert(http.request { url = site:url("http", "/method"), body = "" }).body)
  end)

  it("fetches only the headers with HEAD", function()
    local response = assert(http.request { url = site:url("http", "/page/7.html"), method = "HEAD" })
    assert.are.equal(200, response.status)
    assert.are.equal(tostring(#nginx.page(7)), response.headers["content-length"])
    assert.are.equal("", response.body)
  end)

  it("sends every byte of a body, and nothing that it was not told to", function()
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local body = table.concat(bytes):rep(4096)
    local got
    local echo <close> = server.serve(function(connection)
      local first, headers, received = server.read_request(connection)
      got = { first = first, headers = headers }
      server.answer(connection, received)
    end)
    local response = assert(http.request { url = echo.url, body = body })
    assert.is_true(response.body == body)
    assert.are.equal("POST / HTTP/1.1", got.first)
    assert.is_nil(got.headers.expect)
    assert.is_nil(got.headers["content-type"])
    assert.are.equal(tostring(#body), got.headers["content-length"])
  end)

  it("sends headers as they are: empty, repeated, numbers; and counts the body itself", function()
    local all
    local echo <close> = server.serve(function(connection)
      all = select(4, server.read_request(connection))
      server.answer(connection, "")
    end)
    assert(http.request { url = echo.url, body = "abc", headers = {
      ["X-Empty"] = "", ["X-Two"] = { "1", "2" }, ["X-Number"] = 42, ["Content-Length"] = "77",
      ["content-type"] = "text/plain",
    } })
    assert.is_truthy(all:find("\r\nX-Empty:\r\n", 1, true), all)
    assert.is_truthy(all:find("\r\nX-Two: 1\r\nX-Two: 2\r\n", 1, true), all)
    assert.is_truthy(all:find("\r\nX-Number: 42\r\n", 1, true), all)
    assert.is_truthy(all:find("\r\nContent-Length: 3\r\n", 1, true), all)
    assert.is_nil(all:find("Content-Length: 77", 1, true))
    assert.is_truthy(all:find("\r\ncontent-type: text/plain\r\n", 1, true), all)
  end)
end)

describe("max_body", function()
  it("refuses what is longer by a byte", function()
    local url, size = site:url("http", "/page/7.html"), #nginx.page(7)
    assert.are.equal(size, #assert(http.get(url, { max_body = size })).body)
    check_failure("EMSGSIZE", "^" .. plain(url) .. ": the body is longer than max_body$", http.get(url, { max_body = size - 1 }))
    assert.are.equal(size, #assert(http.get(url, { max_body = math.huge })).body)
  end)

  it("counts what is decoded", function()
    check_failure("EMSGSIZE", "longer than max_body", http.get(site:url("http", "/zipped/1k.txt"), { max_body = 1000 }))
    assert.are.equal(1024, #get("/zipped/1k.txt", { max_body = 1024 }).body)
  end)
end)

describe("TLS", function()
  it("trusts the authority it is told of", function()
    assert.are.equal(nginx.page(7), assert(get_tls("secure", "/page/7.html")).body)
    assert.are.equal(nginx.page(7), assert(get_tls("old", "/page/7.html")).body)
  end)

  it("refuses an authority it does not know", function()
    check_failure("ETLS", "^https://127.0.0.1:%d+/: .*certificate", http.get(site:url("secure", "/")))
    check_failure("ETLS", "certificate", get_tls("secure", "/", { cafile = site.dir .. "/stranger.pem" }))
  end)

  it("refuses the certificate of another host", function()
    check_failure("ETLS", "127%.0%.0%.1", get_tls("other", "/"))
  end)

  it("refuses also where a connection to the same host was trusted", function()
    assert(get_tls("secure", "/"))
    check_failure("ETLS", "certificate", http.get(site:url("secure", "/")))
    assert(http.get(site:url("secure", "/"), { verify = false }))
    check_failure("ETLS", "certificate", http.get(site:url("secure", "/")))
  end)

  it("trusts whoever answers with verify = false", function()
    assert.are.equal(200, assert(http.get(site:url("secure", "/1k.txt"), { verify = false })).status)
    assert(http.get(site:url("other", "/"), { verify = false }))
  end)

  it("says so when the authority's file is missing", function()
    check_failure("ETLS", "no%-such%-file", get_tls("secure", "/", { cafile = "/no-such-file.pem" }))
  end)
end)

describe("HTTP/2", function()
  it("is used over TLS where the server has it", function()
    assert.are.equal("HTTP/2.0", assert(get_tls("secure", "/protocol")).body)
    assert.are.equal("HTTP/1.1", assert(get_tls("old", "/protocol")).body)
    assert.are.equal("HTTP/1.1", get("/protocol").body)
  end)

  it("is used or not as asked", function()
    for _, version in ipairs { "2", "1.1", "1.0" } do
      local response = assert(get_tls("mixed", "/protocol", { http_version = version }))
      assert.are.equal(version == "2" and "HTTP/2.0" or "HTTP/" .. version, response.body)
    end
    assert.are.equal("HTTP/1.0", get("/protocol", { http_version = 1.0 }).body)
    assert.are.equal("HTTP/2.0", assert(http.get(site:url("h2c", "/protocol"), { http_version = 2 })).body)
  end)

  it("shares connections among requests at once", function()
    local connections, count = {}, 0
    local function connection() return assert(get_tls("secure", "/connection")).body end
    for _, body in ipairs(fern.pool(100):map(connection, numbers(100))) do
      if not connections[body] then connections[body], count = true, count + 1 end
    end
    assert.is_true(count <= 4, count .. " connections")
  end)

  local function check_pages(kind, count)
    local function fetch(i) return assert(get_tls(kind, ("/page/%d.html"):format(i))).body end
    for i, body in ipairs(fern.pool(100):map(fetch, numbers(count))) do
      assert.is_true(body == nginx.page(i), "page " .. i)
    end
  end

  it("brings every byte of many pages at once", function() check_pages("secure", 200) end)

  it("does not hold up requests at once to a server that lacks it", function() check_pages("old", 100) end)
end)

describe("a proxy", function()
  it("is asked when the options name one", function()
    local response = get("/page/7.html", { proxy = site:url("proxy", "") })
    assert.are.equal("proxy", response.headers["x-via"])
    assert.are.equal(nginx.page(7), response.body)
    assert.is_nil(get("/page/7.html").headers["x-via"])
  end)

  -- A proxy for TLS: connects its client to where it says.
  local function tunnel(connection)
    local net = require "fern.net"
    local host, port = server.read_request(connection):match("^CONNECT ([^:]+):(%d+) ")
    local other <close> = assert(net.connect(host, tonumber(port)))
    connection:write("HTTP/1.1 200 Connection established\r\nX-Via: tunnel\r\n\r\n")
    -- a byte at a time, for a read of more would wait for more
    local back = fern.spawn(function()
      for byte in function() return (other:read(1)) end do connection:write(byte) end
    end)
    for byte in function() return (connection:read(1)) end do other:write(byte) end
    back:kill()
    back:join()
  end

  it("carries TLS through", function()
    local proxy <close> = server.serve(tunnel)
    local response = assert(get_tls("secure", "/page/7.html", { proxy = proxy.url }))
    assert.are.equal(nginx.page(7), response.body)
    assert.is_nil(response.headers["x-via"])
    assert.are.equal(1, proxy.accepted)
  end)

  it("that is not there is a failure", function()
    check_failure("ECONNREFUSED", "refused", http.get(site:url("http", "/"), { proxy = site:url("nobody", "") }))
  end)

  local fetch = [[
    local http = require "fern.http"
    local response = assert(http.get(arg[1], arg[2] and { proxy = "" }))
    print(response.headers["x-via"], #response.body)
  ]]

  local function fetched(environment, ...)
    return (script.run_text(environment, fetch, site:url("http", "/1k.txt"), ...))
  end

  it("is asked when the environment names one", function()
    local proxy = site:url("proxy", "")
    assert.are.equal("proxy\t1024\n", fetched("export http_proxy=" .. proxy .. "; "))
    assert.are.equal("proxy\t1024\n", fetched("export ALL_PROXY=" .. proxy .. "; "))
    assert.are.equal("nil\t1024\n", fetched("export https_proxy=" .. proxy .. "; "))
    assert.are.equal("nil\t1024\n", fetched("export HTTP_PROXY=" .. proxy .. "; "))
  end)

  it("is not asked where the environment or the caller says so", function()
    local proxy = site:url("proxy", "")
    assert.are.equal("nil\t1024\n", fetched("export http_proxy=" .. proxy .. " no_proxy=127.0.0.1; "))
    assert.are.equal("nil\t1024\n", fetched("export http_proxy=" .. proxy .. "; ", "none"))
  end)
end)

describe("a process that runs out of descriptors", function()
  it("gets an error for what needs one, and goes on", function()
    local output, code = script.run_text("ulimit -n 60; ", [[
      local http = require "fern.http"
      local known, new = arg[1], arg[2]
      assert(http.get(known))
      local held = {}
      repeat
        local file = io.open("/dev/null")
        held[#held + 1] = file
      until not file
      local response, message, code = http.get(new)
      assert(response == nil and code == "EMFILE", message)
      assert(message == new .. ": too many open files", message)
      assert(http.get(known))           -- its connection is there
      for _, file in ipairs(held) do file:close() end
      assert(http.get(new))
      print("done")
    ]], site:url("http", "/1k.txt"), site:url("plain", "/1k.txt"))
    assert.are.equal("done\n", output)
    assert.are.equal(0, code)
  end)
end)

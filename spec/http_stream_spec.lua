-- SPDX-License-Identifier: MIT
-- Bodies that are read in pieces: against the real web server, every byte; and
-- against servers that stall, lie, reset and flood.

local fern = require "fern"
local http = require "fern.http"
local nginx = require "spec.support.nginx"
local script = require "spec.support.script"
local server = require "spec.support.server"

local site

setup(function() site = nginx.start() end)
teardown(function() site:stop() end)

local function open(path, options)
  options = options or {}
  options.stream = true
  return assert(http.get(site:url("http", path), options))
end

local function check_failure(code, result, message, given)
  assert.is_nil(result)
  assert.are.equal(code, given, message)
end

-- A server that sends this head, and then leaves the connection to `go_on`.
local function sends(head, go_on)
  return server.serve(function(connection, self)
    server.read_request(connection)
    connection:write("HTTP/1.1 200 OK\r\n", head, "\r\n")
    go_on(connection, self)
  end)
end

local function stream_from(hostile, options)
  options = options or {}
  options.stream = true
  return assert(http.get(hostile.url, options))
end

local function await(condition)
  local limit = fern.now() + 5
  while not condition() do
    assert(fern.now() < limit, "waited in vain")
    fern.sleep(0.001)
  end
end

local function until_gone(connection, self)
  connection:read("a")
  self.gone = (self.gone or 0) + 1
end

describe("a streamed body", function()
  it("is read like a file: all, lines, numbers of bytes", function()
    local page = nginx.page(500)
    local response = open("/page/500.html")
    assert.are.equal(200, response.status)
    assert.are.equal("page 500", response:read("l"))
    assert.are.equal(page:sub(10, 19), response:read(10))
    local line = response:read("L")
    assert.are.equal("\n", line:sub(-1))
    assert.is_true(response:read("a") == page:sub(20 + #line))
    assert.are.equal("", response:read("a"))
    check_failure("EPIPE", response:read("l"))
    assert.is_true(response:close())
  end)

  it("gives its lines, what is there, and what comes before something", function()
    local lines, pieces = {}, {}
    for line in open("/page/500.html"):lines("L") do lines[#lines + 1] = line end
    assert.is_true(table.concat(lines) == nginx.page(500))
    local response = open("/big.txt")
    repeat
      local piece = response:read_some()
      pieces[#pieces + 1] = piece
    until not piece
    assert.is_true(table.concat(pieces) == nginx.big)
    assert.are.equal("page", (open("/page/7.html"):read_until(" ")))
  end)

  it("is unpacked, and put together from chunks", function()
    assert.is_true(open("/zipped/big.txt"):read("a") == nginx.big)
    assert.is_true(open("/chunked/page/77.html"):read("a") == nginx.page(77))
  end)

  it("comes over TLS as well, by either version", function()
    for _, version in ipairs { "1.1", "2" } do
      local response = assert(http.get(site:url("secure", "/big.txt"),
        { stream = true, cafile = site.dir .. "/ca.pem", http_version = version }))
      assert.is_true(response:read("a") == nginx.big)
    end
  end)

  it("comes 200 at once, every byte", function()
    local function fetch(i)
      local response <close> = open(("/page/%d.html"):format(i))
      local pieces = {}
      repeat
        local piece = response:read(i * 37 % 4000 + 1)
        pieces[#pieces + 1] = piece
        if i % 3 == 0 then fern.sleep(0) end
      until not piece
      assert(table.concat(pieces) == nginx.page(i), "page " .. i)
      return true
    end
    local numbers = {}
    for i = 1, 400 do numbers[i] = i end
    assert.are.equal(400, #fern.pool(200):map(fetch, numbers))
  end)

  it("leaves a connection that is used again when it was read to its end", function()
    assert(open("/page/7.html"):read("a"))
    local before = http.statistics()
    for _ = 1, 10 do assert(open("/page/7.html"):read("a")) end
    assert.are.equal(before.connected, http.statistics().connected)
  end)

  it("of nothing is at its end at once", function()
    check_failure("EPIPE", open("/empty"):read(1))
    check_failure("EPIPE", open("/page/7.html", { method = "HEAD" }):read("l"))
  end)

  it("is that of the last answer, after redirects", function()
    local response = open("/chain/3")
    assert.are.equal("the end", response:read("a"))
    assert.are.equal(site:url("http", "/chain/0"), response.url)
    local moved = open("/moved/path", { max_redirects = 0 })
    assert.are.equal(301, moved.status)
    assert.is_truthy(moved:read("a"):find("301"))
  end)

  it("may go where another stream takes it", function()
    local got
    local sink <close> = server.serve(function(connection) got = connection:read("a") end)
    local connection = assert(fern.net.connect("127.0.0.1", sink.port))
    assert(open("/big.txt"):copy_to(connection))
    connection:close()
    await(function() return got end)
    assert.is_true(got == nginx.big)
  end)

  it("is one only if it was asked for", function()
    local response = assert(http.get(site:url("http", "/page/7.html")))
    assert.has_error(function() response:read("l") end)
    assert.is_true(response:close())
    assert.has_error(function() http.get(site:url("http", "/"), { head_timeout = 1 }) end)
  end)

  it("tells how long things took, also when it is closed", function()
    local response = open("/big.txt")
    local early = response:timings()
    assert.is_true(response:read("a") == nginx.big)
    local late = response:timings()
    assert.are.equal(#nginx.big, late.received)
    assert.is_true(early.total <= late.total and late.first_byte > 0)
    response:close()
    assert.is_true(response:timings().first_byte > 0)
  end)
end)

describe("the head of a streamed answer", function()
  it("is there before the body", function()
    local stalls <close> = sends("Content-Length: 5\r\n", function(connection) until_gone(connection, {}) end)
    local response = stream_from(stalls)
    assert.are.equal("5", response.headers["content-length"])
    check_failure("ETIMEDOUT", response:read(1, 0.01))
    response:close()
  end)

  it("is not that of an interim answer", function()
    local early <close> = server.serve(function(connection)
      server.read_request(connection)
      connection:write("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    end)
    local response = stream_from(early)
    assert.are.equal(200, response.status)
    assert.is_nil(response.headers.link)
    assert.are.equal("ok", response:read("a"))
  end)

  it("has a limit of its own", function()
    local silent <close> = server.serve(server.stall)
    check_failure("ETIMEDOUT", http.get(silent.url, { stream = true, head_timeout = 0.02 }))
    local late <close> = sends("", function(connection)
      fern.sleep(0.05)
      connection:write("late")
    end)
    assert.are.equal("late", stream_from(late, { head_timeout = 0.04 }):read("a"))
  end)

  it("stays as it is, whatever the body and its trailers say", function()
    local liar <close> = sends("X-One: 1\r\nTransfer-Encoding: chunked\r\n", function(connection)
      connection:write("2\r\nok\r\n0\r\nHTTP/1.1 500 No\r\nX-One: 2\r\n\r\n")
    end)
    local response = stream_from(liar)
    response:read("a")
    assert.are.equal(200, response.status)
    assert.are.equal("1", response.headers["x-one"])
  end)
end)

describe("a connection", function()
  -- Sends as much as the other side takes; tells how much.
  local function flood(connection, self)
    local piece = ("x"):rep(16384)
    self.sent = 0
    while connection:write(piece) do self.sent = self.sent + #piece end
    self.gone = true
  end

  it("is not read while nobody reads the body", function()
    local floods <close> = sends("", flood)
    local response = stream_from(floods)
    local last = -1
    await(function()                    -- until it stalls
      local stalled = floods.sent == last
      last = floods.sent
      fern.sleep(0.02)
      return stalled
    end)
    local held = floods.sent
    assert.is_true(held < 32 * 1024 * 1024, tostring(held))    -- what the system buffers
    local read = 0
    while read < held + 1024 * 1024 do read = read + #response:read_some() end
    assert.is_true(floods.sent > held)
    response:close()
    await(function() return floods.gone end)
  end)

  it("is closed with a body that is half read: by close, by the block, by the collector", function()
    local floods <close> = sends("", flood)
    local function gone() return floods.gone end
    local function again()
      floods.gone = nil
      return stream_from(floods)
    end
    local response = again()
    assert(response:read(10))
    response:close()
    await(gone)
    do
      local closed <close> = again()
      assert(closed:read(10))
    end
    await(gone)
    again():read(10)
    response = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    await(gone)
  end)

  it("is not shared by requests that share another", function()
    local trust = { cafile = site.dir .. "/ca.pem" }
    local slow = assert(http.get(site:url("secure", "/big.txt"), { cafile = trust.cafile, stream = true }))
    for _ = 1, 3 do
      assert.is_true(assert(http.get(site:url("secure", "/page/3.html"), trust)).body == nginx.page(3))
    end
    assert.is_true(slow:read("a") == nginx.big)
  end)

  it("of one who is slow delays nobody", function()
    local floods <close> = sends("", flood)
    local slow = {}
    for i = 1, 20 do slow[i] = stream_from(floods) end
    for _ = 1, 20 do assert.is_true(open("/big.txt"):read("a") == nginx.big) end
    for _, response in ipairs(slow) do response:close() end
  end)
end)

describe("a body that breaks off", function()
  local function check_broken(hostile, head, code, options)
    local response = stream_from(hostile, options)
    assert.are.equal(head, response:read(#head))
    check_failure(code, response:read("a"))
    check_failure(code, response:read("l"))
    check_failure(code, response:read_some())
    check_failure(code, response:read(1))
  end

  it("before its announced length is no end", function()
    local short <close> = sends("Content-Length: 100\r\n", function(connection) connection:write("0123") end)
    check_broken(short, "0123", "ECONNRESET")
  end)

  it("in a chunk, or without the last one, is no end", function()
    for _, text in ipairs { "a\r\n0123", "4\r\n0123\r\n" } do
      local short <close> = sends("Transfer-Encoding: chunked\r\n", function(connection) connection:write(text) end)
      check_broken(short, "0123", "ECONNRESET")
    end
  end)

  it("by a reset is no end, though its length was not announced", function()
    local resets <close> = server.serve(function(connection)
      connection:read("l")              -- what is left unread makes it a reset
      connection:write("HTTP/1.1 200 OK\r\n\r\n0123")
      fern.sleep(0.02)
    end)
    check_broken(resets, "0123", "ECONNRESET", { method = "POST", body = ("x"):rep(8e6) })
  end)

  it("by garbage is told", function()
    local text = "4\r\n0123\r\nzz\r\n"
    local garbage <close> = sends("Transfer-Encoding: chunked\r\n", function(connection) connection:write(text) end)
    check_broken(garbage, "0123", "EPROTO")
    local zip <close> = sends("Content-Encoding: gzip\r\n", function(connection) connection:write("no gzip") end)
    check_failure("EPROTO", stream_from(zip):read("a"))
  end)

  it("is longer than max_body", function()
    local response = open("/big.txt", { max_body = 100000 })
    local got = 0
    repeat
      local piece, message, code = response:read_some()
      got = got + #(piece or "")
      if not piece then check_failure("EMSGSIZE", piece, message, code) end
    until not piece
    assert.is_true(got <= 100000)
    assert.are.equal(#nginx.page(7), #open("/page/7.html", { max_body = #nginx.page(7) }):read("a"))
  end)

  it("in trailers without end is told", function()
    local endless <close> = sends("Transfer-Encoding: chunked\r\n", function(connection)
      connection:write("2\r\nok\r\n0\r\n")
      while connection:write(("X-More: %s\r\n"):format(("x"):rep(1000))) do end
    end)
    local response = stream_from(endless)
    assert.are.equal("ok", response:read(2))
    check_failure("EPROTO", response:read("a"))
  end)
end)

describe("a body that stalls", function()
  local stalls

  before_each(function()
    stalls = sends("Content-Length: 100\r\n", function(connection, self)
      connection:write("0123")
      until_gone(connection, self)
    end)
  end)
  after_each(function() stalls:close() end)

  local function gone() return stalls.gone end

  it("meets the timeout of a read, which loses nothing", function()
    local response <close> = stream_from(stalls)
    check_failure("ETIMEDOUT", response:read(5, 0.02))
    assert.are.equal("0123", response:read(4))
    response:settimeout(0.02)
    check_failure("ETIMEDOUT", response:read(1))
  end)

  it("meets the timeout of the request, also while nobody reads", function()
    local response = stream_from(stalls, { timeout = 0.05 })
    await(gone)
    assert.are.equal("0123", response:read(4))
    check_failure("ETIMEDOUT", response:read(1))
    check_failure("ETIMEDOUT", response:read("a"))
    stalls.gone = nil
    response = stream_from(stalls, { timeout = 0.05 })
    check_failure("ETIMEDOUT", response:read("a"))
    await(gone)
  end)

  it("meets an enclosing limit", function()
    local response <close> = stream_from(stalls)
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.02, response.read, response, "a") })
    assert.are.equal("0123", response:read(4))
  end)

  it("does not keep one who is killed, and is read on by others", function()
    local response <close> = stream_from(stalls)
    local reader = fern.spawn(response.read, response, 10)
    fern.sleep(0.01)
    reader:kill()
    local ok, err = reader:join()
    assert.is_true(not ok and fern.is_killed(err))
    assert.are.equal("0123", response:read(4))
  end)

  it("is closed under its reader, who is told", function()
    local response = stream_from(stalls)
    local reader = fern.spawn(response.read, response, 10)
    fern.sleep(0.01)
    check_failure("EBUSY", response:read(1))
    response:close()
    check_failure("EBADF", reader:wait())
    check_failure("EBADF", response:read(1))
    await(gone)
  end)

  it("is left by those who are killed while the head comes", function()
    for rounds = 0, 8 do
      local threads = {}
      for i = 1, 20 do
        threads[i] = fern.spawn(function()
          local response <close> = stream_from(stalls)
          response:read("a")
        end)
      end
      for _ = 1, rounds do fern.sleep(0.0005) end
      for _, thread in ipairs(threads) do thread:kill() end
      for _, thread in ipairs(threads) do thread:join() end
    end
    await(function() return http.statistics().running == 0 end)
  end)
end)

describe("a script", function()
  it("ends while a body is half read", function()
    local output, code = script.run_text("", [[
      local fern = require "fern"
      local http = require "fern.http"
      local server = require "spec.support.server"
      local begun = 0
      local floods = server.serve(function(connection)
        begun = begun + 1
        server.read_request(connection)
        connection:write("HTTP/1.1 200 OK\r\n\r\n")
        while connection:write(("x"):rep(10000)) do end
      end)
      kept = assert(http.get(floods.url, { stream = true, timeout = 60 }))
      fern.spawn(function() while true do other = http.get(floods.url, { stream = true }) other:read("a") end end)
      print(#kept:read(10))
      while begun < 2 do fern.sleep(0.001) end
    ]])
    assert.are.equal("10\n", output)
    assert.are.equal(0, code)
  end)
end)

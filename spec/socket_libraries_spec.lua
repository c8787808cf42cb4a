-- SPDX-License-Identifier: MIT
-- Libraries that know nothing of fern, after fern.patch(): many at once, each against
-- the real server.

local fern = require "fern"
local nginx = require "spec.support.nginx"
local postgres = require "spec.support.postgres"
local service = require "spec.support.service"

fern.patch { "socket" }

local function list_of(count)
  local list = {}
  for i = 1, count do list[i] = i end
  return list
end

-- fn(1) ... fn(count) at once, and what they return.
local function at_once(count, fn)
  return fern.pool(count):map(fn, list_of(count))
end

describe("socket.http", function()
  local http = require "socket.http"
  local ltn12 = require "ltn12"
  local site

  setup(function() site = nginx.start() end)
  teardown(function() site:stop() end)

  it("fetches fifty pages at once", function()
    local bodies = at_once(50, function(i)
      local body, status = http.request(site:url("http", ("/page/%d.html"):format(i)))
      assert.are.equal(200, status)
      return body
    end)
    for i = 1, 50 do assert.are.equal(nginx.page(i), bodies[i]) end
  end)

  it("follows redirects, sends headers, and reads what comes in chunks", function()
    local body, status, headers = http.request(site:url("http", "/moved/absolute"))
    assert.are.equal(200, status)
    assert.are.equal(nginx.page(7), body)
    assert.are.equal("text/html", headers["content-type"])
    body = http.request(site:url("http", "/chunked/big.txt"))
    assert.are.equal(nginx.big, body)
    local parts = {}
    local ok, code = http.request {
      url = site:url("http", "/agent"), headers = { ["x-one"] = "two" }, sink = ltn12.sink.table(parts),
    }
    assert.are.same({ 1, 200 }, { ok, code })
    assert.is_truthy(table.concat(parts):find("|two|", 1, true))
  end)

  it("writes a file by ltn12 while others run", function()
    local name = os.tmpname()
    local ran = 0
    local other = fern.spawn(function()
      while true do
        ran = ran + 1
        fern.sleep(0)
      end
    end)
    assert.are.equal(1, (http.request { url = site:url("http", "/big.txt"), sink = ltn12.sink.file(io.open(name, "wb")) }))
    other:kill()
    other:join()
    assert.is_true(ran > 1)
    local file <close> = assert(io.open(name, "rb"))
    assert.are.equal(nginx.big, file:read("a"))
    os.remove(name)
  end)

  it("tells what fails, and is ended by a deadline", function()
    assert.are.same({ nil, "connection refused" }, { http.request(site:url("nobody", "/")) })
    local socket = require "socket"
    local silent = assert(socket.bind("127.0.0.1", 0))
    local url = "http://127.0.0.1:" .. (select(2, silent:getsockname()))
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.05, http.request, url) })
    local thread = fern.spawn(http.request, url)
    fern.sleep(0.01)
    thread:kill()
    assert.is_true(fern.is_killed(select(2, thread:join())))
    silent:close()
  end)
end)

describe("socket.ftp", function()
  local ftp = require "socket.ftp"
  local server

  setup(function()
    server = service.start("ftp", service.python "pyftpdlib" .. " -w -u anna -P secret -i 127.0.0.1 -p @port@ -d @dir@")
  end)
  teardown(function() server:stop() end)

  local function url(name) return ("ftp://anna:secret@127.0.0.1:%d/%s;type=i"):format(server.port, name) end

  it("puts and gets ten files at once", function()
    local function text(i) return ("file %d\r\n\0\255"):format(i):rep(i * 1000) end
    at_once(10, function(i) return assert(ftp.put(url(i .. ".bin"), text(i))) end)
    local found = at_once(10, function(i) return assert(ftp.get(url(i .. ".bin"))) end)
    for i = 1, 10 do assert.are.equal(text(i), found[i]) end
  end)

  it("tells of a file that is not there", function()
    local found, err = ftp.get(url("none"))
    assert.is_nil(found)
    assert.is_truthy(err:find("^550"))
  end)
end)

describe("socket.smtp", function()
  local smtp = require "socket.smtp"
  local server

  setup(function()
    server = service.start("smtp", service.python "aiosmtpd"
      .. " -n -l 127.0.0.1:@port@ -c aiosmtpd.handlers.Mailbox @dir@/mail")
  end)
  teardown(function() server:stop() end)

  it("sends ten letters at once", function()
    at_once(10, function(i)
      return assert(smtp.send {
        from = "<anna@example.org>", rcpt = { "<ben@example.org>", "<cleo@example.org>" },
        server = "127.0.0.1", port = server.port,
        source = smtp.message { headers = { subject = "letter " .. i }, body = ("text %d\r\n.\r\nend"):format(i) },
      })
    end)
    local pipe <close> = assert(io.popen(("cat %s/mail/new/*"):format(server.dir)))
    local mail = pipe:read("a")
    for i = 1, 10 do
      assert.is_truthy(mail:find("Subject: letter " .. i .. "\n", 1, true))
      assert.is_truthy(mail:find(("text %d\n.\nend"):format(i), 1, true))
    end
  end)
end)

describe("redis-lua", function()
  local redis, server
  local insert = table.insert

  setup(function()
    -- Lua 5.4 is stricter than the library, which puts nils at the end
    table.insert = function(list, at, ...) -- luacheck: ignore
      if select("#", ...) == 0 then return insert(list, at) end
      list[at] = ...
    end
    package.path = package.path .. ";/usr/share/lua/5.3/?.lua"
    redis = require "redis"
    server = service.start("redis", "redis-server --port @port@ --dir @dir@ --bind 127.0.0.1 --appendonly no")
  end)
  teardown(function()
    table.insert = insert -- luacheck: ignore
    server:stop()
  end)

  local function connect() return redis.connect("127.0.0.1", server.port) end

  it("counts in thirty threads at once", function()
    at_once(30, function(i)
      local client = connect()
      for _ = 1, 20 do client:incr("counter") end
      client:set("key " .. i, ("x"):rep(i * 1000))
      assert.are.equal(("x"):rep(i * 1000), client:get("key " .. i))
      client:quit()
      return true
    end)
    local client = connect()
    assert.are.equal("600", client:get("counter"))
    client:quit()
  end)

  it("waits for a list in one thread while another fills it", function()
    local waiter = fern.spawn(function()
      local client = connect()
      local answer = client:blpop("list", 10)
      client:quit()
      return answer[2]
    end)
    fern.sleep(0.02)
    local client = connect()
    client:rpush("list", "item")
    assert.are.equal("item", waiter:wait(30))
    client:quit()
  end)

  it("sends pipelines", function()
    local answers = at_once(10, function(i)
      local client = connect()
      local replies = client:pipeline(function(p)
        p:set("piped " .. i, i)
        p:get("piped " .. i)
        p:incr("piped " .. i)
        p:exists("piped " .. i)
      end)
      client:quit()
      return replies
    end)
    for i = 1, 10 do assert.are.same({ true, tostring(i), i + 1, true }, answers[i]) end
  end)

  it("makes transactions, and tries again when a key was changed under one", function()
    local clients = at_once(8, function()
      local client = connect()
      client:transaction({ cas = true, watch = "shared", retry = 1000 }, function(t)
        local value = tonumber(t:get("shared")) or 0
        t:multi()
        t:set("shared", value + 1)
      end)
      return client
    end)
    assert.are.equal("8", clients[1]:get("shared"))
    for _, client in ipairs(clients) do client:quit() end
  end)

  it("hears what others publish, inside coroutine.wrap", function()
    local ready = fern.event()
    local listener = fern.spawn(function()
      local heard, client = {}, connect()
      for message, abort in client:pubsub { subscribe = { "channel" } } do
        if message.kind == "subscribe" then ready:send() end
        if message.kind == "message" then heard[#heard + 1] = message.payload end
        if message.payload == "end" then abort() end
      end
      client:quit()
      return heard
    end)
    ready:wait(30)
    local client = connect()
    for _, text in ipairs { "one", "two", "end" } do client:publish("channel", text) end
    assert.are.same({ "one", "two", "end" }, listener:wait(30))
    client:quit()
  end)

  it("goes by a Unix socket", function()
    require "socket.unix"
    local other = service.start("redis2", "redis-server --port @port@ --dir @dir@ --bind 127.0.0.1"
      .. " --unixsocket @dir@/socket")
    local client = redis.connect("unix://" .. other.dir .. "/socket")
    assert.is_true(client:ping())
    client:quit()
    other:stop()
  end)
end)

describe("a PostgreSQL driver", function()
  local pg = require "spec.support.pg"
  local server

  local function connect(password)
    return pg.connect { host = "127.0.0.1", port = server.port, user = postgres.USER,
                        password = password or postgres.PASSWORD, database = "postgres" }
  end

  setup(function()
    server = postgres.start()
    assert(connect()):close()           -- the password takes its time, once
  end)
  teardown(function() server:stop() end)

  it("sleeps in fifty sessions at once, not in one after the other", function()
    local sessions = at_once(50, function() return assert(connect()) end)
    local start = fern.now()
    local answers = at_once(50, function(i)
      return assert(sessions[i]:execute("select pg_sleep(0.2), $1::int as i", i))[1].i
    end)
    local took = fern.now() - start
    for i = 1, 50 do assert.are.equal(i, answers[i]) end
    local most = (os.getenv "FLAVOUR" or "") == "" and 1 or 5       -- it takes a quarter of a second
    assert.is_true(took < most, "one after the other they take 10 s; it took " .. took)
    for _, session in ipairs(sessions) do session:close() end
  end)

  it("asks simple and extended queries", function()
    local db <close> = assert(connect())
    assert.are.equal("CREATE TABLE", assert(db:query("create temp table t (a int, b text)")).command)
    for i, text in ipairs { "one", "it's", "\u{e4}\n" } do
      assert.are.equal("INSERT 0 1", assert(db:execute("insert into t values ($1, $2)", i, text)).command)
    end
    assert(db:execute("insert into t values ($1, $2)", 4, nil))
    local rows = assert(db:query("select * from t order by a"))
    assert.are.same({ { a = 1, b = "one" }, { a = 2, b = "it's" }, { a = 3, b = "\u{e4}\n" }, { a = 4 },
                      command = "SELECT 4" }, rows)
    assert.are.same({ nil, 'syntax error at or near "selec" (42601)' }, { db:query("selec") })
    assert.are.equal(("x"):rep(1000000), assert(db:query("select repeat('x', 1000000) as x"))[1].x)
  end)

  it("is refused with the wrong password", function()
    local db, why = connect("wrong")
    assert.is_nil(db)
    assert.is_truthy(why:find("password authentication failed", 1, true))
  end)

  it("hears in one session what another one tells", function()
    local listener = fern.spawn(function()
      local db <close> = assert(connect())
      db:query("listen channel")
      while #db.notifications == 0 do
        db:query("select pg_sleep(0.01)")
      end
      return db.notifications[1].payload
    end)
    local db <close> = assert(connect())
    while not listener:done() do db:query("notify channel, 'hello'") end
    assert.are.equal("hello", listener:wait())
  end)

  it("is left in the middle by a deadline, and the next session is none the worse", function()
    local db = assert(connect())
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { fern.timeout(0.05, db.query, db, "select pg_sleep(10)") })
    db.socket:close()
    local other <close> = assert(connect())
    assert.are.equal(1, assert(other:query("select 1 as one"))[1].one)
  end)
end)

-- SPDX-License-Identifier: MIT
-- The examples, run as a newcomer runs them: as processes.

local fern = require "fern"
local http = require "fern.http"
local net = require "fern.net"
local script = require "spec.support.script"

local REFUSED <const> = "http://127.0.0.1:1/"

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  return lines
end

-- What the site promises of its pages.
local function length_of(page) return 100 + page * 7919 % 20000 end

local function summary(line)
  local got, all, took, one_by_one =
    line:match("^(%d+) of (%d+) pages in ([%d.]+) s; one after another: ([%d.]+) s$")
  assert(got, line)
  return tonumber(got), tonumber(all), tonumber(took), tonumber(one_by_one)
end

describe("examples/urls.lua", function()
  it("fetches the 100 pages of its own site, in order and at once", function()
    local output, code = script.run("", "examples/urls.lua")
    local lines = lines_of(output)
    assert.are.equal(101, #lines, output)
    for page = 1, 100 do
      local number, length =
        lines[page]:match("^got body from http://127%.0%.0%.1:%d+/page/(%d+) of length (%d+)$")
      assert.are.equal(page, tonumber(number), lines[page])
      assert.are.equal(length_of(page), tonumber(length), lines[page])
    end
    local got, all, took, one_by_one = summary(lines[101])
    assert.are.equal(100, got)
    assert.are.equal(100, all)
    assert.is_true(one_by_one > 14)     -- the latencies alone
    assert.is_true(took < one_by_one / 4, lines[101])
    assert.are.equal(0, code)
  end)

  it("says why a page fails, goes on, and exits with 1", function()
    local next_line, stop = script.start("examples/site.lua")
    local urls = {}
    for page = 1, 100 do urls[page] = next_line() end
    local output, code = script.run("", "examples/urls.lua", urls[50], REFUSED, urls[3], urls[50])
    assert.are.equal("", stop())
    local lines = lines_of(output)
    assert.are.equal(5, #lines, output)
    assert.are.equal(("got body from %s of length %d"):format(urls[50], length_of(50)), lines[1])
    assert.is_truthy(lines[2]:find(REFUSED, 1, true), lines[2])
    assert.is_truthy(lines[2]:find("connection refused", 1, true), lines[2])
    assert.are.equal(("got body from %s of length %d"):format(urls[3], length_of(3)), lines[3])
    assert.are.equal(lines[1], lines[4])
    assert.are.equal(3, (summary(lines[5])))
    assert.are.equal(1, code)
  end)

  it("shows the timers and listeners from inside fetch, and who made them", function()
    local output, code = script.run("", "examples/urls.lua", "--debug")
    assert.are.equal(0, code)
    local _, prints = output:gsub("TIMERS:\n.-READERS:\n.-WRITERS:\n", "")
    assert.are.equal(100, prints)
    local stack = "\n +%[C%]: in [^\n]*\n[^\n]*http.lua:%d+: in [^\n]*\n +examples/urls.lua:%d+: in "
    assert.is_truthy(output:find("in %d+%.%d+ s: the HTTP client" .. stack))
    assert.is_truthy(output:find("descriptor %d+: the HTTP client, for thread #%d+" .. stack))
    assert.is_truthy(output:find("descriptor %d+: thread #%d+\n[^\n]*'accept'\n +examples/site.lua:%d+: in "))
    assert.are.equal(100, (summary(lines_of(output)[#lines_of(output)])))
  end)

  it("tells how it is used", function()
    local output, code = script.run("", "examples/urls.lua", "--help")
    assert.are.equal(0, code)
    assert.is_truthy(output:find("^usage: lua5.4 examples/urls.lua"), output)
  end)

  it("takes what is no URL for a failure", function()
    local output, code = script.run("", "examples/urls.lua", "nonsense", "http://a b/", "")
    assert.are.equal(4, #lines_of(output), output)
    assert.are.equal(0, (summary(lines_of(output)[4])))
    assert.are.equal(1, code)
  end)
end)

describe("examples/site.lua", function()
  local stop, port

  before_each(function()
    local next_line
    next_line, stop = script.start("examples/site.lua")
    port = tonumber(next_line():match("^http://127%.0%.0%.1:(%d+)/page/1$"))
    for _ = 2, 100 do next_line() end
  end)

  after_each(function() assert.are.equal("", stop()) end)

  local function connect()
    return assert(net.connect("127.0.0.1", port, { timeout = 30 }))
  end

  local function read_answer(connection)
    local status = assert(connection:read("l", 30)):match("^HTTP/1.1 (%d+)")
    local length
    for line in function() return connection:read("l", 30) end do
      if line == "\r" then break end
      length = tonumber(line:match("^Content%-Length: (%d+)\r$")) or length
    end
    return tonumber(status), assert(connection:read(length, 30))
  end

  it("answers one request after another on a connection", function()
    local connection <close> = connect()
    local bodies = {}
    for i, page in ipairs { 1, 2, 1 } do
      connection:write("GET /page/", page, " HTTP/1.1\r\nHost: x\r\n\r\n")
      local status
      status, bodies[i] = read_answer(connection)
      assert.are.equal(200, status)
      assert.are.equal(length_of(page), #bodies[i])
    end
    assert.are.equal(bodies[1], bodies[3])
    assert.are_not.equal(bodies[1], bodies[2])
  end)

  it("closes when asked to", function()
    local connection <close> = connect()
    connection:write("GET /page/1 HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert.are.equal(200, (read_answer(connection)))
    local line, message = connection:read("l", 30)
    assert.is_nil(line)
    assert.are.equal("closed", message)
  end)

  it("has no other pages", function()
    local connection <close> = connect()
    for _, path in ipairs { "/", "/page/0", "/page/101", "/page/1x", "/page/99999999999999999999" } do
      connection:write("GET ", path, " HTTP/1.1\r\n\r\n")
      assert.are.equal(404, (read_answer(connection)), path)
    end
  end)

  it("outlives visitors that talk nonsense or go away", function()
    for _, nonsense in ipairs { "nonsense\r\n\r\n", "GET /page/1 HTTP/1.1\r\n", "", "\n\n\n" } do
      local connection <close> = connect()
      connection:write(nonsense)
    end
    local stranger <close> = connect()
    stranger:write("nonsense\r\n\r\n")
    assert.is_nil((stranger:read("l", 30)))
    local connection <close> = connect()
    connection:write("GET /page/1 HTTP/1.1\r\n\r\n")
    assert.are.equal(200, (read_answer(connection)))
  end)

  it("serves its visitors at once", function()
    local statuses = {}
    for page = 1, 100 do
      fern.spawn(function()
        local connection <close> = connect()
        connection:write("GET /page/", page, " HTTP/1.1\r\n\r\n")
        local status, body = read_answer(connection)
        statuses[page] = status == 200 and #body == length_of(page)
      end)
    end
    assert.is_true(fern.waitall(30))
    for page = 1, 100 do assert.is_true(statuses[page], "page " .. page) end
  end)
end)

describe("examples/health.lua", function()
  local listener, host, port

  before_each(function()
    listener = assert(net.listen("127.0.0.1", 0))
    host, port = listener:address()
  end)

  after_each(function() listener:close() end)

  local function check(...)
    local output, code = script.run("", "examples/health.lua", ...)
    local lines = lines_of(output)
    return lines, code, table.remove(lines)
  end

  it("tells which ports take connections, and which do not", function()
    local up = ("%s:%d"):format(host, port)
    local lines, code, last = check("-q", up, "127.0.0.1:1", up, "[::ffff:127.0.0.1]:" .. port)
    table.sort(lines)
    assert.are.equal(4, #lines)
    assert.is_truthy(lines[1]:find("^down +%d+ ms  127%.0%.0%.1:1: connection refused$"), lines[1])
    for line = 2, 4 do assert.is_truthy(lines[line]:find("^up +%d+ ms  %S+:" .. port .. "$"), lines[line]) end
    assert.are.equal("3 of 4 up", last)
    assert.are.equal(1, code)
  end)

  it("fetches pages, and gives up those that stall", function()
    local next_line, stop = script.start("examples/site.lua")
    local page = next_line()
    for _ = 2, 100 do next_line() end
    local stalls = ("http://%s:%d/"):format(host, port)
    local lines, code, last = check("-q", "-t", "0.5", stalls, (page:gsub("/1$", "/none")), "http://127.0.0.1:1/")
    table.sort(lines)
    assert.is_truthy(lines[1]:find("127.0.0.1:1/: connection refused", 1, true), lines[1])
    assert.is_truthy(lines[2]:find("/none: status 404", 1, true), lines[2])
    assert.is_truthy(lines[3]:find(stalls .. ": timeout", 1, true), lines[3])
    assert.are.equal("0 of 3 up", last)
    assert.are.equal(1, code)
    lines, code, last = check("-q", page)
    assert.is_truthy(lines[1]:find("^up .*/page/1$"), lines[1])
    assert.are.equal("1 of 1 up", last)
    assert.are.equal(0, code)
    assert.are.equal("", stop())
  end)

  it("checks as many at once as it is told", function()
    local stalls = ("http://%s:%d/"):format(host, port)
    local began = fern.now()
    local _, code, last = check("-q", "-n", "2", "-t", "0.1", stalls, stalls, stalls, stalls, stalls, stalls)
    assert.is_true(fern.now() - began >= 0.3)
    assert.are.equal("0 of 6 up", last)
    assert.are.equal(1, code)
  end)

  it("tells how far it is", function()
    local output = script.run("", "examples/health.lua", "127.0.0.1:1")
    assert.is_truthy(output:find("\r0 of 1, 0 down", 1, true), output)
    assert.is_truthy(output:find("\r1 of 1, 1 down", 1, true), output)
    assert.is_truthy(output:find("0 of 1 up\n$"), output)
  end)

  it("explains itself", function()
    local output, code = script.run("", "examples/health.lua", "--help")
    assert.is_truthy(output:find("^usage: .*TARGET"), output)
    assert.are.equal(0, code)
    for _, wrong in ipairs { "", "nonsense", "-n 0", "-n 0.5 a:1", "-t x", "-n", "a:b:c", "-x" } do
      local words = {}
      for word in wrong:gmatch("%S+") do words[#words + 1] = word end
      output, code = script.run("", "examples/health.lua", table.unpack(words))
      assert.is_truthy(output:find("usage: ", 1, true), wrong)
      assert.are.equal(2, code, wrong)
    end
  end)
end)

-- Starts an example that serves; returns the port that it tells of, and what ends it.
local function start_server(...)
  local next_line, stop = script.start(...)
  local line = next_line()
  return assert(tonumber(line:match("port (%d+)")), line), stop
end

local function check_usage(example)
  local output, code = script.run("", example, "--help")
  assert.are.equal(0, code)
  assert.is_truthy(output:find("^usage: lua5.4 " .. example:gsub("%p", "%%%0")), output)
  output, code = script.run("", example, "nonsense", "and", "more", "of", "it")
  assert.are.equal(2, code)
  assert.is_truthy(output:find("usage:", 1, true), output)
end

describe("examples/port_scanner.lua", function()
  it("finds the ports that are open, and what they say", function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:address()
    local server = net.server(listener, function(connection) connection:write("220 ready\r\n") end)
    fern.spawn(server.serve, server)
    local output
    -- It runs in another process, which this one must be able to answer.
    local next_line, stop = script.start("examples/port_scanner.lua", "-t", "20", "127.0.0.1", port)
    while server:statistics().accepted == 0 do fern.sleep(0.001) end
    server:stop()
    output = next_line()
    assert.are.equal(("%5d open  220 ready"):format(port), output)
    assert.is_truthy(next_line():find("^1 of 1 ports of 127.0.0.1 are open"))
    stop()
    output = script.run("", "examples/port_scanner.lua", "127.0.0.1", port)
    assert.is_truthy(output:find("^0 of 1 ports"), output)
  end)

  it("tells how it is called", function()
    check_usage("examples/port_scanner.lua")
    for _, ports in ipairs { "0", "65536", "10-5", "x", "1-2-3" } do
      assert.are.equal(2, (select(2, script.run("", "examples/port_scanner.lua", "127.0.0.1", ports))))
    end
    assert.are.equal(2, (select(2, script.run("", "examples/port_scanner.lua", "-n", "0.5", "127.0.0.1", "1"))))
  end)
end)

describe("examples/chat.lua", function()
  local port, stop

  before_each(function() port, stop = start_server("examples/chat.lua", 0) end)
  after_each(function() assert.are.equal("", stop()) end)

  local function enter(name)
    local connection = assert(net.connect("127.0.0.1", port, { timeout = 30 }))
    assert.are.equal("Who are you?", connection:read("l", 30))
    connection:write(name, "\n")
    return connection
  end

  it("tells all others what one says", function()
    local ann <close> = enter("ann")
    fern.sleep(0.05)
    local bob <close> = enter("bob")
    assert.are.equal("bob is here", ann:read("l", 30))
    local impostor <close> = enter("bob")
    assert.are.equal("Somebody else, please.", impostor:read("l", 30))
    bob:write("hello\n")
    assert.are.equal("bob: hello", ann:read("l", 30))
    ann:write("hi \27[31mbob\n")
    assert.are.equal("ann: hi [31mbob", bob:read("l", 30))
    bob:close()
    assert.are.equal("bob has left", ann:read("l", 30))
  end)

  it("shows the door to whoever does not read", function()
    local sleeper <close> = enter("sleeper")
    fern.sleep(0.05)
    local talker <close> = enter("talker")
    fern.spawn(function()
      local line = ("x"):rep(900) .. "\n"
      while talker:write(line:rep(100)) do fern.sleep(0) end
    end)
    assert.are.equal("sleeper has left", talker:read("l", 30))
    talker:close()
    assert.is_truthy(tostring(sleeper))
  end)
end)

describe("examples/chat.lua on the command line", function()
  it("tells how it is called", function() check_usage("examples/chat.lua") end)
end)

describe("examples/proxy.lua", function()
  local listener, port, stop

  before_each(function()
    listener = assert(net.listen("127.0.0.1", 0))
    port, stop = start_server("examples/proxy.lua", 0, "127.0.0.1", select(2, listener:address()))
  end)
  after_each(function() listener:close() end)

  local function connect()
    local client = assert(net.connect("127.0.0.1", port, { timeout = 30 }))
    return client, assert(listener:accept(30))
  end

  it("passes on both directions, and the end of each", function()
    local client, server = connect()
    client:write("question\n")
    assert.are.equal("question", server:read("l", 30))
    client:shutdown("write")
    assert.are.equal("", server:read("a", 30))
    server:write("answer\n")
    assert.are.equal("answer", client:read("l", 30))
    server:close()
    assert.are.equal("", client:read("a", 30))
    client:close()
    assert.are.equal("", stop())
  end)

  it("passes on much, unchanged", function()
    local client, server = connect()
    local text = ("0123456789abcdef"):rep(256 * 1024)
    fern.spawn(function()
      client:write(text)
      client:shutdown("write")
    end)
    assert.is_true(server:read("a", 30) == text)
    server:close()
    client:close()
    assert.are.equal("", stop())
  end)

  it("closes one side when the other is gone", function()
    local client, server = connect()
    client:setoption("linger", 0)
    client:close()
    assert.is_nil((server:read(1, 30)))
    server:close()
    assert.are.equal("", stop())
  end)

  it("tells that there is nobody to pass on to", function()
    listener:close()
    local client <close> = assert(net.connect("127.0.0.1", port, { timeout = 30 }))
    assert.are.equal("", client:read("a", 30))
    assert.is_truthy(stop():find("connection refused"))
  end)
end)

describe("examples/proxy.lua on the command line", function()
  it("tells how it is called", function() check_usage("examples/proxy.lua") end)
end)

describe("examples/jobs.lua", function()
  local function jobs(...)
    local output, code = script.run("", "examples/jobs.lua", ...)
    return lines_of(output), code
  end

  it("runs commands side by side, and tells of each what it said and how it ended", function()
    local lines, code = jobs("sleep 0.2; echo slow", "echo fast", "exit 3")
    assert.are.equal(1, code)
    assert.are.equal(6, #lines)
    assert.is_truthy(table.concat(lines, "\n"):find("ok +[%d.]+ s  echo fast\n    fast"))
    assert.is_truthy(table.concat(lines, "\n"):find("exit 3 +[%d.]+ s  exit 3\n"))
    assert.is_truthy(lines[4]:find("^%[3/3%] ok +0%.%d+ s  sleep 0.2; echo slow$"), lines[4])
    assert.are.equal("    slow", lines[5])
    assert.is_truthy(lines[6]:find("^2 of 3 ok in "))
  end)

  it("takes eight at a time, from stdin too", function()
    local name = os.tmpname()
    local output = script.run(("yes 'sleep 0.1' | head -n 8 >%s; exec <%s; "):format(name, name),
      "examples/jobs.lua")
    os.remove(name)
    local took = tonumber(output:match("8 of 8 ok in ([%d.]+) s"))
    assert.is_true(took >= 0.1 and took < 0.7, output)
  end)

  it("ends what takes too long, begins no more if told so, and says how it is used", function()
    local lines, code = jobs("-t", "0.1", "-n", "1", "-k", "sleep 60 & sleep 60", "echo never")
    assert.are.equal(1, code)
    assert.is_truthy(lines[1]:find("timeout .*sleep 60"), lines[1])
    assert.is_truthy(lines[2]:find("not begun"), lines[2])
    lines, code = jobs("--help")
    assert.are.same({ true, 0 }, { lines[1]:find("^usage:") ~= nil, code })
    lines, code = jobs("-n", "0")
    assert.are.same({ true, 2 }, { lines[1]:find("needs a whole number") ~= nil, code })
  end)
end)

describe("examples/crawler.lua", function()
  local stop, url

  before_each(function()
    local next_line
    next_line, stop = script.start("spec/support/crawled.lua")
    url = next_line()
  end)

  after_each(function() assert.are.equal("", stop()) end)

  -- How many requests there were at once, and for what, sorted.
  local function asked_for()
    local body = assert(http.get(url .. "seen")).body
    local paths = {}
    for path in body:gmatch("/%S*") do paths[#paths + 1] = path end
    table.sort(paths)
    return tonumber(body:match("^%d+")), paths
  end

  local ALL <const> = { "/", "/a", "/b/", "/b/e", "/d?q=1&r=2", "/d?q=2", "/missing", "/private/open", "/robots.txt" }

  it("follows each link once, and nothing that robots.txt forbids", function()
    local output, code = script.run("", "examples/crawler.lua", url)
    assert.matches("7 pages in [%d.]+ s; 1 failed, 1 forbidden by robots.txt\n$", output)
    assert.matches("/missing: status 404\n", output)
    assert.are.equal(1, code)
    local _, paths = asked_for()
    assert.are.same(ALL, paths)
  end)

  it("asks a host for no more than it may at once", function()
    script.run("", "examples/crawler.lua", "--per-host", "1", url)
    local most, paths = asked_for()
    assert.are.equal(1, most)
    assert.are.same(ALL, paths)
  end)

  it("stops after so many pages", function()
    local output, code = script.run("", "examples/crawler.lua", "--max", "2", url)
    assert.matches("^%S+/: %d+ bytes\n%S+/a: %d+ bytes\n2 pages", output)
    assert.are.equal(0, code)
  end)

  it("says what it takes, and what is wrong", function()
    local output, code = script.run("", "examples/crawler.lua", "--help")
    assert.matches("^usage: ", output)
    assert.are.equal(0, code)
    for _, wrong in ipairs { "--nonsense", "--max", "--timeout" } do
      output, code = script.run("", "examples/crawler.lua", wrong)
      assert.matches("^crawler: what is " .. wrong:gsub("%-", "%%-"), output)
      assert.are.equal(2, code)
    end
    output, code = script.run("", "examples/crawler.lua", "ftp://x/")
    assert.matches("^ftp://x/: not a URL of http\n0 pages", output)
    assert.are.equal(1, code)
  end)

  it("says why a robots.txt cannot be had, which forbids all", function()
    local output, code = script.run("", "examples/crawler.lua", REFUSED)
    assert.matches("^http://127.0.0.1:1/robots.txt: connection refused\n0 pages.*1 failed, 0 forbidden", output)
    assert.are.equal(1, code)
  end)
end)

-- SPDX-License-Identifier: MIT
-- What all streams do, shown on connections; spec/net_spec.lua has what reading,
-- writing and closing promise to their users, this the rest, and hostile peers.

local fern = require "fern"
local net = require "fern.net"

local SOON <const> = 30     -- seconds: longer than anything here takes
local MANY <const> = 20 * 1024 * 1024

local function pair()
  local listener <close> = assert(net.listen("127.0.0.1", 0))
  local _, port = listener:address()
  local client = assert(net.connect("127.0.0.1", port, { timeout = SOON }))
  return client, assert(listener:accept(SOON))
end

local function settle()
  for _ = 1, 10 do fern.sleep(0) end
end

local function check(expected, ...)
  expected.n = expected.n or #expected
  assert.are.same(expected, table.pack(...))
end

local function check_closed(...) check({ nil, "closed", "EPIPE", n = 3 }, ...) end
local function check_timeout(...) check({ nil, "timeout", "ETIMEDOUT", n = 3 }, ...) end
local function check_long(...) check({ nil, "message too long", "EMSGSIZE", n = 3 }, ...) end

local function check_raises(pattern, fn, ...)
  local ok, problem = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(problem):find(pattern), tostring(problem))
end

local function finish(...)
  for _, connection in ipairs { ... } do assert.is_true(connection:close()) end
end

-- One that has got `text` and nothing more to come.
local function holding(text)
  local client, server = pair()
  assert.is_true(client:write(text))
  client:close()
  return server
end

describe("several formats", function()
  it("are one request", function()
    local stream = holding("12 apples\nrest of it\nmore")
    check({ 12, " apples", "rest", " of it\n" }, stream:read("n", "l", 4, "L"))
    check({ "mo", "re" }, stream:read(2, 100, SOON))
    finish(stream)
  end)

  it("end with the first that finds nothing", function()
    local stream = holding("one\ntwo")
    check({ "one", "two", nil, "closed", "EPIPE", n = 5 }, stream:read("l", "l", "l", "l"))
    check({ "", "", n = 2 }, stream:read("a", "a"))
    finish(stream)
  end)

  it("take nothing when one of them fails", function()
    local client, server = pair()
    client:write("one\n22 tw")
    check_timeout(server:read("l", "n", "L", 0.002))
    check_timeout(fern.timeout(0.002, server.read, server, "l", 100, "l"))
    local thread = fern.spawn(server.read, server, "l", "l", "l")
    settle()
    thread:kill()
    assert.is_false((thread:join(SOON)))
    check({ nil, "invalid byte sequence", "EILSEQ", n = 3 }, server:read(4, 3, "n", SOON))
    client:write("o\n")
    check({ "one", 22, " two\n" }, server:read("l", "n", "L"))
    finish(client, server)
  end)

  it("do not disturb the thread that reads", function()
    local client, server <close> = pair()
    local bytes = ("z"):rep(MANY // 100)
    local reader = fern.spawn(server.read, server, #bytes, SOON)
    settle()
    check({ nil, "already in use by another thread", "EBUSY" }, server:read("l", "l", 0))
    client:write(bytes)
    check({ bytes }, reader:wait())
    finish(client)
  end)

  it("give back all of it when another thread asks for several, too", function()
    local client, server <close> = pair()
    local reader = fern.spawn(server.read, server, "l", "l", SOON)
    client:write("one\ntw")
    repeat fern.sleep(0) until server:buffered() == 2
    check({ nil, "already in use by another thread", "EBUSY" }, server:read("l", "l", 0))
    reader:kill()
    reader:join()
    check({ "one" }, server:read("l", SOON))
    finish(client)
  end)

  it("tell a time limit from a count by its place", function()
    local stream = holding("abc")
    check({ "a" }, stream:read(1, SOON))
    check({ "b", "c" }, stream:read(1, 1, nil))
    check_closed(stream:read(1, SOON))
    finish(stream)
  end)
end)

describe("a numeral", function()
  local good <const> = {
    ["0"] = 0, ["-12"] = -12, ["+3"] = 3, ["0x1F"] = 31, ["-0xa.8p1"] = -21.0, ["1e2"] = 100.0,
    [" \t\r\n 7"] = 7, ["3.5"] = 3.5, [".5"] = 0.5, ["5."] = 5.0, ["9223372036854775808"] = 2.0 ^ 63,
  }
  local bad <const> = { "", "x", "-", "0x", "1e", ".", "--1", "nan", "inf", ("1"):rep(201), "1e+" }

  it("is read as io.read does", function()
    for text, value in pairs(good) do
      local stream = holding(text .. "zz")
      local got, rest = stream:read("n", "a")
      assert.are.equal(value, got, text)
      assert.are.equal(math.type(value), math.type(got), text)
      assert.are.equal("zz", rest)
      finish(stream)
    end
  end)

  it("takes nothing when there is none", function()
    for _, text in ipairs(bad) do
      local stream = holding(text .. "@")
      check({ nil, "invalid byte sequence", "EILSEQ", n = 3 }, stream:read("n", SOON))
      assert.are.equal(text .. "@", stream:read("a"))
      finish(stream)
    end
    local stream = holding("  \n ")
    check_closed(stream:read("n", SOON))
    finish(stream)
  end)

  it("is not looked for behind space without end", function()
    local stream = holding((" "):rep(100) .. "1")
    stream:max_line(10)
    check_long(stream:read("n", SOON))
    stream:max_line(100)
    check({ 1 }, stream:read("n"))
    finish(stream)
  end)
end)

describe("read_some", function()
  it("gives what is there, and no more than it is told", function()
    local client, server = pair()
    client:write("one two")
    check({ "one" }, server:read_some(3, SOON))
    assert.are.equal(4, server:buffered())
    check({ " two" }, server:read_some(nil, SOON))
    assert.are.equal(0, server:buffered())
    check_timeout(server:read_some(nil, 0.002))
    client:close()
    check_closed(server:read_some())
    finish(server)
  end)
end)

describe("peek", function()
  it("shows what comes, which stays for the next call", function()
    local client, server = pair()
    check_timeout(server:peek(1, 0.002))
    local thread = fern.spawn(server.peek, server, 3, SOON)
    client:write("ab")
    settle()
    client:write("cdef")
    assert.are.equal("abc", thread:wait(SOON))
    assert.are.equal("a", server:peek())
    check({ "abcd", "ef" }, server:read(4, 2, nil))
    client:write("gh")
    client:close()
    assert.are.equal("gh", server:peek(100, SOON))
    assert.are.equal("gh", server:read("a"))
    check_closed(server:peek())
    check_raises("a count of 1 or more expected", server.peek, server, 0)
    finish(server)
  end)

  it("leaves what it has shown to what is made of the stream, such as TLS", function()
    local tls, made = require "fern.tls", require("spec.support.authority").make()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local serving = fern.spawn(function()
      for _ = 1, 2 do
        local stream = assert(listener:accept(SOON))
        local is_tls = stream:peek(1, SOON) == "\x16"
        if is_tls then
          stream = assert(tls.wrap(stream, { server = true, certificate = made.ours.certificate, key = made.ours.key }))
        end
        stream:write(is_tls and "TLS " or "plain ", stream:read("L", SOON))
        stream:close()
      end
    end)
    local host, port = listener:address()
    local plain <close> = assert(net.connect(host, port))
    plain:write("hello\n")
    assert.are.equal("plain hello", plain:read("l", SOON))
    local secure <close> = assert(tls.connect(host, port, { cafile = made.ca, timeout = SOON }))
    secure:write("hello\n")
    assert.are.equal("TLS hello", secure:read("l", SOON))
    serving:wait(SOON)
  end)
end)

describe("read_until", function()
  it("gives what stands before it, and takes it, too", function()
    local stream = holding("a: 1\r\nb: 2\r\n\r\nbody")
    check({ "a: 1" }, stream:read_until("\r\n"))
    check({ "b: 2\r\n\r\n" }, stream:read_until("\r\n\r\n", { keep = true, max = 10, timeout = SOON }))
    check_closed(stream:read_until("\r\n"))
    check({ "body" }, stream:read("a"))     -- was no answer, and stayed
    finish(stream)
  end)

  it("finds it wherever the bytes are cut", function()
    local client, server = pair()
    local text = "--a-bou-bounda-boundar-boundary-"
    local sender = fern.spawn(function()
      for byte in text:gmatch(".") do
        client:write(byte)
        settle()
      end
    end)
    check({ "--a-bou-bounda-boundar" }, server:read_until("-boundary-"))
    sender:wait(SOON)
    finish(client, server)
  end)

  it("gives up where it is told to, and nothing is lost", function()
    local stream = holding("12345;67;")
    check_long(stream:read_until(";", 4))
    check_long(stream:read_until(";;", 4))
    check({ "12345" }, stream:read_until(";", 5, SOON))
    check({ "67" }, stream:read_until(";", { max = 2 }))
    finish(stream)
  end)

  it("keeps its time", function()
    local client, server = pair()
    client:write("half")
    check_timeout(server:read_until(";", nil, 0.002))
    check_timeout(server:read_until(";", { timeout = 0 }))
    client:write(" and half;")
    check({ "half and half" }, server:read_until(";"))
    finish(client, server)
  end)
end)

describe("lines", function()
  it("goes through to the end", function()
    local stream = holding("one\n\nthree")
    local got = {}
    for line in stream:lines() do got[#got + 1] = line end
    assert.are.same({ "one", "", "three" }, got)
    for _ in stream:lines("a") do error("there is nothing") end
    finish(stream)
  end)

  it("takes a format", function()
    local stream = holding("ab\ncde")
    local got = {}
    for piece in stream:lines(2) do got[#got + 1] = piece end
    assert.are.same({ "ab", "\nc", "de" }, got)
    finish(stream)
  end)

  it("raises what is not the end", function()
    local client, server = pair()
    client:write("one\ntw")
    local next_line = server:lines("l", 0.002)
    assert.are.equal("one", next_line())
    check_raises("^timeout$", next_line)
    server:max_line(1)
    check_raises("^message too long$", next_line)
    finish(client, server)
    check_raises("^bad file descriptor$", next_line)
  end)
end)

describe("max_line", function()
  it("is a MiB, until it is set", function()
    local stream = holding("12345\n1234\n")
    assert.are.equal(1024 * 1024, stream:max_line())
    assert.are.equal(4, stream:max_line(4))
    check_long(stream:read())
    check({ "12345\n" }, stream:read(6))
    check({ "1234" }, stream:read())
    finish(stream)
  end)

  it("stops a peer that never ends its line", function()
    local client, server = pair()
    local flood = fern.spawn(function()
      while client:write(("x"):rep(65536)) do end
    end)
    check_long(server:read("l", SOON))
    assert.is_true(server:buffered() < 4 * 1024 * 1024)
    finish(server, client)
    flood:wait(SOON)
  end)
end)

describe("settimeout", function()
  it("limits each call that has no limit of its own", function()
    local client, server = pair()
    assert.is_true(server:settimeout(0.002))
    check_timeout(server:read())
    check_timeout(server:read_some())
    check_timeout(server:read_until(";"))
    check_raises("^timeout$", server:lines())
    check({ nil, "timeout", "ETIMEDOUT", MANY, n = 4 }, (function(...)
      local ok, message, code, written = server:write(...)
      assert.is_true(written > 0 and written < MANY)
      return ok, message, code, MANY
    end)(("x"):rep(MANY)))
    local reader = fern.spawn(server.read, server, "l", SOON)
    settle()
    client:write("line\n")
    assert.are.equal("line", reader:wait(SOON))
    assert.is_true(server:settimeout(nil))
    client:write("more\n")
    check({ "more" }, server:read())
    finish(client, server)
  end)
end)

describe("a write that fails", function()
  it("tells how much went out, and the peer finds so much", function()
    local client, server = pair()
    local text = ("0123456789"):rep(MANY // 10)
    client:settimeout(0.01)
    local _, _, code, written = client:write("head", text, "tail")
    assert.are.equal("ETIMEDOUT", code)
    client:settimeout(nil)
    client:shutdown("write")
    local got = server:read("a", SOON)
    assert.are.equal(written, #got)
    assert.are.equal(("head" .. text):sub(1, written), got)
    finish(client, server)
  end)

  it("takes many parts in one piece", function()
    local client, server = pair()
    local parts, expected = {}, {}
    for i = 1, 3000 do parts[i], expected[i] = i % 7 == 0 and "" or i, i % 7 == 0 and "" or tostring(i) end
    assert.is_true(client:write(table.unpack(parts)))
    client:close()
    assert.are.equal(table.concat(expected), server:read("a", SOON))
    finish(server)
  end)
end)

describe("sendfile", function()
  local path

  before_each(function()
    path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(("0123456789"):rep(100000))
  end)
  after_each(function() os.remove(path) end)

  it("sends a path, a file or a descriptor", function()
    local client, server = pair()
    local file <close> = assert(io.open(path))
    for _, source in ipairs { path, file } do
      local reader = fern.spawn(server.read, server, 1000000, SOON)
      check({ 1000000 }, client:sendfile(source))
      assert.are.equal(("0123456789"):rep(100000), reader:wait(SOON))
    end
    check({ 4 }, client:sendfile(path, 999996, 4))
    check({ "6789" }, server:read(4, SOON))
    check({ 0 }, client:sendfile(path, 2000000))
    check({ 0 }, client:sendfile(path, 0, 0))
    finish(client, server)
  end)

  it("tells that the file has not so much", function()
    local client, server = pair()
    check({ nil, "less data than asked for", "ENODATA", 10, n = 4 }, client:sendfile(path, 999990, 20))
    check({ nil, "no such file or directory", "ENOENT", 0, n = 4 }, client:sendfile("/no/such/file"))
    check({ nil, "bad file descriptor", "EBADF", 0, n = 4 }, client:sendfile(999999))
    finish(client, server)
    check({ nil, "bad file descriptor", "EBADF", 0, n = 4 }, client:sendfile(path))
  end)

  it("goes on when the file is closed meanwhile, and can be killed", function()
    local client, server = pair()
    local file = assert(io.open(path))
    local sender = fern.spawn(function()
      for _ = 1, 20 do assert(client:sendfile(file)) end
    end)
    settle()
    local first = fern.spawn(client.close, client)
    file:close()
    assert.is_false((sender:join(SOON)))
    first:wait(SOON)
    finish(server)
  end)
end)

describe("copy_to", function()
  it("passes all of it on", function()
    local a, b = pair()
    local c, d = pair()
    local text = ("0123456789"):rep(MANY // 10)
    local sender = fern.spawn(function() a:write(text) a:shutdown("write") end)
    local proxy = fern.spawn(function()
      local copied = assert(b:copy_to(c))
      c:shutdown("write")
      return copied
    end)
    assert.are.equal(text, d:read("a", SOON))
    assert.are.equal(#text, proxy:wait(SOON))
    sender:wait(SOON)
    finish(a, b, c, d)
  end)

  it("loses nothing when it is killed, and copies no more than it is told", function()
    local a, b = pair()
    local c, d = pair()
    local text = ("0123456789"):rep(MANY // 10)
    local sender = fern.spawn(function() a:write(text) a:shutdown("write") end)
    for _ = 1, 5 do
      local proxy = fern.spawn(b.copy_to, b, c)
      settle()
      proxy:kill()
      proxy:join(SOON)
    end
    check_timeout(fern.timeout(0.005, b.copy_to, b, c))
    local proxy = fern.spawn(b.copy_to, b, c)
    assert.are.equal(text, d:read(#text, SOON))
    proxy:wait(SOON)
    sender:wait(SOON)
    d:write("123456")
    check({ 4 }, c:copy_to(b, 4))
    check({ "1234" }, a:read(4))
    check({ "56" }, c:read(2))
    finish(a, b, c, d)
  end)

  it("tells whose end it was", function()
    local a, b = pair()
    local c, d = pair()
    a:write("some")
    finish(d, c)
    check({ nil, "writing: bad file descriptor", "EBADF", 0, n = 4 }, b:copy_to(c))
    check({ nil, "reading: bad file descriptor", "EBADF", 0, n = 4 }, c:copy_to(b))
    check({ "some" }, b:read(4, SOON))
    finish(a, b)
  end)

  it("tells which side has failed, and a deadline is that of both", function()
    local a, b = pair()
    local c, d = pair()
    local copying = fern.spawn(b.copy_to, b, c)
    settle()
    finish(b)
    check({ nil, "reading: bad file descriptor", "EBADF", 0, n = 4 }, copying:wait(SOON))
    finish(a)
    a, b = pair()
    check({ nil, "timeout", "ETIMEDOUT", 0, n = 4 }, b:copy_to(c, nil, 0.001))
    finish(d)
    local sender = fern.spawn(a.write, a, ("x"):rep(MANY))
    local copied = table.pack(b:copy_to(c, nil, SOON))
    assert.matches("^writing: ", copied[2])
    finish(a, b, c)
    sender:join(SOON)
  end)
end)

describe("shutdown", function()
  it("ends one direction, and the other one goes on", function()
    local client, server = pair()
    assert.is_true(client:shutdown("write"))
    check_closed(server:read("l", SOON))
    assert.is_true(server:write("still\n"))
    check({ "still" }, client:read("l", SOON))
    check({ nil, "closed", "EPIPE", 0, n = 4 }, client:write("x"))
    finish(client, server)
  end)

  it("ends who reads", function()
    local client, server = pair()
    local reader = fern.spawn(function() return table.pack(client:read()) end)
    settle()
    assert.is_true(client:shutdown("read"))
    check_closed(table.unpack(reader:wait(SOON)))
    check_closed(client:read())
    assert.is_true(client:write("x"))
    assert.is_true(client:shutdown())
    finish(client, server)
    check({ nil, "bad file descriptor", "EBADF", n = 3 }, client:shutdown())
  end)
end)

-- A thread that went on would outlive whoever has tidied up after it.
describe("a kill is heard, though the stream is closed in the same turn, by who", function()
  local calls = {
    reads = function(stream) return stream:read("l") end,
    ["reads several"] = function(stream) return stream:read("l", "l") end,
    ["reads much"] = function(stream) return stream:read(MANY) end,
    copies = function(stream) return stream:copy_to(stream) end,
    writes = function(stream) return stream:write(("x"):rep(MANY)) end,
    accepts = function(_, listener) return listener:accept() end,
  }

  for name, call in pairs(calls) do
    it(name, function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local client, server = pair()
      local thread = fern.spawn(function()
        call(client, listener)
        return "goes on"
      end)
      settle()
      assert.is_true(thread:kill())
      finish(client, listener)
      assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
      finish(server)
    end)
  end

  it("copies to a slow one", function()
    local client, server = pair()
    local from, feeder = pair()
    local feeding = fern.spawn(feeder.write, feeder, ("x"):rep(MANY))
    local thread = fern.spawn(function()
      from:copy_to(client)
      return "goes on"
    end)
    repeat fern.sleep(0.001) until from:buffered() > 0
    assert.is_true(thread:kill())
    finish(from, client)
    assert.is_true(fern.is_killed(select(2, thread:join(SOON))))
    feeding:kill()
    feeding:join()
    finish(server, feeder)
  end)
end)

describe("a stream", function()
  it("has a descriptor until it is closed", function()
    local client, server = pair()
    assert.are.equal("integer", math.type(client:fd()))
    finish(client, server)
    check({ nil, "bad file descriptor", "EBADF", n = 3 }, client:fd())
    assert.are.equal(0, client:buffered())
  end)

  it("is free for the next one as soon as its reader or writer was killed", function()
    local client, server = pair()
    local reader = fern.spawn(client.read, client)
    local writer = fern.spawn(client.write, client, ("x"):rep(MANY))
    settle()
    server:write("a line\n")
    reader:kill()
    check({ "a line" }, client:read("l", SOON))
    writer:kill()
    client:settimeout(0)
    assert.are_not.equal("EBUSY", (select(3, client:write("y"))))
    finish(client, server)
  end)

  it("is never another one, when its number is used again", function()
    local client, server = pair()
    local number = client:fd()
    local reader = fern.spawn(function() return table.pack(client:read()) end)
    local writer = fern.spawn(function() return table.pack(client:write(("x"):rep(MANY))) end)
    settle()
    client:close()
    local a, b = pair()
    assert.is_true(a:fd() == number or b:fd() == number)
    a:write("theirs\n")
    check({ nil, "bad file descriptor", "EBADF", n = 3 }, table.unpack(reader:wait(SOON)))
    check({ nil, "bad file descriptor", "EBADF" }, table.unpack(writer:wait(SOON), 1, 3))
    check({ "theirs" }, b:read())
    finish(server, a, b)
  end)

  it("is read in one thread and written in another, whoever closes it", function()
    for _ = 1, 20 do
      local client, server = pair()
      local threads = {
        fern.spawn(function() while client:read_some() do end end),
        fern.spawn(function() while client:write(("x"):rep(5000)) do end end),
        fern.spawn(function() while server:read(777) do end end),
        fern.spawn(function() while server:write("y\n") do end end),
      }
      fern.sleep(0.0005)
      threads[math.random(4)]:kill()
      finish(math.random(2) == 1 and client or server)
      for _, thread in ipairs(threads) do thread:join(SOON) end
      finish(client, server)
    end
  end)

  it("starves nobody while its bytes are there", function()
    local stream = holding(("x\n"):rep(50000))
    local turns = 0
    local other = fern.spawn(function()
      while true do
        turns = turns + 1
        fern.sleep(0)
      end
    end)
    for _ in stream:lines() do turns = turns + 0 end
    assert.is_true(turns > 100, turns)
    other:kill()
    finish(stream)
  end)
end)

describe("misuse of a stream", function()
  it("is raised, and changes nothing", function()
    local client, server = pair()
    client:write("there")
    check_raises("invalid format", server.read, server, "l", "x")
    check_raises("count of 0 or more", server.read, server, -1, "l")
    check_raises("count of 1 or more", server.read_some, server, 0)
    check_raises("one byte or more", server.read_until, server, "")
    check_raises("string expected", server.read_until, server)
    check_raises("bad option 'keep' %(boolean expected", server.read_until, server, ";", { keep = 1 })
    check_raises("unknown option 'keeep'", server.read_until, server, ";", { keeep = true })
    check_raises("bad option 'max'", server.read_until, server, ";", { max = -1 })
    check_raises("bad option 'timeout'", server.read_until, server, ";", { timeout = "x" })
    check_raises("invalid format", server.lines, server, "q")
    check_raises("NaN", server.lines, server, "l", 0 / 0)
    check_raises("NaN", server.settimeout, server, 0 / 0)
    check_raises("number expected", server.settimeout, server, {})
    check_raises("count of 0 or more", server.max_line, server, -1)
    check_raises("invalid option", server.shutdown, server, "all")
    check_raises("stream expected", server.copy_to, server, io.stdout)
    check_raises("file, path or descriptor expected", server.sendfile, server, {})
    check_raises("descriptor expected", server.sendfile, server, -1)
    check_raises("no zeros", server.sendfile, server, "/etc\0x")
    check_raises("count of 0 or more", server.sendfile, server, "/etc/hosts", -1)
    check_raises("fern.net.connection expected", client.read_some, {})
    check_raises("fern.net.connection expected", client.lines, io.stdout)
    check({ "there" }, server:read(5, SOON))
    finish(client, server)
  end)
end)

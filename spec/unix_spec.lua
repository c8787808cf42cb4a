-- SPDX-License-Identifier: MIT
-- Unix sockets and descriptors that travel, in Lua.

local fern = require "fern"
local fs = require "fern.fs"
local net = require "fern.net"
local unix = require "spec.support.unix"
local script = require "spec.support.script"

local SOON <const> = 30

local path

before_each(function()
  path = os.tmpname()
  os.remove(path)
end)

after_each(function() os.remove(path) end)

local function check_failure(message, code, ...)
  assert.are.same({ nil, message, code, n = 3 }, table.pack(...))
end

local function exists(name)
  local ok = os.execute(("test -e '%s'"):format(name))
  return ok == true
end

local function finish(...)
  for _, object in ipairs { ... } do assert.is_true(object:close()) end
end

describe("a Unix socket", function()
  it("connects by a path, which is gone when its listener is closed", function()
    local listener = assert(net.listen_unix(path))
    assert.are.equal(path, (listener:address()))
    assert.are.equal("fern.net.listener (unix:" .. path .. ")", tostring(listener))
    local client = assert(net.connect_unix(path, { timeout = SOON }))
    local server = assert(listener:accept(SOON))
    client:write("hello\n")
    assert.are.equal("hello", server:read("l", SOON))
    assert.are.same({ path }, { client:peer() })
    assert.are.same({ "" }, { server:peer() })
    finish(client, server, listener)
    assert.is_false(exists(path))
    check_failure("no such file or directory", "ENOENT", net.connect_unix(path))
  end)

  it("connects by a name that is no file", function()
    local listener <close> = assert(net.listen_unix("@"))
    local name = listener:address()
    assert.is_truthy(name:find("^@.+"))
    local client = assert(net.connect_unix(name))
    local server = assert(listener:accept(SOON))
    finish(client, server)
    check_failure("address already in use", "EADDRINUSE", net.listen_unix(name))
  end)

  it("takes a stale path only if told to, and never from somebody who listens", function()
    script.run_text("", ([[
      local net = require "fern.net"
      assert(net.listen_unix("%s"))
      os.exit(0)                        -- without unwinding: the file stays
    ]]):format(path))
    assert.is_true(exists(path))
    check_failure("connection refused", "ECONNREFUSED", net.connect_unix(path))
    check_failure("address already in use", "EADDRINUSE", net.listen_unix(path))
    local listener <close> = assert(net.listen_unix(path, { unlink = true }))
    check_failure("address already in use", "EADDRINUSE", net.listen_unix(path, { unlink = true }))
    assert.is_nil((listener:accept(0)))     -- nobody has noticed that
  end)

  it("never removes what is no socket", function()
    assert(io.open(path, "w")):close()
    check_failure("address already in use", "EADDRINUSE", net.listen_unix(path, { unlink = true }))
    assert.is_true(exists(path))
  end)

  it("is removed at the end of a script", function()
    local output, code = script.run_text("", ([[
      local net = require "fern.net"
      kept = assert(net.listen_unix("%s"))
    ]]):format(path))
    assert.are.equal("", output)
    assert.are.equal(0, code)
    assert.is_false(exists(path))
  end)

  it("has the mode that is asked for", function()
    local listener <close> = assert(net.listen_unix(path, { mode = tonumber("600", 8) }))
    assert.is_truthy(listener)
    local pipe <close> = io.popen("stat -c %a " .. path)
    assert.are.equal("600", pipe:read("l"))
  end)

  it("has the mode that is asked for in digits, as of files", function()
    local listener <close> = assert(net.listen_unix(path, { mode = "640" }))
    assert.is_truthy(listener)
    assert.are.equal(tonumber("640", 8), fs.stat(path).mode)
  end)

  it("tells who is at the other end", function()
    local one, other = assert(net.pair())
    local who = one:credentials()
    assert.are.equal(unix.getpid(), who.pid)
    assert.are.equal("integer", math.type(who.uid))
    assert.are.equal("integer", math.type(who.gid))
    finish(one, other)
    check_failure("bad file descriptor", "EBADF", one:credentials())
  end)

  it("is told what is no path", function()
    for _, name in ipairs { "", ("x"):rep(200), "a\0b" } do
      check_failure("invalid argument", "EINVAL", net.listen_unix(name))
      check_failure("invalid argument", "EINVAL", net.connect_unix(name))
    end
    check_failure("no such file or directory", "ENOENT", net.listen_unix("/no/such/folder/x"))
  end)
end)

describe("a descriptor", function()
  it("travels with its bytes, whoever reads ahead of it", function()
    local one, other = assert(net.pair { descriptors = true })
    local read_end, write_end = unix.pipe()
    one:write("here it comes\n")
    assert.is_true(one:send_fd(write_end, "now\n"))
    one:write("that was it\n")
    unix.close(write_end)
    assert.are.equal("here it comes", other:read("l", SOON))
    local fd = assert(other:receive_fd(SOON))
    assert.are.equal("now", other:read("l", SOON))
    assert.are.equal("that was it", other:read("l", SOON))
    unix.write(fd, "x")
    unix.close(fd)
    assert.are.equal("x", unix.read(read_end))
    unix.close(read_end)
    finish(one, other)
  end)

  it("is waited for, and the wait can be ended", function()
    local one, other = assert(net.pair { descriptors = true })
    check_failure("timeout", "ETIMEDOUT", other:receive_fd(0.005))
    local waiter = fern.spawn(other.receive_fd, other)
    fern.sleep(0)
    waiter:kill()
    assert.is_true(fern.is_killed(select(2, waiter:join(SOON))))
    waiter = fern.spawn(other.receive_fd, other)
    fern.sleep(0)
    assert.is_true(one:send_fd(1, "x"))
    unix.close(waiter:wait(SOON))
    waiter = fern.spawn(other.receive_fd, other)
    fern.sleep(0)
    one:close()
    check_failure("closed", "EPIPE", waiter:wait(SOON))
    other:close()
    check_failure("bad file descriptor", "EBADF", other:receive_fd())
  end)

  it("that nobody asks for is closed with the connection", function()
    local before = unix.descriptors()
    local one, other = assert(net.pair { descriptors = true })
    for _ = 1, 3 do assert.is_true(one:send_fd(1, "x")) end
    assert.are.equal("xxx", other:read(3, SOON))
    assert.are.equal(before + 5, unix.descriptors())
    finish(one, other)
    assert.are.equal(before, unix.descriptors())
  end)

  it("comes only to those who want them", function()
    local before = unix.descriptors()
    local one, other = assert(net.pair())
    check_failure("operation not supported", "EOPNOTSUPP", one:send_fd(1, "x"))
    check_failure("operation not supported", "EOPNOTSUPP", other:receive_fd(0))
    finish(one, other)
    local listener <close> = assert(net.listen_unix("@"))
    one = assert(net.connect_unix(listener:address(), { descriptors = true }))
    other = assert(listener:accept(SOON))
    assert.is_true(one:send_fd(1, "x"))
    assert.are.equal("x", other:read(1, SOON))
    finish(one, other, listener)
    assert.are.equal(before, unix.descriptors())
  end)

  it("is opened as what it is", function()
    local tcp <close> = assert(net.listen("127.0.0.1", 0))
    local one, other = assert(net.pair { descriptors = true })
    assert.is_true(one:send_fd(tcp:fd(), "x"))
    local listener = assert(net.open(assert(other:receive_fd(SOON))))
    assert.are.same({ tcp:address() }, { listener:address() })
    tcp:close()
    local client = assert(net.connect(listener:address()))
    assert.is_true(one:send_fd(client:fd(), "x"))
    client:close()
    client = assert(net.open(assert(other:receive_fd(SOON))))
    local server = assert(listener:accept(SOON))
    client:write("x")
    assert.are.equal("x", server:read(1, SOON))
    finish(client, server, listener, one, other)
  end)

  it("that is no stream's is not opened", function()
    local read_end, write_end = unix.pipe()
    check_failure("not a socket", "ENOTSOCK", net.open(read_end))
    unix.close(read_end)
    unix.close(write_end)
    check_failure("bad file descriptor", "EBADF", net.open(read_end))
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    check_failure("already in use by another thread", "EBUSY", net.open(listener:fd()))
  end)
end)

describe("misuse of Unix sockets", function()
  local function check_raises(pattern, fn, ...)
    local ok, problem = pcall(fn, ...)
    assert.is_false(ok)
    assert.is_truthy(tostring(problem):find(pattern), tostring(problem))
  end

  it("is raised", function()
    check_raises("string expected", net.listen_unix)
    check_raises("string expected", net.connect_unix, {})
    check_raises("unknown option 'nodelay'", net.connect_unix, "@", { nodelay = true })
    check_raises("unknown option 'unlink'", net.connect_unix, "@", { unlink = true })
    check_raises("bad option 'unlink'", net.listen_unix, "@", { unlink = 1 })
    for _, mode in ipairs { 100000, "rw", "999", true } do
      check_raises("bad option 'mode' %(permissions expected", net.listen_unix, "@", { mode = mode })
    end
    check_raises("bad option 'descriptors'", net.pair, { descriptors = "yes" })
    check_raises("number expected", net.open, {})
    check_raises("descriptor expected", net.open, -1)
    local one, other = assert(net.pair { descriptors = true })
    check_raises("descriptor expected", one.send_fd, one, -1, "x")
    check_raises("at least one byte", one.send_fd, one, 1, "")
    check_raises("string expected", one.send_fd, one, 1)
    finish(one, other)
  end)
end)

describe("net.inherited", function()
  local SCRIPT <const> = [[
    local net = require "fern.net"
    local listeners, names = assert(net.inherited())
    print(#listeners, listeners[1], names[1], listeners[2], names[2])
    print(os.getenv "LISTEN_FDS", #net.inherited())
    local _, port = listeners[1]:address()
    local client = assert(net.connect("127.0.0.1", port))
    local server <close> = assert(listeners[1]:accept(30))
    client:write("it works\n")
    print(server:read("l"))
  ]]

  -- In a process of its own, that puts the sockets to 3 and 4 and becomes SCRIPT: with the
  -- same number, so nothing may stand between the two.
  local function run()
    local file <close> = assert(io.open(path, "w"))
    file:write(SCRIPT)
    file:flush()
    local command = script.command(path):gsub("^exec timeout %d+ ", "exec ")
    return script.run_text("", ([[
      local net = require "fern.net"
      local unix = require "spec.support.unix"
      local listener = assert(net.listen("127.0.0.1", 0))
      local one = net.pair()
      unix.dup2(listener:fd(), 100) unix.dup2(one:fd(), 101)
      unix.dup2(100, 3) unix.dup2(101, 4)
      unix.exec("export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:other; " .. %q)
    ]]):format(command))
  end

  it("gives what the process was started with, once", function()
    local output, code = run()
    assert.are.equal(0, code, output)
    assert.is_truthy(output:find("^2\tfern.net.listener %(127.0.0.1:%d+%)\tweb\t4\tother\n"), output)
    assert.is_truthy(output:find("nil\t0\nit works\n", 1, true), output)
  end)

  it("is empty without any", function()
    assert.are.same({ {}, {} }, { net.inherited() })
  end)
end)

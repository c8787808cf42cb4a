-- SPDX-License-Identifier: MIT
-- fern.fs: what each call returns in every way it can end.

local fern = require "fern"
local fs = require "fern.fs"
local script = require "spec.support.script"

local SOON <const> = 30     -- seconds: longer than anything here takes

local dir                   -- a directory for each spec

before_each(function() dir = assert(fs.temp_dir()) end)
after_each(function() assert(fs.remove_tree(dir)) end)

local function at(name) return dir .. "/" .. name end

local function check_failure(message, code, ...)
  assert.are.same({ nil, message, code, n = 3 }, table.pack(...))
end

-- As check_failure, of a path.
local function check_path(path, message, code, ...)
  check_failure(path .. ": " .. message, code, ...)
end

local function names(path)
  local list = {}
  for name in assert(fs.list(path)) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function settle()
  for _ = 1, 10 do fern.sleep(0.001) end
end

describe("a path", function()
  it("that is missing is told with the failure", function()
    check_path(at "x", "no such file or directory", "ENOENT", fs.stat(at "x"))
    check_path(at "x", "no such file or directory", "ENOENT", fs.open(at "x"))
    check_path(at "x", "no such file or directory", "ENOENT", fs.read_file(at "x"))
    check_path(at "x", "no such file or directory", "ENOENT", fs.list(at "x"))
    check_path(at "x", "no such file or directory", "ENOENT", fs.walk(at "x"))
    check_path(at "x", "no such file or directory", "ENOENT", fs.watch(at "x"))
    check_path(at "x", "no such file or directory", "ENOENT", fs.remove(at "x"))
    check_path(at "x/y", "no such file or directory", "ENOENT", fs.mkdir(at "x/y"))
    check_path(at "x/y", "no such file or directory", "ENOENT", fs.write_file(at "x/y", "data"))
    check_path(at "x/y", "no such file or directory", "ENOENT", fs.write_file(at "x/y", "data", { atomic = true }))
    check_path(at "x" .. " to " .. at "y", "no such file or directory", "ENOENT", fs.rename(at "x", at "y"))
    check_path(at "x", "no such file or directory", "ENOENT", fs.copy(at "x", at "y"))
  end)

  it("with a zero in it is not cut there", function()
    assert(fs.write_file(at "x", "stays"))
    local _, _, code = fs.remove(at "x\0y")
    assert.are.equal("EINVAL", code)
    for _, call in ipairs { fs.stat, fs.open, fs.list, fs.watch, fs.read_file, fs.mkdir, fs.realpath } do
      _, _, code = call(at "x\0y")
      assert.are.equal("EINVAL", code)
    end
    _, _, code = fs.rename(at "x", at "z\0")
    assert.are.equal("EINVAL", code)
    assert.are.equal("stays", fs.read_file(at "x"))
  end)

  it("that is too long, or goes round in circles, fails", function()
    local _, _, code = fs.stat(at(("x"):rep(300)))
    assert.are.equal("ENAMETOOLONG", code)
    _, _, code = fs.open(("/x"):rep(5000))
    assert.are.equal("ENAMETOOLONG", code)
    assert(fs.symlink("loop", at "loop"))
    _, _, code = fs.stat(at "loop")
    assert.are.equal("ELOOP", code)
    assert.are.equal("loop", fs.readlink(at "loop"))
    assert.are.equal("link", fs.lstat(at "loop").type)
  end)

  it("must be a text, and options must be known", function()
    assert.has_error(function() fs.stat {} end)
    assert.has_error(function() fs.open(at "x", "rw") end)
    assert.has_error(function() fs.open(at "x", "") end)
    assert.has_error(function() fs.open(at "x", "w", { speed = 1 }) end)
    assert.has_error(function() fs.open(at "x", "w", { mode = "999" }) end)
    assert.has_error(function() fs.mkdir(at "x", { parents = 1 }) end)
    assert.has_error(function() fs.write_file(at "x") end)
    assert.has_error(function() fs.write_file(at "x", "", { atomic = true, append = true }) end)
    assert.has_error(function() fs.read_file(at "x", { max = -1 }) end)
    assert.has_error(function() fs.read_file(at "x", { timeout = 0 / 0 }) end)
    assert.has_error(function() fs.truncate(at "x", -1) end)
    assert.has_error(function() fs.chmod(at "x") end)
    assert.has_error(function() fs.chmod(at "x", "rw-r--r--") end)
    assert.has_error(function() fs.walk(at "x", 1) end)
    assert.has_error(function() fs.temp_file { dir = 1 } end)
    assert.has_error(function() fs.temp_dir { name = "x" } end)
  end)
end)

describe("a file", function()
  it("tells what it is", function()
    local before = os.time()
    assert(fs.write_file(at "x", "12345", { mode = "640" }))
    local stat = assert(fs.stat(at "x"))
    assert.are.equal("file", stat.type)
    assert.are.equal(5, stat.size)
    assert.are.equal(tonumber("640", 8), stat.mode)
    assert.is_true(math.abs(stat.modified - before) < 100)
    assert(fs.chmod(at "x", "600"))
    assert.are.equal(tonumber("600", 8), fs.stat(at "x").mode)
    assert(fs.link(at "x", at "y"))
    assert.are.equal(2, fs.stat(at "y").links)
    assert.are.equal(fs.stat(at "x").inode, fs.stat(at "y").inode)
    assert(fs.truncate(at "y", 2))
    assert.are.equal("12", fs.read_file(at "x"))
    assert.are.equal("directory", fs.stat(dir).type)
    assert.are.equal("character", fs.stat("/dev/null").type)
  end)

  it("is read as lines and in pieces, like any stream", function()
    assert(fs.write_file(at "x", "one\ntwo\n12 0x10 three"))
    local file = assert(fs.open(at "x"))
    assert.are.equal("one", file:read())
    assert.are.equal("two\n", file:read("L"))
    assert.are.equal(12, file:read("n"))
    assert.are.equal(16, file:read("n"))
    assert.are.equal(" thr", file:read(4))
    assert.are.equal("ee", file:read("a"))
    check_failure("closed", "EPIPE", file:read("l"))
    assert.are.equal(0, file:seek("set"))
    assert.are.equal("one", file:read_until("\n"))
    local rest = {}
    for line in file:lines() do rest[#rest + 1] = line end
    assert.are.same({ "two", "12 0x10 three" }, rest)
    assert.is_true(file:close())
    assert.is_true(file:close())
    check_failure("bad file descriptor", "EBADF", file:read())
    check_failure("bad file descriptor", "EBADF", file:seek())
    check_failure("bad file descriptor", "EBADF", file:stat())
    assert.matches("closed", tostring(file))
  end)

  it("has the modes of io.open", function()
    check_path(at "x", "no such file or directory", "ENOENT", fs.open(at "x", "r+"))
    local file = assert(fs.open(at "x", "w"))
    assert(file:write("abc", 1, 2.5))
    assert(file:close())
    check_path(at "x", "file exists", "EEXIST", fs.open(at "x", "wx"))
    file = assert(fs.open(at "x", "a"))
    assert(file:write("!"))
    assert(file:close())
    assert.are.equal("abc12.5!", fs.read_file(at "x"))
    file = assert(fs.open(at "x", "r+b"))
    assert.are.equal("abc", file:read(3))
    assert(file:write("DEF"))
    assert.are.equal(6, file:seek())
    assert.are.equal("5!", file:read("a"))
    assert.are.equal(8, file:seek("end"))
    assert(file:truncate(4))
    assert.are.equal(4, file:stat().size)
    assert(file:sync())
    assert(file:close())
    assert.are.equal("abcD", fs.read_file(at "x"))
    local _, _, code = assert(fs.open(at "x", "w")):read()
    assert.are.equal("EBADF", code)
  end)

  it("of some megabytes arrives whole, whatever the disk has in memory", function()
    local line = ("x"):rep(99) .. "\n"
    local data = line:rep(30000)
    for _, name in ipairs { at "big", "/dev/shm/fern-spec-" .. dir:match("[^/]+$") } do
      assert(fs.write_file(name, data))
      local file, count = assert(fs.open(name)), 0
      for one in file:lines("L") do count = count + (one == line and 1 or 0) end
      assert.are.equal(30000, count)
      file:seek("set", 150)
      assert.are.equal(#data - 150, #file:read("a"))
      file:close()
      assert(fs.remove(name))
    end
  end)

  it("that shrinks while it is read ends early", function()
    assert(fs.write_file(at "x", ("x"):rep(300000)))
    local file = assert(fs.open(at "x"))
    assert.are.equal(10, #file:read(10))
    assert(fs.truncate(at "x", 5))
    assert.is_true(#file:read("a") < 300000)
    check_failure("closed", "EPIPE", file:read(1))
    assert(file:close())
  end)

  it("on a full disk says so, with how much was written", function()
    local file = assert(fs.open("/dev/full", "w"))
    assert.are.same({ nil, "no space left on device", "ENOSPC", 0, n = 4 }, table.pack(file:write("x")))
    file:close()
    check_path("/dev/full", "no space left on device", "ENOSPC", fs.write_file("/dev/full", "x"))
    check_path("/dev/full", "no space left on device", "ENOSPC", fs.write_file("/dev/full", "x", { append = true }))
  end)

  it("that is a directory is none", function()
    check_path(dir, "is a directory", "EISDIR", fs.open(dir))
    check_path(dir, "is a directory", "EISDIR", fs.open(dir, "w"))
    check_path(dir, "is a directory", "EISDIR", fs.read_file(dir))
    check_path(dir, "is a directory", "EISDIR", fs.write_file(dir, "x"))
    local _, _, code = fs.write_file(dir, "x", { atomic = true })
    assert.are.equal("EISDIR", code)
    check_path(dir, "is a directory", "EISDIR", fs.remove(dir))
    assert(fs.write_file(at "x", ""))
    check_path(at "x/y", "not a directory", "ENOTDIR", fs.open(at "x/y"))
    check_path(at "x", "not a directory", "ENOTDIR", fs.rmdir(at "x"))
    check_path(at "x", "not a directory", "ENOTDIR", fs.list(at "x"))
  end)

  it("that is immutable or not ours is refused", function()
    local _, _, code = fs.write_file("/proc/version", "x")
    assert.is_true(code == "EACCES" or code == "EIO" or code == "EPERM", code)
    _, _, code = fs.remove("/proc/version")
    assert.is_true(code == "EPERM" or code == "EACCES", code)
    _, _, code = fs.mkdir("/proc/x")
    assert.is_true(code == "ENOENT" or code == "EACCES" or code == "EPERM", code)
  end)

  it("is closed under its reader, and all ends well", function()
    os.execute("mkfifo " .. at "fifo")
    local file = assert(fs.open(at "fifo"))
    local reader = fern.spawn(file.read, file, "l")
    settle()
    check_failure("already in use by another thread", "EBUSY", file:read("l"))
    file:close()
    check_failure("bad file descriptor", "EBADF", reader:wait())
  end)

  it("is let go of by a thread that is killed or out of time", function()
    os.execute("mkfifo " .. at "fifo")
    local file <close> = assert(fs.open(at "fifo"))
    check_failure("timeout", "ETIMEDOUT", file:read("l", 0.001))
    check_failure("timeout", "ETIMEDOUT", fern.timeout(0.001, file.read, file, "l"))
    local reader = fern.spawn(file.read, file, "l")
    settle()
    reader:kill("enough")
    assert.is_false(reader:join())
    local writer = assert(fs.open(at "fifo", "w", { timeout = SOON }))
    assert(writer:write("hello\n"))
    writer:close()
    assert.are.equal("hello", file:read("l"))
    check_failure("closed", "EPIPE", file:read("l"))
    check_failure("illegal seek", "ESPIPE", file:seek())
  end)

  it("does nothing when its time is over before it began", function()
    assert(fs.write_file(at "x", "stays"))
    check_failure("timeout", "ETIMEDOUT", fs.remove(at "x", 0))
    check_failure("timeout", "ETIMEDOUT", fs.write_file(at "x", "new", { timeout = 0 }))
    check_failure("timeout", "ETIMEDOUT", fs.open(at "x", "w", { timeout = 0 }))
    check_failure("timeout", "ETIMEDOUT", fern.timeout(0, fs.remove, at "x"))
    local thread = fern.spawn(function()
      fern.current():kill()
      fs.remove(at "x")
    end)
    assert.is_false(thread:join())
    assert.are.equal("stays", fs.read_file(at "x"))
  end)

  it("lets others run, and is fair to them, in a loop over what is in memory", function()
    assert(fs.write_file(at "x", ("line\n"):rep(20000)))
    local turns, stop = 0, false
    fern.spawn(function()
      while not stop do
        turns = turns + 1
        fern.sleep(0)
      end
    end)
    for _ = 1, 20 do
      local file <close> = assert(fs.open(at "x"))
      for _ in file:lines() do end        -- luacheck: ignore 542
    end
    stop = true
    assert.is_true(turns >= 20)
  end)
end)

describe("a whole file", function()
  it("is written and read at once, whatever is in it", function()
    local data = ("\0\n\r\255"):rep(1000)
    assert.is_true(fs.write_file(at "x", data))
    assert.are.equal(data, fs.read_file(at "x"))
    assert.is_true(fs.write_file(at "x", "", { sync = true }))
    assert.are.equal("", fs.read_file(at "x"))
    assert.is_true(fs.write_file(at "x", "a", { append = true }))
    assert.is_true(fs.write_file(at "x", "b", { append = true }))
    assert.are.equal("ab", fs.read_file(at "x", { max = 2 }))
    check_path(at "x", "message too long", "EMSGSIZE", fs.read_file(at "x", { max = 1 }))
  end)

  it("that is replaced is never half there", function()
    local old, new = ("o"):rep(100000), ("n"):rep(100000)
    assert(fs.write_file(at "x", old))
    local done = false
    local writer = fern.spawn(function()
      for i = 1, 20 do assert(fs.write_file(at "x", i % 2 == 0 and old or new, { atomic = true })) end
      done = true
    end)
    while not done do
      local data = assert(fs.read_file(at "x"))
      assert.is_true(data == old or data == new)
    end
    writer:wait()
    assert.are.same({ "x" }, names(dir))
  end)

  it("that cannot be replaced leaves nothing behind", function()
    assert(fs.mkdir(at "x"))
    local ok, _, code = fs.write_file(at "x", "data", { atomic = true })
    assert.is_nil(ok)
    assert.are.equal("EISDIR", code)
    assert.are.same({ "x" }, names(dir))
  end)

  it("may have a name that leaves no room for another", function()
    local name, data = ("n"):rep(255), "whole"
    assert.is_true(fs.write_file(at(name), data, { atomic = true }))
    assert.is_true(fs.copy(at(name), at(("c"):rep(250))))
    assert.are.same({ ("c"):rep(250), name }, names(dir))
  end)

  it("does not take the place of a device or a FIFO, and waits for who reads", function()
    os.execute("mkfifo " .. at "fifo")
    assert(fs.write_file(at "x", ("copy"):rep(100000)))
    local long = ("long"):rep(100000)
    for _, how in ipairs { {}, { atomic = true }, { append = true } } do
      local writer = fern.spawn(fs.write_file, at "fifo", long, how)
      fern.sleep(0.001)
      assert.are.equal(long, fs.read_file(at "fifo"))
      assert.is_true(writer:wait())
    end
    local copier = fern.spawn(fs.copy, at "x", at "fifo")
    assert.are.equal(fs.read_file(at "x"), fs.read_file(at "fifo"))
    assert.is_true(copier:wait())
    check_failure("timeout", "ETIMEDOUT", fs.write_file(at "fifo", "x", { timeout = 0.01 }))
    assert.are.same({ "fifo", "x" }, names(dir))
    assert.are.equal("fifo", fs.stat(at "fifo").type)
  end)

  it("that is copied over a link stands where that leads", function()
    assert(fs.write_file(at "x", "new"))
    assert(fs.write_file(at "old", "old"))
    assert(fs.symlink("old", at "link"))
    assert.is_true(fs.copy(at "x", at "link"))
    assert.are.equal("old", fs.readlink(at "link"))
    assert.are.equal("new", fs.read_file(at "old"))
    assert.are.same({ "link", "old", "x" }, names(dir))
  end)

  it("may come from what has no size", function()
    assert.matches("^Name:", fs.read_file("/proc/self/status"))
    os.execute("mkfifo " .. at "fifo")
    local reader = fern.spawn(fs.read_file, at "fifo")
    local writer = assert(fs.open(at "fifo", "w", { timeout = SOON }))
    writer:write("through a pipe")
    writer:close()
    assert.are.equal("through a pipe", reader:wait())
  end)

  it("is copied with its permissions", function()
    assert(fs.write_file(at "x", ("copy"):rep(100000), { mode = "711" }))
    assert.is_true(fs.copy(at "x", at "y"))
    assert.are.equal(fs.read_file(at "x"), fs.read_file(at "y"))
    assert.are.equal(tonumber("711", 8), fs.stat(at "y").mode)
    assert(fs.mkdir(at "z"))
    check_path(at "z", "is a directory", "EISDIR", fs.copy(at "x", at "z"))
    check_path(at "z", "is a directory", "EISDIR", fs.copy(at "z", at "a"))
    assert.are.same({ "x", "y", "z" }, names(dir))
  end)
end)

describe("a directory", function()
  it("lists what is in it, with what each is", function()
    assert(fs.mkdir(at "sub"))
    assert(fs.write_file(at "file", ""))
    assert(fs.symlink("file", at "link"))
    local found = {}
    for name, kind in assert(fs.list(dir)) do found[name] = kind end
    assert.are.same({ sub = "directory", file = "file", link = "link" }, found)
  end)

  it("is closed when the loop is left", function()
    for i = 1, 5 do assert(fs.write_file(at(i), "")) end
    local list = assert(fs.list(dir))
    for _ in list, nil, nil, list do break end  -- luacheck: ignore 512
    assert.matches("closed", tostring(list))
    assert.is_nil(list())
    assert.is_true(list:close())
  end)

  it("is made with its parents, and goes with all that is in it", function()
    assert.is_true(fs.mkdir(at "a/b/c", { parents = true, mode = "700" }))
    assert.is_true(fs.mkdir(at "a/b/c", { parents = true }))
    assert.are.equal(tonumber("700", 8), fs.stat(at "a/b/c").mode)
    check_path(at "a/b", "file exists", "EEXIST", fs.mkdir(at "a/b"))
    check_path(at "a", "directory not empty", "ENOTEMPTY", fs.rmdir(at "a"))
    assert(fs.write_file(at "a/b/x", ""))
    assert.is_true(fs.remove_tree(at "a"))
    assert.is_true(fs.remove_tree(at "a"))
    assert.are.same({}, names(dir))
  end)

  it("is walked, parents first, links not followed", function()
    assert(fs.mkdir(at "a/b", { parents = true }))
    assert(fs.write_file(at "a/b/x", ""))
    assert(fs.symlink(dir, at "a/up"))
    local seen, place = {}, {}
    for path, kind in assert(fs.walk(dir .. "/")) do
      seen[#seen + 1] = path:sub(#dir + 2) .. " " .. kind
      place[path:sub(#dir + 2)] = #seen
    end
    table.sort(seen)
    assert.are.same({ "a directory", "a/b directory", "a/b/x file", "a/up link" }, seen)
    assert.is_true(place["a"] < place["a/b"] and place["a/b"] < place["a/b/x"])
    for _ in assert(fs.walk(dir)) do break end  -- luacheck: ignore 512
  end)

  it("that goes away during a walk is told", function()
    assert(fs.mkdir(at "a"))
    local told
    for path in assert(fs.walk(dir, function(...) told = { ... } end)) do assert(fs.rmdir(path)) end
    assert.are.same({ at "a", at "a" .. ": no such file or directory", "ENOENT" }, told)
    assert(fs.mkdir(at "a"))
    assert.has_error(function()
      for path in assert(fs.walk(dir)) do assert(fs.rmdir(path)) end
    end, at "a" .. ": no such file or directory")
  end)

  it("or file of a new name is this user's", function()
    local file, path = assert(fs.temp_file { dir = dir, prefix = "t-" })
    assert.are.equal("t-", path:match("([^/]+)$"):sub(1, 2))
    assert.are.equal(tonumber("600", 8), fs.stat(path).mode)
    assert(file:write("x"))
    assert.are.equal(0, file:seek("set"))
    assert.are.equal("x", file:read("a"))
    assert(file:close())
    path = assert(fs.temp_dir { dir = dir })
    assert.are.equal(tonumber("700", 8), fs.stat(path).mode)
    local _, _, code = fs.temp_file { dir = at "missing" }
    assert.are.equal("ENOENT", code)
  end)

  it("tells the real path", function()
    assert(fs.symlink(".", at "here"))
    assert.are.equal(fs.realpath(dir), fs.realpath(at "here/../" .. dir:match("[^/]+$")))
  end)
end)

describe("a watch", function()
  -- Events until one of `last`, as "event name".
  local function events(watch, last)
    local list = {}
    repeat
      local event = assert(watch:get(SOON))
      list[#list + 1] = event.event .. " " .. tostring(event.name)
    until event.event == last
    return list
  end

  it("tells what happens in a directory", function()
    local watch <close> = assert(fs.watch(dir))
    check_failure("timeout", "ETIMEDOUT", watch:get(0))
    assert(fs.write_file(at "x", "data"))
    assert(fs.rename(at "x", at "y"))
    local from, to
    assert.are.same({ "created x", "changed x", "written x" }, events(watch, "written"))
    from, to = watch:get(SOON), watch:get(SOON)
    assert.are.same({ "moved_from", "x", "moved_to", "y" }, { from.event, from.name, to.event, to.name })
    assert.are.equal(from.cookie, to.cookie)
    assert(fs.remove(at "y"))
    assert.are.same({ "removed y" }, events(watch, "removed"))
    assert(fs.mkdir(at "z"))
    assert.is_true(watch:get(SOON).directory)
  end)

  it("ends with what it watches", function()
    assert(fs.mkdir(at "z"))
    local watch, list = assert(fs.watch(at "z")), {}
    assert(fs.rmdir(at "z"))
    for event in watch:iter() do list[#list + 1] = event.event end
    assert.are.same({ "gone" }, list)
    check_failure("closed", "EPIPE", watch:get())
    watch:close()
  end)

  it("is closed under who waits, which ends the loop", function()
    local watch = assert(fs.watch(dir))
    local looper = fern.spawn(function()
      for _ in watch:iter() do end        -- luacheck: ignore 542
      return "ended"
    end)
    settle()
    check_failure("already in use by another thread", "EBUSY", watch:get())
    assert.is_true(watch:close())
    assert.are.equal("ended", looper:wait())
    assert.is_true(watch:close())
    check_failure("closed", "EPIPE", watch:get())
    assert.matches("closed", tostring(watch))
  end)

  it("loses nothing when a thread is killed or out of time in it", function()
    local watch <close> = assert(fs.watch(dir))
    local waiter = fern.spawn(watch.get, watch)
    settle()
    waiter:kill()
    check_failure("timeout", "ETIMEDOUT", watch:get(0.001))
    assert(fs.write_file(at "x", ""))
    assert.are.equal("created", watch:get(SOON).event)
  end)
end)

describe("the standard streams", function()
  local echo = [[
    local fern = require "fern"
    local ticks = 0
    local ticker = fern.spawn(function() while true do ticks = ticks + 1; fern.sleep(0.001) end end)
    local input, output = assert(fern.fs.stdin()), assert(fern.fs.stdout())
    assert(input == fern.fs.stdin())
    for line in input:lines() do output:write("<", line, ">\n") end
    output:write(ticks > 0 and "others ran\n" or "others did not run\n")
    ticker:kill()
  ]]

  it("wait on the hub, be it a pipe", function()
    local output = script.run_text("(echo one; sleep 0.1; echo two) | ", echo)
    assert.are.equal("<one>\n<two>\nothers ran\n", output)
  end)

  it("are files, if they are", function()
    assert(fs.write_file(at "in", "one\ntwo\n"))
    local before = ("exec <%s >%s; echo first; "):format(at "in", at "out")
    script.run_text(before, echo)
    assert.are.equal("first\n<one>\n<two>\nothers ran\n", fs.read_file(at "out"))
  end)

  it("leave the flags of what others share", function()
    local text = [[
      local fern = require "fern"
      local reader = fern.spawn(function() return fern.fs.stdin():read("l") end)
      fern.sleep(0.05)
      io.write(io.open("/proc/self/fdinfo/0"):read("a"):match("flags:%s*(%d+)"), " ")
      io.write(tostring(io.read("l")), "\n")
      reader:kill()
    ]]
    local output = script.run_text("(sleep 0.2; echo hello) | ", text)
    local flags = tonumber(output:match("^%d+"), 8)
    assert.are.equal(0, flags & tonumber("4000", 8))
    -- Either of the two readers may have got the line; neither blocks for ever.
    assert.matches("^%d+ %a+\n$", output)
  end)
end)

describe("standard input", function()
  it("is at its end, and nobody else's, if the process was started without", function()
    local output = script.run_text("exec <&-; ", [[
      local fern = require "fern"
      local listener <close> = assert(fern.net.listen("127.0.0.1", 0))
      print(listener:fd() > 2, fern.fs.stdin():read())
    ]])
    assert.are.equal("true\tnil\tclosed\tEPIPE\n", output)
  end)
end)

describe("without descriptors", function()
  it("everything fails, and works again later", function()
    local output, code = script.run_text("ulimit -n 40; ", [[
      local fern = require "fern"
      local fs, files, last = fern.fs, {}, nil
      for i = 1, 100 do
        local file, _, code = fs.open("/dev/null")
        if not file then last = code break end
        files[i] = file
      end
      print(last, select(3, fs.list("/")), select(3, fs.read_file("/etc/passwd")), select(3, fs.watch("/")),
        select(3, fs.temp_file()), select(3, fs.write_file("/tmp/x", "", { atomic = true })))
      for _, file in ipairs(files) do file:close() end
      print(#fs.read_file("/etc/passwd") > 0, fs.open("/dev/null"):close())
    ]])
    assert.are.equal("EMFILE\tEMFILE\tEMFILE\tEMFILE\tEMFILE\tEMFILE\ntrue\ttrue\n", output)
    assert.are.equal(0, code)
  end)
end)

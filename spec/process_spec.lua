-- SPDX-License-Identifier: MIT
-- process: programs beside this one, and what they do to be a nuisance.

local fern = require "fern"
local process = require "fern.process"
local unix = require "spec.support.unix"
local script = require "spec.support.script"

local function sh(command, options)
  local all = { "/bin/sh", "-c", command }
  for name, value in pairs(options or {}) do all[name] = value end
  return assert(process.spawn(all))
end

-- All our children have been reaped, or will be any moment.
local function no_children()
  local limit = fern.now() + 10
  while unix.children() and fern.now() < limit do fern.sleep(0.005) end
  return not unix.children()
end

describe("a process", function()
  it("tells its exit code, to any number of waiters, any number of times", function()
    local p = sh "exit 7"
    local other = fern.spawn(p.wait, p)
    assert.are.equal(7, p:wait())
    assert.are.equal(7, other:wait())
    assert.are.equal(7, p:wait(0))
    assert.are.same({ "exited", 7 }, { p:status() })
    p:close()
  end)

  it("tells the signal that has killed it", function()
    local p <close> = sh "kill -TERM $$"
    assert.are.same({ nil, "killed by SIGTERM", "SIGTERM" }, { p:wait() })
    assert.are.same({ "killed", "SIGTERM" }, { p:status() })
  end)

  it("is waited for no longer than that, and others run meanwhile", function()
    local p <close> = sh "read word; exit 4"
    local p2 <close> = sh("read word; exit 4", { stdin = "pipe" })
    local ran = fern.spawn(function() return "ran" end)
    assert.are.same({ nil, "timeout", "ETIMEDOUT" }, { p2:wait(0.01) })
    assert.are.equal("ran", ran:wait(0))
    assert.are.equal("running", p2:status())
    p2.stdin:write("go\n")
    assert.are.equal(4, p2:wait())
    assert.is_truthy(p)
  end)

  it("may be waited for among other things", function()
    local slow <close> = sh "exec sleep 60"
    local fast <close> = sh "exit 0"
    local done, pending = fern.wait({ slow, fast }, { count = 1 })
    assert.are.same({ fast }, done)
    assert.are.same({ slow }, pending)
  end)

  it("that cannot be run is told of by spawn itself", function()
    -- It makes a fork of posix_spawn, which cannot tell.
    if os.getenv "FLAVOUR" == "valgrind" then return end
    local before = unix.descriptors()
    assert.are.same({ nil, "/no/such/program: no such file or directory", "ENOENT" },
      { process.spawn { "/no/such/program", stdin = "pipe", stdout = "pipe" } })
    assert.are.same({ nil, "/: permission denied", "EACCES" }, { process.spawn { "/" } })
    assert.are.same({ nil, "/no/such/place: no such file or directory", "ENOENT" },
      { process.spawn { "/bin/sh", cwd = "/no/such/place" } })
    assert.are.same({ nil, "/no/such/place: no such file or directory", "ENOENT" },
      { process.spawn { "sh", cwd = "/no/such/place" } })
    assert.are.same({ nil, "no-such-program: no such file or directory", "ENOENT" },
      { process.spawn { "no-such-program", cwd = "/" } })
    local name = os.tmpname()
    assert.are.same({ nil, name .. ": permission denied", "EACCES" }, { process.spawn { name } })
    assert.are.same({ nil, name .. ": not a directory", "ENOTDIR" }, { process.spawn { "ls", cwd = name } })
    assert(fern.fs.chmod(name, "755"))
    assert.are.same({ nil, name .. ": no program that the system can run", "ENOEXEC" },
      { process.spawn { name } })
    os.remove(name)
    assert.are.equal(before, unix.descriptors())
    assert.is_true(no_children())
  end)

  it("has its pipes as streams", function()
    local p <close> = sh("read word; echo got $word; echo oh >&2",
      { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
    p.stdin:write("it\n")
    assert.are.equal("got it", p.stdout:read "l")
    assert.are.equal("oh\n", p.stderr:read "a")
    assert.are.same({ nil, "closed", "EPIPE" }, { p.stdout:read "l" })
    assert.is_nil(p.nothing)
    assert.are.equal("number", math.type(p.pid) and "number")
  end)

  it("reads from one and writes to another, and to files", function()
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write("first\n")
    local one <close> = sh("echo one; echo two", { stdout = "pipe" })
    local two <close> = sh("sort -r", { stdin = one.stdout, stdout = file })
    assert.are.equal(0, two:wait())
    local again <close> = assert(io.open(name))
    assert.are.equal("first\ntwo\none\n", again:read "a")
    os.remove(name)
  end)

  it("gets other descriptors by number, and none that was not asked for", function()
    local r, w = unix.pipe()            -- they do not close on exec
    local p <close> = sh("echo hi >&5; for fd in 3 4 6 7 8 9; do { true <&$fd; } 2>/dev/null && exit 1; done; exit 0",
      { fds = { [5] = w } })
    assert.are.equal(0, p:wait())
    unix.close(w)
    assert.are.equal("hi\n", unix.read(r))
    unix.close(r)
  end)

  it("has the environment and the place that it is given", function()
    assert.are.equal("fern /\n", process.shell('echo "$WORD $(pwd)"', { env = { WORD = "fern" }, cwd = "/" }).stdout)
    local env = process.environ()
    env.WORD = "x=y"
    assert.are.equal(env.PATH .. " x=y\n", process.shell('echo "$PATH $WORD"', { env = env }).stdout)
  end)

  it("is told of signals by name and number, and what there is no such thing", function()
    local p <close> = sh "exec sleep 60"
    assert.is_true(p:kill("USR1"))
    assert.are.same({ nil, "killed by SIGUSR1", "SIGUSR1" }, { p:wait() })
    assert.are.same({ nil, "no such process", "ESRCH" }, { p:kill() })
    assert.has_error(function() p:kill("NONE") end)
    local p2 <close> = sh "exec sleep 60"
    for _, number in ipairs { 1000, -9, (1 << 32) + 9, 1 << 32 } do
      assert.has_error(function() p2:kill(number) end)
    end
    assert.is_true(p2:kill(0))
    assert.is_true(p2:kill(9))
    assert.are.same({ nil, "killed by SIGKILL", "SIGKILL" }, { p2:wait() })
  end)

  it("that ignores SIGTERM is killed after a grace", function()
    local p <close> = sh("trap '' TERM; echo ready; while :; do sleep 1; done", { stdout = "pipe" })
    p.stdout:read "l"
    assert.are.same({ nil, "killed by SIGKILL", "SIGKILL" }, { p:terminate(0.02) })
    local polite <close> = sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done", { stdout = "pipe" })
    polite.stdout:read "l"
    assert.are.equal(3, polite:terminate())
  end)

  it("takes its whole group along if it leads one", function()
    local p <close> = sh("sleep 60 & sleep 60 & echo ready; wait", { stdout = "pipe", group = true })
    p.stdout:read "l"
    p:kill()
    assert.are.equal("SIGKILL", select(3, p:wait()))
    assert.are.same({ nil, "closed", "EPIPE" }, { p.stdout:read("l", 10) })
    local s <close> = sh("sleep 60 & echo ready; wait", { stdout = "pipe", session = true })
    s.stdout:read "l"
    s:kill("TERM")
    assert.are.same({ nil, "closed", "EPIPE" }, { s.stdout:read("l", 10) })
  end)

  it("is killed and reaped when its block is left, by an error or a kill too", function()
    local pid
    local thread = fern.spawn(function()
      local p <close> = sh "exec sleep 60"
      pid = p.pid
      fern.sleep(1e9)
    end)
    fern.sleep(0)
    thread:kill()
    thread:join()
    assert.is_nil((unix.kill(pid, 0)))
    assert.is_false(unix.children())
  end)

  it("that nobody has any more goes on, and is no zombie in the end", function()
    local r, w = unix.pipe()
    do sh("sleep 0.02; echo done >&3", { fds = { [3] = w } }):close() end
    sh "exit 1"                         -- collected
    collectgarbage()
    collectgarbage()
    unix.close(w)
    fern.trampoline(r, "r")
    assert.are.equal("done\n", unix.read(r))
    unix.close(r)
    assert.is_true(no_children())
  end)

  it("gives a closed one's callers an error, and those who wait", function()
    local p = sh "exec sleep 60"
    local waiter = fern.spawn(p.wait, p, 30)
    fern.sleep(0)
    p:kill()
    p:close()
    p:close()
    assert.are.same({ nil, "killed by SIGKILL", "SIGKILL" }, { waiter:wait() })
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { p:wait() })
    assert.are.same({ nil, "bad file descriptor", "EBADF" }, { p:kill() })
    assert.are.equal("closed", p:status())
    assert.are.equal("fern.process (closed)", tostring(p))
  end)

  it("that somebody else has reaped is told as lost", function()
    local p <close> = sh("read x; exit 5", { stdin = "pipe" })
    p.stdin:close()                     -- not before: a spawn may reap it
    unix.wait(p.pid)
    assert.are.same({ nil, "no such child process", "ECHILD" }, { p:wait() })
    assert.are.equal("lost", p:status())
  end)

  it("is not the only child: io.popen and os.execute go on working", function()
    local pipe = io.popen "exit 3"
    local p <close> = sh "exit 4"
    assert.are.equal(4, p:wait())
    fern.sleep(0.01)
    assert.are.same({ nil, "exit", 3 }, { pipe:close() })
    assert.are.same({ nil, "exit", 5 }, { os.execute "exit 5" })
  end)

  it("may be one of many at once", function()
    local processes, sum = {}, 0
    for i = 1, 60 do processes[i] = sh("sleep 0.05; exit " .. i) end
    for p in fern.as_completed(processes) do sum = sum + p:wait() end
    assert.are.equal(60 * 61 // 2, sum)
    assert.is_true(no_children())
  end)

  it("is refused where there are no descriptors, and leaves nothing behind", function()
    local before = unix.descriptors()
    local output = script.run_text("ulimit -n 20; ", [[
      local fern = require "fern"
      local process = require "fern.process"
      local all, message, code = {}
      repeat
        local p
        p, message, code = process.spawn { "/bin/cat", stdin = "pipe", stdout = "pipe" }
        all[#all + 1] = p
      until not p
      print(#all > 0, message, code)
      for _, p in ipairs(all) do p:kill() p:wait() p:close() end
      print(process.run { "/bin/echo", "again" }.stdout)
    ]])
    assert.are.equal("true\t/bin/cat: too many open files\tEMFILE\nagain\n\n", output)
    assert.are.equal(before, unix.descriptors())
  end)

  local misuse = {
    ["no table"] = { "spawn", "ls" }, ["no program"] = { "spawn", {} },
    ["an unknown option"] = { "spawn", { "ls", stdinn = "pipe" } },
    ["an option of run"] = { "spawn", { "ls", input = "" } },
    ["a table for an argument"] = { "spawn", { "ls", {} } },
    ["a zero in an argument"] = { "spawn", { "ls", "a\0b" } },
    ["a zero in the environment"] = { "spawn", { "ls", env = { A = "a\0b" } } },
    ["a zero in the place"] = { "spawn", { "ls", cwd = "/\0b" } },
    ["a zero in a command"] = { "shell", "ls\0" },
    ["a kind of stdio that is none"] = { "spawn", { "ls", stdin = "pipes" } },
    ["stdout to stdout"] = { "spawn", { "ls", stdout = true } },
    ["a name of the environment that is none"] = { "spawn", { "ls", env = { ["A=B"] = "c" } } },
    ["a negative descriptor"] = { "spawn", { "ls", fds = { [3] = -1 } } },
    ["a descriptor that is stdio"] = { "spawn", { "ls", fds = { [2] = 1 } } },
    ["input that is no string"] = { "run", { "ls", input = {} } },
    ["a timeout that is none"] = { "run", { "ls", timeout = 0 / 0 } },
    ["a command that is none"] = { "shell", {} },
  }
  for what, call in pairs(misuse) do
    it("raises for " .. what, function()
      local ok, err = pcall(process[call[1]], call[2])
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find "expected" or tostring(err):find "option" or
        tostring(err):find "zeros" or tostring(err):find "invalid")
      assert.is_true(no_children())
    end)
  end
end)

describe("communicate", function()
  local long = ("x"):rep(1 << 20)

  it("writes and reads more than the pipes hold, at once", function()
    local result = process.shell("tee /dev/stderr", { input = long })
    assert.are.equal(0, result.code)
    assert.is_true(result.ok and result.stdout == long and result.stderr == long)
  end)

  it("heeds its timeout, gives what came, and can be taken up again", function()
    local r, w = unix.pipe()
    local p <close> = sh("echo first; read x; read y; echo $x; read z <&3; cat",
      { stdin = "pipe", stdout = "pipe", fds = { [3] = r } })
    local result, message, code, part = p:communicate("a\nb\n" .. long, 0.02)
    local limit = fern.now() + 30
    while #part.stdout < #"first\na\n" and fern.now() < limit do
      result, message, code, part = p:communicate(nil, 0.02)
    end
    assert.are.same({ nil, "timeout", "ETIMEDOUT", "first\na\n" }, { result, message, code, part.stdout })
    unix.close(w)
    assert.are.equal("first\na\n" .. long, p:communicate().stdout)
    unix.close(r)
  end)

  it("is for one thread at a time, which nobody talks into", function()
    local p <close> = sh("cat", { stdin = "pipe", stdout = "pipe" })
    local first = fern.spawn(p.communicate, p, "one")
    local second = fern.spawn(p.communicate, p, "two")
    assert.are.same({ nil, "already in use by another thread", "EBUSY" }, { second:wait() })
    assert.are.equal("one", first:wait().stdout)
  end)

  it("does not take more than was said", function()
    local result, message, code, part = process.run { "yes", max = 100000 }
    assert.are.same({ nil, "message too long", "EMSGSIZE" }, { result, message, code })
    assert.is_true(#part.stdout > 100000)
    assert.is_true(no_children())
  end)

  it("is no worse for a program that does not read", function()
    assert.are.equal(3, process.shell("exit 3", { input = long }).code)
  end)

  it("tells of a signal as a result, too", function()
    local result = process.shell "echo out; kill -KILL $$"
    assert.are.same({ ok = false, signal = "SIGKILL", stdout = "out\n", stderr = "" }, result)
  end)

  it("ends a program that takes too long", function()
    local _, message, code, part = process.shell("echo out; sleep 60", { timeout = 0.05, group = true })
    assert.are.same({ "timeout", "ETIMEDOUT", "out\n" }, { message, code, part.stdout })
    assert.is_true(no_children())
  end)

  it("leaves nothing of a program when its thread is killed", function()
    local thread = fern.spawn(process.run, { "sleep", "60" })
    fern.sleep(0.01)
    thread:kill()
    thread:join()
    assert.is_true(no_children())
    assert.is_nil((fern.timeout(0.01, process.shell, "exec sleep 60")))
    assert.is_true(no_children())
  end)

  it("runs many at once", function()
    local pool, out = fern.pool(8), {}
    for i, result in pool:imap(function(i) return i, process.shell("sleep 0.02; echo " .. i) end,
      { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }) do
      out[i] = tonumber(result.stdout)
    end
    assert.are.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, out)
  end)
end)

describe("fork", function()
  it("runs a function in a child, whose code is what it returns", function()
    assert.are.equal("here too\n6\n", (script.run_text("", [[
      local fern = require "fern"
      local process = require "fern.process"
      local p <close> = assert(process.fork(function(word)
        fern.sleep(0.001)
        print(fern.spawn(function() return word .. process.shell("printf too").stdout end):wait())
        io.stdout:flush()
        return 6
      end, "here "))
      print(p:wait())
    ]])))
  end)

  it("fails where the function does", function()
    local output = script.run_text("", [[
      local process = require "fern.process"
      print(process.fork(function() error "oops" end):wait())
    ]])
    assert.is_truthy(output:find "a forked child failed: .*oops")
    assert.is_truthy(output:find "\n1\n$")
  end)

  it("ends the child as a script ends: its threads are unwound, and no error is lost", function()
    local output = script.run_text("", [[
      local fern = require "fern"
      local process = require "fern.process"
      local p <close> = process.fork(function()
        fern.spawn(error, "nobody asked")
        fern.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() print "unwound" end })
          fern.sleep(1e9)
        end)
        fern.sleep(0.001)
        return 5
      end)
      print(p:wait())
    ]])
    assert.matches("failed: nobody asked\n", output)
    assert.matches("unwound\n.*\n5\n$", output)
  end)

  it("knows nothing of its parent's processes", function()
    assert.are.equal("ECHILD\n0\nrunning\n", (script.run_text("", [[
      local process = require "fern.process"
      local sleeper <close> = process.spawn { "sleep", "60" }
      local p <close> = assert(process.fork(function()
        print(select(3, sleeper:wait()))
        io.stdout:flush()
        sleeper:kill()
        sleeper:close()
        return 0
      end))
      print(p:wait())
      print(sleeper:status())
    ]])))
  end)
end)

describe("Lua's own results", function()
  local function both(of_lua, of_fern)
    assert.are.same(of_lua, of_fern)
  end

  it("are those of os.execute", function()
    both({ os.execute() }, { process.execute() })
    for _, command in ipairs { "exit 0", "exit 3", "kill -TERM $$", "/no/such/thing 2>/dev/null", "exit 4\0; exit 5" } do
      both({ os.execute(command) }, { process.execute(command) })
    end
    assert.has_error(function() process.execute {} end)
  end)

  local function read_all(popen, ...)
    local file = popen("printf 'one 12 0x1F\\ntwo\\n\\nlast'")
    local results = {}
    for i = 1, 6 do results[i] = table.pack(file:read(...)) end
    results.close = table.pack(file:close())
    return results
  end

  it("are those of io.popen, for every format", function()
    for _, formats in ipairs {
      {}, { "l" }, { "L" }, { "a" }, { 3 }, { 0 }, { 100 }, { "l", "l" }, { "l", 2 },
      { "*l" }, { "a", "a" }, { "L", "a", "l" }, { "*line", "all" }, { "*all" }, { "*number", "*line" },
    } do
      both(read_all(io.popen, table.unpack(formats)), read_all(process.popen, table.unpack(formats)))
    end
  end)

  it("are those of io.popen, for numerals and for what only begins like one", function()
    for _, text in ipairs {
      "12 0x1F -1.5e3 x", "0x 7", "-x", "1e+z", ".", "+.5 5", "0x.8p1 8", "  \n\t", ("7"):rep(201) .. " 1",
      (" "):rep(5000) .. "3", "nan", "1.5.5", "1e5e5", "--1",
    } do
      local function run(popen)
        local file <close> = popen(("printf '%%b' '%s'"):format(text))
        local first, second = table.pack(file:read("n", "n")), table.pack(file:read("n", "n", "l"))
        return { first, second, file:read "a" }
      end
      both(run(io.popen), run(process.popen))
    end
  end)

  it("are those of io.popen, for lines of any length", function()
    local function run(popen)
      local file <close> = popen "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo y"
      return { #file:read(), file:read() }
    end
    both(run(io.popen), run(process.popen))
  end)

  it("are those of io.popen, for formats that are none, at the caller's line", function()
    local function run(popen)
      local file <close> = popen "echo x; echo y"
      return { pcall(function() file:read("l", "x") end) }
    end
    both(run(io.popen), run(process.popen))
  end)

  it("are those of its lines, writes and ends", function()
    local name = os.tmpname()
    local function run(popen)
      local results, file = {}, popen("printf 'a\\nb\\nc'; exit 3")
      for line in file:lines() do results[#results + 1] = line end
      results[#results + 1] = table.pack(file:close())
      file = popen("printf 'a\\nb\\nc'; kill -INT $$")
      for one, two in file:lines(1, "L") do results[#results + 1] = { one, two } end
      results[#results + 1] = table.pack(file:close())
      file = popen("cat > " .. name, "w")
      results[#results + 1] = file:write("a", 1, "b", 1.5) == file
      results[#results + 1] = file:flush()
      results[#results + 1] = table.pack(file:close())
      results[#results + 1] = table.pack(pcall(file.read, file))[1]
      local written <close> = io.open(name)
      results[#results + 1] = written:read "a"
      file = popen("cat > /dev/null", "w")
      results[#results + 1] = table.pack(file:read("l"))
      file:close()
      file = popen("true")
      results[#results + 1] = table.pack(file:write("x"))
      results[#results + 1] = table.pack(file:seek("set"))
      results[#results + 1] = tostring(file):match "^file %("
      file:close()
      results[#results + 1] = tostring(file)
      results[#results + 1] = pcall(popen, "true", "x")
      return results
    end
    both(run(io.popen), run(process.popen))
    os.remove(name)
  end)

  it("let others run meanwhile", function()
    local ran = fern.spawn(function() return fern.now() end)
    local file = process.popen "sleep 0.02; echo out"
    assert.are.equal("out", file:read())
    assert.is_true(ran:wait(0) < fern.now())
    assert.is_true(file:close())
  end)
end)

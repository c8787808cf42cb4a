-- SPDX-License-Identifier: MIT
-- fern.patch: each way in which a library may have come by LuaSocket. Each in a process
-- of its own, for what is patched stays so.

local script = require "spec.support.script"

local function check(expected, text, before)
  local output, code = script.run_text(before or "", text)
  assert.are.equal(0, code, output)
  assert.are.equal(expected, output)
end

-- What patch did, in a line.
local TELL <const> = [[
  local function tell(did)
    local parts = {}
    for name, how in pairs(did) do parts[#parts + 1] = name .. ": " .. how end
    table.sort(parts)
    print(table.concat(parts, ", "))
  end
]]

describe("patch", function()
  it("comes first: what is required afterwards is ours", function()
    check("socket.core: preloaded, socket.serial: preloaded, socket.unix: preloaded, socket: preloaded\n"
      .. "true\ttrue\ttrue\ttrue\n", TELL .. [[
      local fern = require "fern"
      tell(fern.patch { "socket" })
      print(require "socket" == require "fern.socket", require "socket.core" == require "socket",
        require "socket.unix" == require "fern.socket.unix", require "socket.serial" == require "fern.socket.serial")
    ]])
  end)

  it("comes with LUA_INIT, before the script's first line", function()
    check("true\n", [[print(require "socket" == require "fern.socket")]],
      [[export LUA_INIT='require("fern").patch()'; unset LUA_INIT_5_4; ]])
  end)

  it("changes what is loaded, in place, and leaves try, protect and what others added", function()
    check("socket.core: changed, socket.serial: preloaded, socket.unix: changed, socket: changed\n"
      .. "true\ttrue\ttrue\tfalse\ttrue\n"
      .. "true\ttrue\ttrue\ttrue\n"
      .. "nil\tconnection refused\n", TELL .. [[
      local fern = require "fern"
      local socket, unix = require "socket", require "socket.unix"
      local dns, try, protect, connect = socket.dns, socket.try, socket.protect, socket.connect
      local http = require "socket.http"
      local chunked = socket.sourcet["http-chunked"]
      tell(fern.patch { "socket" })
      local ours = require "fern.socket"
      print(require "socket" == socket, socket.tcp == ours.tcp, unix.stream == require("fern.socket.unix").stream,
        socket.connect == connect, dns.toip == ours.dns.toip)
      print(socket.dns == dns, socket.try == try, socket.protect == protect,
        socket.sourcet["http-chunked"] == chunked and chunked ~= nil)
      print(http.request("http://127.0.0.1:1/"))
    ]])
  end)

  it("may be called again, and tells so", function()
    check("socket.core: done before, socket.serial: done before, socket.unix: done before, socket: done before\n"
      .. "socket.core: done before, socket.serial: done before, socket.unix: done before, socket: done before\n",
      TELL .. [[
      local fern = require "fern"
      local socket = require "socket"
      fern.patch { "socket" }
      tell(fern.patch { "socket" })
      require "socket.unix"
      require "socket.serial"
      local tcp = function() end
      socket.tcp = tcp                  -- somebody else's patch over ours
      tell(fern.patch { "socket" })
      assert(socket.tcp == tcp)
    ]])
  end)

  it("lets threads run side by side through a library that was loaded before", function()
    check("3\n", [[
      local fern = require "fern"
      local http = require "socket.http"
      fern.patch()
      local socket = require "socket"
      local server = assert(socket.bind("127.0.0.1", 0))
      local url = "http://127.0.0.1:" .. (select(2, server:getsockname()))
      local waiting, all = 0, fern.event()
      fern.spawn(function()
        for _ = 1, 3 do
          local peer = server:accept()
          fern.spawn(function()
            repeat local line = peer:receive() until line == ""
            waiting = waiting + 1
            if waiting == 3 then all:send() end
            all:wait(30)                -- nobody is answered before all have asked
            peer:send("HTTP/1.0 200 OK\r\n\r\nx")
            peer:close()
          end)
        end
      end)
      local bodies = fern.pool(3):map(http.request, { url, url, url })
      print(#bodies)
    ]])
  end)

  it("makes os.execute and io.popen wait in their threads, when it is asked to", function()
    check("io: changed, os: changed\nio: done before\ntrue\texit\t3\nx\n", TELL .. [[
      local fern = require "fern"
      tell(fern.patch { "os", "io" })
      tell(fern.patch { "io" })
      local order = {}
      local threads = {}
      for i = 1, 5 do
        threads[i] = fern.spawn(os.execute, "sleep 0.2")
      end
      local start = fern.now()
      for i = 1, 5 do threads[i]:wait() end
      print(fern.now() - start < 0.9, select(2, os.execute("exit 3")))
      local pipe <close> = io.popen("echo x")
      print(pipe:read())
    ]])
  end)

  it("reads from standard input while the others run", function()
    local text = [[
      local fern = require "fern"
      fern.patch { "io" }
      local ran = 0
      fern.spawn(function() while true do ran = ran + 1 fern.sleep(0.01) end end)
      print(io.read(), ran > 5)
      print(io.read("n", "l", 2))
      print(io.stdin:read("L") == "cd\n", io.type(io.stdin), io.input() == io.stdin)
      for line in io.lines() do io.write(line, ";") end
      print(io.read(), io.read("a"))
      local name = os.tmpname()
      local file <close> = io.open(name, "w+")
      file:write("from a file\n")
      file:seek("set")
      io.input(file)
      print(io.read(), io.input() == file)
      io.input(io.stdin)
      print(io.read())
      os.remove(name)
    ]]
    local lines = "first\ttrue\n42\t rest\tab\ntrue\tfile\ttrue\nx;y;nil\t\nfrom a file\ttrue\nnil\n"
    check(lines, text, "(sleep 0.2; printf 'first\\n42 rest\\nabcd\\nx\\ny\\n') | ")
  end)

  it("raises a kill, a limit and Ctrl-C where somebody reads from standard input", function()
    local output = script.run_text("sleep 2 | ", [[
      local fern = require "fern"
      local unix = require "spec.support.unix"
      fern.patch { "io" }
      local reader = fern.spawn(io.read)
      fern.sleep(0.01)
      reader:kill()
      local ok, err = reader:join()
      print(ok, fern.is_killed(err))
      print(fern.timeout(0.01, io.read))
      fern.spawn(function() unix.kill(unix.getpid(), 2) end)
      ok, err = pcall(io.read)
      print(ok, err:find "interrupted!" ~= nil)
    ]])
    assert.are.equal("false\ttrue\nnil\ttimeout\tETIMEDOUT\nfalse\ttrue\n", output)
  end)

  it("reads from standard input whatever Lua reads: words for formats, long lines, no numeral", function()
    check("one\t12\nnil\t1\nx\n3000000\nlast\tnil\n", [[
      local fern = require "fern"
      fern.patch { "io" }
      print(io.read("*line", "*number"))
      local results = table.pack(io.read "n")
      print(results[1], results.n)
      for number in io.lines(nil, "n") do print(number) end
      print((io.read():gsub(" ", "")))
      print(#io.read())
      print(io.read("*all", "l"))
    ]], "(printf 'one\\n12 x\\n'; head -c 3000000 /dev/zero | tr '\\0' q; printf '\\nlast') | ")
  end)

  it("lets io's functions take what io.popen gives, and programs io.stdin", function()
    check("file\nab\ncd\nclosed file\nnil\texit\t3\nfrom stdin\n", [[
      local fern = require "fern"
      fern.patch { "io" }
      local pipe = io.popen "printf 'ab\\ncd\\n'; exit 3"
      print(io.type(pipe))
      assert(io.input(pipe) == pipe and io.input() == pipe)
      print(io.read())
      for line in io.lines() do print(line) end
      local results = table.pack(io.close(pipe))
      print(io.type(pipe))
      print(table.unpack(results))
      assert(io.input(io.stdin) == io.stdin)
      local process = require "fern.process"
      io.write(process.run { "cat", stdin = io.stdin }.stdout)
    ]], "echo from stdin | ")
  end)

  it("reads from standard input as Lua does: numerals that are none, and lines of any length", function()
    local before = "printf '12 0x z\\n-x 7 abc\\n'; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo y"
    local text = [[
      if ours then require("fern").patch { "io" } end
      print(io.read("n", "n", "n"))
      print(io.read("*line"))
      print(io.read("n"), io.read(1))
      print(io.stdin:read("n", "*line"))
      print(#io.read(), io.lines()(), io.read("n"), io.read("*all"))
    ]]
    local expected, code = script.run_text(("(%s) | "):format(before), "local ours = false\n" .. text)
    assert.are.equal(0, code, expected)
    check(expected, "local ours = true\n" .. text, ("(%s) | "):format(before))
  end)

  it("raises for what it does not know, at the caller's line", function()
    check("bad argument #1 to 'patch' (there is no 'sockets' to patch)\n"
      .. "bad argument #1 to 'patch' (table of names expected, got string)\n", [[
      local fern = require "fern"
      local function fails(...) print((select(2, pcall(fern.patch, ...)):gsub("^.-:%d+: ", ""))) end
      fails({ "sockets" })
      fails("socket")
    ]])
  end)
end)

-- SPDX-License-Identifier: MIT
-- The lines that `fern -i` reads: at a terminal, where they are edited and threads run
-- meanwhile, and from a pipe, as from a script.
local fern = require "fern"
local script = require "spec.support.script"
local terminal = require "spec.support.terminal"
local unix = require "spec.support.unix"

-- ThreadSanitizer may hold signals back that come while a green thread runs, or lose them.
local heard = os.getenv "FLAVOUR" == "tsan" and pending or it

local EDITS <const> = (package.searchpath("fern.command.line", package.cpath)) ~= nil

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), ("no '%s' in:\n%s"):format(part, text))
end

local function with_folder(fn)
  local folder = assert(fern.fs.temp_dir())
  local _ <close> = setmetatable({}, { __close = function() fern.fs.remove_tree(folder) end })
  fn(folder)
end

-- Returns what comes before it.
local function await_prompt(screen)
  local before = screen:expect("\n> ")
  screen:edits()
  return before
end

-- A session at a terminal; without a history but for the file, if one is given.
local function start(history)
  local environment = ("FERN_HISTORY='%s' TERM=xterm HOME=/nonexistent LC_ALL=C.UTF-8; export FERN_HISTORY TERM HOME LC_ALL; ")
    :format(history or "")
  -- not under `timeout`, which would take the terminal's signals
  local command = script.command("bin/fern", "-i"):gsub("^exec timeout %d+", "exec")
  local screen = terminal.start(environment .. command)
  await_prompt(screen)
  return screen
end

-- Types a line; returns what is shown until the next prompt.
local function enter(screen, line)
  screen:type(line .. "\n")
  screen:expect(line)
  return (await_prompt(screen):gsub("^\n", ""))
end

-- What `lines` from a pipe write.
local function pipe(lines)
  local name = os.tmpname()
  local _ <close> = setmetatable({}, { __close = function() os.remove(name) end })
  local file <close> = assert(io.open(name, "w"))
  file:write(lines)
  file:flush()
  return script.run(("cat %s | "):format(name), "bin/fern", "-i")
end

describe("lines from a pipe", function()
  it("are run one by one, and the values of expressions printed", function()
    local output, code = pipe "1 + 1\nx = 5\nx, nil, x\n"
    assert.is_truthy(output:find("^fern [^\n]+\n> 2\n> > 5\tnil\t5\n> \n$"), output)
    assert.are.equal(0, code)
  end)

  it("may be several for a chunk", function()
    contains((pipe "for i = 1, 2 do\nprint(i)\nend\n"), "> >> >> 1\n2\n> ")
    contains((pipe "x = [[a\n\nb]]\nx\n"), "> >> >> > a\n\nb\n> ")
    contains((pipe "f(\n"), "stdin:1: unexpected symbol near <eof>")
  end)

  it("that fail are told of, and the next one runs", function()
    local output, code = pipe "error 'boom'\nx =\nx = = 1\nprint 'goes on'\n"
    contains(output, "stdin:1: boom\nstack traceback:\n\t[C]: in function 'error'\n\tstdin:1: in main chunk\n\t[C]: in ?\n")
    contains(output, "unexpected symbol near '='")
    assert.is_nil(output:find("command", 1, true), output)
    assert.are.equal(0, code)
    contains((pipe "error {}\nerror()\nprint(1)"), "(error object is a table value)")
  end)

  it("know fern, and _ is the last value", function()
    contains((pipe "fern.spawn(function() return 6 end):wait()\n_ * 7\n_\n"), "> 6\n> 42\n> 42\n> \n")
    contains((pipe "nil\n_\n"), "> nil\n> nil\n")
  end)

  it("may be read by what they run", function()
    contains((pipe "line = io.read()\nnot Lua at all\nline\n"), "not Lua at all\n> ")
  end)

  it("have the prompts that are asked for", function()
    contains((pipe "_PROMPT, _PROMPT2 = 'one ', 'two '\nx = (\n3)\n"), "> one two one \n")
  end)

  it("whose values cannot be printed do no harm", function()
    local output = pipe "setmetatable({}, { __tostring = function() error 'no text' end })\nprint 'goes on'\n"
    contains(output, "error calling 'print' (stdin:1: no text)")
    contains(output, "goes on")
  end)

  heard("are typed at a terminal, too, where nobody edits them: Ctrl-C drops one", function()
    local plain = "package.preload['fern.command.line'] = function() error 'none' end"
    local screen <close> = terminal.start("export FERN_HISTORY=; "
      .. script.command("bin/fern", "-e", plain, "-i"):gsub("^exec timeout %d+", "exec"))
    screen:expect "\n> "
    for _ = 1, 2 do
      screen:type "half"
      screen:expect "half"
      screen:type "\3"
      screen:expect "\n> "
    end
    screen:type "1 + 1\n"
    screen:expect "\n2\n> "
    screen:type "fern.sleep(60)\n"
    fern.sleep(0.05)
    screen:type "\3"
    screen:expect "interrupted!"
    screen:expect "\n> "
    screen:type "\4"
    assert.are.equal(0, (select(2, screen:finish())))
  end)

  it("end with os.exit, or when there are no more, with threads unwound", function()
    assert.are.equal(3, (select(2, pipe "os.exit(3)\n")))
    contains((pipe([[fern.spawn(function() local _ <close> = setmetatable({}, { __close = function() print "unwound" end }) ]]
      .. [[fern.sleep(60) end) fern.sleep(0)]] .. "\n")), "unwound\n")
  end)

  it("come after a script, if that went well", function()
    local command = "echo 'x + 1' | " .. script.command("bin/fern", "-i", "-e", "x = 4") .. " 2>&1"
    local output = io.popen(command):read("a")
    contains(output, "> 5\n")
    output = io.popen(("echo 'print [[never]]' | %s 2>&1"):format(script.command("bin/fern", "-i", "/no/such/file"))):read("a")
    contains(output, "fern: cannot open /no/such/file")
    assert.is_nil(output:find("never", 1, true))
  end)
end)

local at_terminal = EDITS and describe or pending

at_terminal("at a terminal", function()
  it("a line is run, and the end of input ends it", function()
    local screen <close> = start()
    assert.are.equal("2", enter(screen, "1 + 1"))
    screen:type "\4"
    local _, code = screen:finish()
    assert.are.equal(0, code)
  end)

  it("threads run while a line is edited, and what they print goes above it", function()
    local screen <close> = start()
    enter(screen, "go = fern.event()")
    screen:type "function writer() go:wait() print('printed') io.write('written')\n"
    screen:expect ">> "
    enter(screen, "io.stderr:write('errors\\n') end")
    enter(screen, "_ = fern.spawn(writer)")
    enter(screen, "_ = fern.spawn_after(0.2, go.send, go)")
    screen:type "10 + "
    screen:expect "printed\n"
    screen:expect "> 10 + "
    screen:expect "written\n"
    screen:expect "> 10 + "
    screen:expect "errors\n"
    screen:expect "> 10 + "
    screen:type "5\n"
    screen:expect "15\n"
  end)

  it("an error of a thread that nobody asked for is told above it, too", function()
    local screen <close> = start()
    enter(screen, "_ = fern.spawn_after(0.05, error, 'unasked', 0)")
    screen:type "x ="
    screen:expect "failed: unasked"
    screen:expect "> x ="
  end)

  heard("Ctrl-C drops the line, again and again", function()
    local screen <close> = start()
    for _ = 1, 3 do
      screen:type "half a line"
      screen:expect "half a line"
      screen:type "\3"
      await_prompt(screen)
    end
    assert.are.equal("2", enter(screen, "1 + 1"))
    screen:type "x = (\n"
    screen:expect ">> "
    screen:edits()
    screen:type "\3"
    screen:expect "> "
    screen:edits()
    assert.are.equal("3", enter(screen, "1 + 2"))
  end)

  heard("Ctrl-C interrupts what runs, again and again", function()
    local screen <close> = start()
    for _, line in ipairs { "fern.sleep(60)", "repeat until false", "fern.event():wait(60)" } do
      screen:type(line .. "\n")
      screen:expect(line .. "\n")
      fern.sleep(0.05)
      screen:type "\3"
      screen:expect "interrupted!"
      await_prompt(screen)
    end
    assert.are.equal("2", enter(screen, "1 + 1"))
  end)

  heard("Ctrl-C ends a thread that computes for ever", function()
    local screen <close> = start()
    screen:type "_ = fern.spawn(function() while true do end end):name 'endless'\n"
    await_prompt(screen)
    screen:type "\3"
    await_prompt(screen)
    screen:type "7 * 7\n"
    screen:expect "49\n"
    screen:expect "interrupted!"
  end)

  heard("twice at once ends it", function()
    local screen <close> = start()
    screen:type "while true do pcall(function() while true do end end) end\n"
    screen:expect "end\n"
    fern.sleep(0.05)
    screen:type "\3"
    fern.sleep(0.1)
    screen:type "\3"
    local _, code = screen:finish()
    assert.is_true(code == -2 or code == 130, tostring(code))
  end)

  it("Tab completes globals, fields and methods, and shows a choice", function()
    local screen <close> = start()
    screen:type "coro\t.wr\t\n"
    screen:expect "function: "
    await_prompt(screen)
    screen:type "string.re\t"
    contains(screen:expect "> string.re", "rep      reverse")
    screen:type "p\t('ab', 2)\n"
    screen:expect "abab"
    await_prompt(screen)
    screen:type "fern.spawn_\t\n"
    screen:expect "function: "
    await_prompt(screen)
    enter(screen, "thread = fern.spawn(fern.sleep, 60)")
    screen:type "thread:tra\t()\n"
    screen:expect "ceback()"
  end)

  it("Tab calls nothing, and finds nothing where nothing is", function()
    local screen <close> = start()
    enter(screen, "t = setmetatable({}, { __index = function() error 'called' end })")
    enter(screen, "loop = {} loop.__index = loop setmetatable(loop, loop)")
    screen:type "t.x\t.y\t + no.such.t\t + loop.x\t + end"
    screen:expect "end"
    screen:type "\3"
    await_prompt(screen)
    assert.are.equal("2", enter(screen, "1 + 1"))
  end)

  it("a line is there again when the process is continued", function()
    local screen <close> = start()
    screen:type "1 + "
    screen:expect "1 + "
    unix.kill(screen.pid, 18)           -- SIGCONT
    screen:expect "> 1 + "
    screen:edits()
    screen:type "4\n"
    screen:expect "5"
    await_prompt(screen)
    enter(screen, "ok, message = pcall(fern.event().wait, fern.event())")
    contains(enter(screen, "message"), "deadlock: ")
  end)

  it("takes letters beyond ASCII, and forgets what was typed wrong", function()
    local screen <close> = start()
    screen:type "'äöü€x'\127\127'\n"
    screen:expect "äöü€\n"
  end)

  it("a line tells how to end it", function()
    local screen <close> = terminal.start("export FERN_HISTORY= TERM=xterm; "
      .. script.command("bin/fern", "-i"):gsub("^exec timeout %d+", "exec"))
    screen:expect "Ctrl-D ends\n> "
  end)

  it("the history is there the next time, in a file for its owner only", function()
    with_folder(function(folder)
      local path = folder .. "/deep/er/history"
      do
        local screen <close> = start(path)
        enter(screen, "first = 11")
        enter(screen, "   ")
        enter(screen, "first * 2")
        screen:type "\4"
        screen:finish()
      end
      assert.are.equal("first = 11\nfirst * 2\n", fern.fs.read_file(path))
      assert.are.equal(tonumber("600", 8), fern.fs.stat(path).mode & 511)
      local screen <close> = start(path)
      screen:type "\27[A\27[A\n"        -- up, up
      screen:expect "= 11"
      await_prompt(screen)
      assert.are.equal("22", enter(screen, "first * 2"))
    end)
  end)

  it("whoever ends the process leaves the terminal as it was", function()
    for _, ending in ipairs { "os.exit(5)", "os.exit(5, true)" } do
      local screen <close> = start()
      enter(screen, ("_ = fern.spawn_after(0.05, function() %s end)"):format(ending))
      local output, code = screen:finish()
      assert.are.equal(5, code, output)
      assert.is_true(unix.echoes(screen.fd))
    end
  end)

  it("what runs may read lines of its own, and threads go on", function()
    local screen <close> = start()
    enter(screen, "_ = fern.spawn_after(0.05, print, 'meanwhile')")
    screen:type "line = io.read()\n"
    screen:expect "meanwhile"
    screen:type "a line\n"
    await_prompt(screen)
    assert.are.equal("a line", enter(screen, "line"))
  end)

  it("a history that cannot be written does no harm", function()
    local screen <close> = start("/dev/null/history")
    assert.are.equal("2", enter(screen, "1 + 1"))
  end)
end)

describe("the history", function()
  it("lies where state belongs, and is shortened when it is long", function()
    with_folder(function(folder)
      local path = folder .. "/fern/history"
      fern.fs.mkdir(folder .. "/fern")
      local lines = {}
      for i = 1, 2500 do lines[i] = "line " .. i end
      fern.fs.write_file(path, table.concat(lines, "\n") .. "\n")
      local output = script.run(("unset FERN_HISTORY; XDG_STATE_HOME='%s'; export XDG_STATE_HOME; "):format(folder),
        "-e", [[local history = require "fern.command.history"
          local old = history.load() print(#old, old[1], old[#old]) history.add "new"]])
      assert.are.equal("1000\tline 1501\tline 2500\n", output)
      local text = fern.fs.read_file(path)
      assert.is_truthy(text:find("^line 1501\n.*\nline 2500\nnew\n$"))
    end)
  end)
end)

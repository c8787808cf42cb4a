-- SPDX-License-Identifier: MIT
-- command: `fern` runs scripts as the interpreter does, with the same words for what
-- goes wrong, and what it has beyond that. Each is a process of its own. Its REPL is in
-- repl_spec.lua, `fern test` in command_test_spec.lua.
local script = require "spec.support.script"

local COMMAND <const> = "bin/fern"

local function run(...) return script.run("", COMMAND, ...) end

-- `text` in a file, under its name; `fn` gets that.
local function with_file(text, fn)
  local name = os.tmpname()
  local _ <close> = setmetatable({}, { __close = function() os.remove(name) end })
  local file <close> = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
  return fn(name)
end

local function run_script(text, ...)
  local arguments = table.pack(...)
  return with_file(text, function(name) return run(name, table.unpack(arguments, 1, arguments.n)) end)
end

-- By a shell, with the command's name in place of FERN.
local function shell(line)
  local pipe = assert(io.popen((line:gsub("FERN", (script.command(COMMAND):gsub("%%", "%%%%"))))))
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  return output, how == "signal" and -code or code
end

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), ("no '%s' in:\n%s"):format(part, text))
end

-- What the interpreter writes, with our name for it.
local function run_plain(...)
  local output, code = script.run("", ...)
  return output:gsub("^[^\n]-lua[%w.]*: ", "fern: "):gsub("\n[^\n]-lua[%w.]*: ", "\nfern: "), code
end

describe("the command does as lua does with", function()
  local same = {
    ["code"] = { "-e", "print(1, ...)" },
    ["code in the option's own word"] = { "-eprint(2)" },
    ["two pieces of code"] = { "-e", "x = 1", "-e", "print(x)" },
    ["an error in code"] = { "-e", "error 'boom'" },
    ["an error deep in code"] = { "-e", "local function f() error('boom', 2) end local function g() f() end g()" },
    ["an error that ends what would follow"] = { "-e", "error 'first'", "-e", "print 'second'" },
    ["a syntax error"] = { "-e", "x =" },
    ["an error that is a table"] = { "-e", "error {}" },
    ["an error that is nil"] = { "-e", "error()" },
    ["an error that is a number"] = { "-e", "error(12)" },
    ["an error with a text of its own"] = { "-e", "error(setmetatable({}, { __tostring = function() return 'own' end }))" },
    ["an error with a text that is none"] = { "-e", "error(setmetatable({}, { __tostring = function() return {} end }))" },
    ["an error in tail calls"] = { "-e", "local function f() local x = nil + 1 end local function g() return f() end g()" },
    ["an error in a coroutine"] = { "-e", "coroutine.wrap(function() error 'inside' end)()" },
    ["a module"] = { "-l", "string", "-e", "print(string.rep('x', 3))" },
    ["a module in the option's own word"] = { "-lstring", "-e", "print(string.rep('x', 3))" },
    ["a module under another name"] = { "-l", "s=string", "-e", "print(s.rep('x', 3))" },
    ["warnings"] = { "-W", "-e", "warn 'careful'" },
    ["no warnings"] = { "-e", "warn 'careful'" },
    ["os.exit"] = { "-e", "os.exit(7)" },
    ["os.exit(true, true)"] = { "-e", "os.exit(true, true)" },
    ["os.exit(false)"] = { "-e", "os.exit(false)" },
    ["a file that is not there"] = { "/no/such/file" },
    ["a directory"] = { "core" },
    ["a script after --"] = { "--", "/no/such/file" },
    ["what a closed variable raises"] = { "-e", "local _ <close> = setmetatable({}, { __close = function() error 'late' end })" },
  }
  for what, arguments in pairs(same) do
    it(what, function()
      local expected, expected_code = run_plain(table.unpack(arguments))
      local output, code = run(table.unpack(arguments))
      assert.are.equal(expected, output)
      assert.are.equal(expected_code, code)
    end)
  end

  local scripts = {
    ["a first line for the shell"] = "#!/usr/bin/env fern\nprint 'runs'",
    ["arguments"] = "print(..., select('#', ...), arg[1], arg[3], #arg, arg[0] == debug.getinfo(1).short_src)",
    ["an error in a script"] = "local function f()\n  error 'boom'\nend\nf()",
    ["a syntax error in a script"] = "local = 3",
    ["a binary chunk"] = string.dump(assert(load("print('binary', ...)", "=binary"))),
    ["a binary chunk of another Lua"] = "\27LuaR",
    ["an empty script"] = "",
    ["the main coroutine"] = "print(coroutine.isyieldable(), select(2, coroutine.running()))",
    ["results of a chunk"] = "return 7",
    ["a global fern, which there is not"] = "print(fern)",
  }
  for what, text in pairs(scripts) do
    it(what, function()
      with_file(text, function(name)
        local expected, expected_code = run_plain(name, "a", "b c", "")
        local output, code = run(name, "a", "b c", "")
        assert.are.equal(expected, output)
        assert.are.equal(expected_code, code)
      end)
    end)
  end

  it("a script that comes from stdin", function()
    assert.are.equal("1\t2\n", (shell [[echo 'print(...)' | FERN - 1 2]]))
    assert.are.equal("piped\n", (shell [[echo 'print "piped"' | FERN]]))
    local output, code = shell [[echo 'error "boom"' | FERN - 2>&1]]
    assert.are.equal("fern: stdin:1: boom\nstack traceback:\n\t[C]: in function 'error'\n\tstdin:1: in main chunk\n"
      .. "\t[C]: in ?\n", output)
    assert.are.equal(1, code)
  end)

  it("arg, in which all stands that led to the script", function()
    local output = run_script("print(arg[-3], arg[-2], arg[-1], arg[1])", "x")
    assert.is_truthy(output:find("\t" .. COMMAND .. "\tx\n", 1, true), output)
    with_file("print(arg[-3], arg[-2], arg[-1], arg[1])", function(name)
      assert.are.equal(COMMAND .. "\t-e\tx = 1\t--stats\n", (run("-e", "x = 1", name, "--stats")))
    end)
    assert.are.equal(COMMAND .. "\t-e\n", (run("-e", "print(arg[0], arg[1])")))
  end)
end)

describe("a traceback", function()
  it("shows nothing of the command, however deep the stack is", function()
    local output, code = run_script("local function deep(n) if n == 0 then error 'deep' end return 1 + deep(n - 1) end deep(100)")
    assert.are.equal(1, code)
    assert.is_nil(output:find("command", 1, true), output)
    contains(output, "...\t(skipping ")
    assert.is_truthy(output:find("in main chunk\n\t%[C%]: in %?\n$"), output)
    output = run_script "local function f() return 1 + f() end f()"
    contains(output, "stack overflow")
    assert.is_nil(output:find("command", 1, true), output)
  end)

  it("of the main thread shows nothing of it while threads are looked at", function()
    local output = run_script "require 'fern'.queue():get()"
    assert.is_truthy(output:find(":1: in main chunk\n    %[C%]: in %?\nstack traceback:\n"), output)
    assert.is_nil(output:find("command", 1, true), output)
    output = run("-e", "coroutine.wrap(function() print(fern.debug.threads()[1].traceback) end)()")
    assert.is_truthy(output:find("\n    %(command line%):1: in main chunk\n    %[C%]: in %?\n$"), output)
    assert.is_nil(output:find("/command", 1, true), output)
  end)

  it("that a script asks for shows nothing of it either", function()
    local TITLE <const>, REST <const> = "stack traceback:\n", "\t(command line):1: in main chunk\n\t[C]: in ?\n"
    assert.are.equal("here\n" .. TITLE .. REST, (run("-e", "print(debug.traceback('here'))")))
    assert.are.equal(TITLE .. REST, (run("-e",
      "local main = coroutine.running() coroutine.wrap(function() print(debug.traceback(main, nil, 1)) end)()")))
    assert.are.equal("x\n" .. TITLE .. "\t[C]: in function 'error'\n\t[C]: in function 'xpcall'\n" .. REST,
      (run("-e", "print(select(2, xpcall(error, debug.traceback, 'x')))")))
    local output = run("-e", "local function deep(n) if n == 0 then return debug.traceback() end return 1, deep(n - 1) end"
      .. " print(select(-1, deep(100)))")
    contains(output, "...\t(skipping ")
    assert.is_nil(output:find("/command", 1, true), output)
    assert.are.equal("stack traceback:\n\t[C]: in ?\n", (run("-e", "print(debug.traceback(nil, 2))")))
    assert.are.equal("stack traceback:\n", (run("-e", "print(debug.traceback(nil, 99))")))
    assert.are.equal("stack traceback:\n", (run("-e", "print(debug.traceback(coroutine.create(print)))")))
    assert.are.equal("true\n", (run("-e", "print(debug.traceback(true))")))
  end)

  it("can be asked for until the very end", function()
    assert.are.equal("stack traceback:\n\t(command line):1: in main chunk\n\t[C]: in ?\n",
      (run("-e", "do local _ <close> = fern end print(debug.traceback())")))
    local output, code = run("-e", "setmetatable(_G, { __gc = function() print(debug.traceback('last')) end }) os.exit(3, true)")
    contains(output, "last\nstack traceback:\n\t(command line):1: in ")
    assert.are.equal(3, code)
  end)

  it("shows nothing of it when an error's __tostring fails", function()
    local output, code = run("-e", "error(setmetatable({}, { __tostring = function() error 'again' end }))")
    assert.are.equal("fern: (command line):1: again\nstack traceback:\n\t[C]: in function 'error'\n"
      .. "\t(command line):1: in main chunk\n\t[C]: in ?\n", output)
    assert.are.equal(1, code)
  end)

  it("is told even by a script that takes away all that is global", function()
    local output, code = run_script "local error, all = error, _G for name in pairs(all) do all[name] = nil end error 'bare'"
    contains(output, ":1: bare\nstack traceback:\n")
    assert.are.equal(1, code)
    output = run("--stats", "-e", "local all = _G for name in pairs(all) do all[name] = nil end")
    assert.is_truthy(output:find("^fern: threads spawned"), output)
    contains(output, "fern: threads spawned")
  end)

  it("of a module that fails is that of require", function()
    local output, code = run("-l", "no.such.module")
    assert.are.equal(1, code)
    contains(output, "fern: module 'no.such.module' not found:")
    assert.is_truthy(output:find("\n\t%[C%]: in function 'require'\n\t%[C%]: in %?\n$"), output)
  end)
end)

describe("options", function()
  local wrong = {
    ["one that is unknown"] = { { "-x" }, "fern: unrecognized option '-x'\n" },
    ["a long one that is unknown"] = { { "--stat" }, "fern: unrecognized option '--stat'\n" },
    ["two in a word"] = { { "-iv" }, "fern: unrecognized option '-iv'\n" },
    ["-e without code"] = { { "-e" }, "fern: '-e' needs argument\n" },
    ["-e and an option"] = { { "-e", "-i" }, "fern: '-e' needs argument\n" },
    ["-l without a name"] = { { "-l" }, "fern: '-l' needs argument\n" },
    ["those of a script for specs"] = { { "-e", "print 'never'", "test" },
      "fern: what `fern test` is to do stands after its name, but for --stats; `fern -- test` runs a script\n" },
    ["one after others"] = { { "-e", "print 'never'", "-?" }, "fern: unrecognized option '-?'\n" },
  }
  for what, case in pairs(wrong) do
    it("wrong: " .. what .. " is told with how to use it, and nothing runs", function()
      local output, code = run(table.unpack(case[1]))
      assert.are.equal(case[2], output:match("^[^\n]*\n"))
      contains(output, "\nusage: fern ")
      assert.is_nil(output:find("never", 1, true))
      assert.are.equal(1, code)
    end)
  end

  it("--help and --version tell on stdout, and end well", function()
    local help, code = shell "FERN --help 2>/dev/null"
    assert.are.equal(0, code)
    contains(help, "usage: fern ")
    for line in help:gmatch("[^\n]+") do assert.is_true(#line <= 80, line) end
    local version
    version, code = shell "FERN --version 2>/dev/null"
    assert.are.equal(0, code)
    assert.is_truthy(version:find("^fern [%w.-]+, Lua 5%.4\n$"), version)
    assert.are.equal(version .. "after\n", (run("-v", "-e", "print 'after'")))
    assert.are.equal(version, (shell "FERN -v </dev/null"))
    assert.are.equal(version, (run("-e", "print(('fern %s, %s'):format(fern.version, _VERSION))")))
  end)

  it("belong to the script after its name", function()
    assert.are.equal("--help\t-x\n", (run_script("print(...)", "--help", "-x")))
  end)

  it("give fern to code, and to scripts that follow it", function()
    assert.are.equal("5\n", (run("-e", "print(fern.spawn(function() fern.sleep(0) return 5 end):wait())")))
    with_file("print(fern == require 'fern')", function(name)
      assert.are.equal("true\n", (run("-e", "x = 1", name)))
    end)
  end)
end)

describe("what --help tells of", function()
  local help = run("--help")
  local names = {}
  for line in help:gmatch("[^\n]+") do
    names[#names + 1] = line:match("^  (%-%S*)") or line:match("%[(%-%-%w+)=")
  end

  local function read(path)
    local file <close> = assert(io.open(path))
    return file:read("a")
  end

  -- What bash suggests for the last of these words.
  local function suggestions(...)
    local words = table.concat({ ... }, " ")
    local set = {}
    for name in shell(([[bash -c 'source completions/fern.bash; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1));
      _fern; printf "%%s\n" "${COMPREPLY[@]}"']]):format(words)):gmatch("[^\n]+") do set[name] = true end
    return set
  end

  it("is in the manual page, and nothing else is", function()
    local page, found = read("docs/fern.1"), {}
    for flags in page:gmatch("\n%.It (Fl[^\n]*)") do
      local name = flags:gsub(" Ar .*", ""):gsub(" Ns.*", ""):gsub("Fl Fl ?", "--"):gsub("Fl ?", "-")
      found[name] = true
    end
    for _, name in ipairs(names) do
      assert.is_true(found[name], name)
      found[name] = nil
    end
    assert.is_nil(next(found))
  end)

  it("is what bash completes, and nothing else", function()
    local found = suggestions("fern", "-")
    for _, name in ipairs(names) do
      if name ~= "--timeout" then assert.is_true(found[name], name) end
      found[name] = nil
    end
    assert.is_nil(next(found))
    assert.is_true(suggestions("fern", "test", "--ti")["--timeout="])
    assert.is_true(suggestions("fern", "te")["test"])
    assert.is_true(suggestions("fern", "-e", "x", "bin/f")["bin/fern"])
    assert.is_true(suggestions("fern", "bin/fern", "--", "READ")["README.md"])
    assert.is_nil(next(suggestions("fern", "-e", "RE")))
  end)

  it("has a manual page that man can show", function()
    if not os.execute("command -v groff >/dev/null") then return pending "no groff here" end
    assert.are.equal("", (shell "groff -ww -mandoc -Tascii docs/fern.1 2>&1 >/dev/null"))
  end)
end)

describe("at the script's end", function()
  it("threads are unwound while everything is there, and may say goodbye", function()
    assert.are.equal("main ends\ngoodbye\n", (run_script [[
      local fern = require "fern"
      fern.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          fern.sleep(0.001)
          print "goodbye"
        end })
        fern.sleep(1e9)
      end)
      fern.sleep(0)
      print "main ends"
    ]]))
  end)

  it("what never began is told", function()
    local output, code = run_script "require 'fern'.spawn(print)"
    assert.is_truthy(output:find("^fern: 1 green thread never began %(spawned at [^\n]+:1%)"), output)
    assert.are.equal(0, code)
  end)

  it("an error that nobody asked for is told, and is no failure", function()
    local output, code = run("-e", "fern.spawn(error, 'unasked') fern.sleep(0)")
    contains(output, "fern: green thread #1 failed: unasked\n")
    assert.are.equal(0, code)
  end)

  it("a thread that leaves by os.exit(code, true) has its way", function()
    local _, code = run("-e", [[fern.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() os.exit(9, true) end })
      fern.sleep(1e9)
    end) fern.sleep(0)]])
    assert.are.equal(9, code)
  end)

  it("closed descriptors are no reason to fail", function()
    assert.are.equal("0\n", (shell "(FERN -e 'print(1)' >&-) 2>&1; echo $?"))
    assert.are.equal("0\n", (shell "(FERN -i <&- >/dev/null) 2>&1; echo $?"))
    assert.are.equal("1\n0\n", (shell "(FERN -e 'print(1)' 2>&-); echo $?"))
  end)

  it("an error ends as well with threads that are unwound", function()
    local output, code = run("-e", [[fern.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() io.stderr:write "unwound\n" end })
      fern.sleep(1e9)
    end) fern.sleep(0) error "boom"]])
    assert.is_truthy(output:find("^fern: .-boom\n.*unwound\n$"), output)
    assert.are.equal(1, code)
  end)

  it("a script that has closed fern itself is none the worse", function()
    assert.are.equal("closed\n", (run_script "do local _ <close> = require 'fern' end print 'closed'"))
  end)
end)

describe("--stats", function()
  local function check(output, spawned, most)
    assert.are.equal(tostring(spawned), output:match("fern: threads spawned +(%d+)\n"), output)
    assert.are.equal(tostring(most), output:match("fern: most at once +(%d+)\n"), output)
    for _, name in ipairs { "switches", "polls", "CPU seconds", "wall seconds", "Lua's memory, KiB" } do
      assert.is_truthy(output:find("fern: " .. name .. " +%d"), output)
    end
  end

  it("tells on stderr what there was", function()
    local line = "FERN --stats -e 'for i = 1, 10 do fern.spawn(fern.sleep, 0) end fern.waitall() "
      .. "fern.spawn(fern.now) fern.waitall()'"
    check(shell(line .. " 2>&1"), 11, 10)
    assert.are.equal("", (shell(line .. " 2>/dev/null")))
  end)

  it("tells it however the script ends", function()
    for _, ending in ipairs { "os.exit(3)", "os.exit(3, true)", "error 'boom'", "fern.spawn(os.exit, 3, true):wait()",
                              "local _ <close> = fern" } do
      local output = run("--stats", "-e", "fern.spawn(fern.sleep, 0):wait() " .. ending)
      local more = ending:find("spawn", 1, true) and 1 or 0
      check(output, 1 + more, 1)
      assert.are.equal(1, select(2, output:gsub("threads spawned", "")), output)
    end
  end)
end)

describe("Ctrl-C", function()
  local SIGINT <const> = 2

  -- Runs a script that sends it to itself by `interrupt()`.
  local function run_interrupted(text)
    return run_script([[
      local fern = require "fern"
      local unix = require "spec.support.unix"
      local function interrupt() unix.kill(unix.getpid(), 2) end
      local function closing(text)
        return setmetatable({}, { __close = function() io.stderr:write(text, "\n") end })
      end
    ]] .. text)
  end

  it("unwinds main, then tells of it as lua does, then unwinds the threads", function()
    local output, code = run_interrupted [[
      fern.spawn(function()
        local _ <close> = closing "thread unwound"
        interrupt()
        fern.sleep(1e9)
      end)
      local _ <close> = closing "main unwound"
      fern.sleep(1e9)
    ]]
    assert.are.equal(1, code)
    local main, told = output:find("main unwound", 1, true), output:find("fern: interrupted!", 1, true)
    local thread = output:find("thread unwound", 1, true)
    assert.is_true(main < told and told < thread, output)
    assert.is_nil(output:find("command", 1, true), output)
  end)

  it("ends a script that computes, and one that does not know of fern", function()
    for _, text in ipairs { "interrupt() while true do end", "fern = nil interrupt() repeat until false" } do
      local output, code = run_interrupted(text)
      contains(output, "interrupted!\nstack traceback")
      assert.are.equal(1, code)
    end
  end)

  it("twice ends it at once", function()
    local output, code = run_interrupted [[
      local _ <close> = setmetatable({}, { __close = function()
        interrupt()
        while true do end
      end })
      interrupt()
      fern.sleep(1e9)
    ]]
    assert.are.equal("", output)
    assert.are.equal(-SIGINT, code)
  end)
end)

describe("when nobody reads stdout", function()
  local SIGPIPE <const> = 13

  it("the command ends as others do", function()
    for _, how in ipairs { "print 'line'", "io.write 'line\\n'", "io.stdout:write 'line\\n'" } do
      with_file(("while true do %s end"):format(how), function(name)
        local output = shell(("exec 3>&1; { (FERN %s) 2>&3; echo status $? >&3; } | head -n 1"):format(name))
        contains(output, "line\n")        -- before or after the other one
        contains(output, "status " .. 128 + SIGPIPE)
      end)
    end
  end)

  it("and stdout is not concerned, a broken pipe ends nothing", function()
    local output, code = run("-e", [[
      local pipe = io.popen("exit 0", "w")
      repeat local ok, err = pipe:write(("x"):rep(1e5)) until not ok
      print "goes on"
    ]])
    assert.are.equal("goes on\n", output)
    assert.are.equal(0, code)
  end)
end)

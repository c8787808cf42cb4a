-- SPDX-License-Identifier: MIT
-- script: runs Lua in a process of its own, by the interpreter that runs the
-- specs, and with what is preloaded into that one (a sanitizer).

local script = {}

local function quote(word)
  return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

-- As it was when this process began: see tools/preload_once.c.
local function preloaded()
  local file <close> = assert(io.open("/proc/self/environ", "rb"))
  for entry in file:read("a"):gmatch("%Z+") do
    local value = entry:match("^LD_PRELOAD=(.+)$")
    if value then return value end
  end
end

local function interpreter()
  local first = 0
  while arg[first - 1] do first = first - 1 end
  return arg[first]
end

-- Compiles spec/support/NAME.c. Returns a shell's command to stand in front of
-- a script that is to be run with it preloaded.
function script.preloading(name)
  local pipe <close> = io.popen("pwd")
  local dir = (os.getenv("BUILD") or "build") .. "/spec"
  if dir:sub(1, 1) ~= "/" then dir = pipe:read("l") .. "/" .. dir end
  local library = ("%s/%s.so"):format(dir, name)
  local compile = "mkdir -p %s && %s -shared -fPIC -O1 -o %s spec/support/%s.c -ldl"
  assert(os.execute(compile:format(quote(dir), os.getenv("CC") or "cc", quote(library), name)))
  return "SPEC_PRELOAD=" .. quote(library) .. "; "
end

-- The shell command that runs `file` with these arguments, for two minutes at most.
function script.command(file, ...)
  local words = { "exec timeout 120" }
  words[#words + 1] = ('env LD_PRELOAD=%s"$SPEC_PRELOAD"'):format(quote((preloaded() or "") .. " "))
  words[#words + 1] = quote(interpreter())
  for _, word in ipairs { file, ... } do words[#words + 1] = quote(word) end
  return table.concat(words, " ")
end

-- Returns what it wrote, to stderr too, and its exit code (a signal's number
-- is negative). `before` goes in front of it: a shell's command and a ";".
function script.run(before, file, ...)
  local pipe = assert(io.popen(before .. script.command(file, ...) .. " 2>&1"))
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  return output, how == "signal" and -code or code
end

-- The same for a program given as text.
function script.run_text(before, text, ...)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
  local output, code = script.run(before, name, ...)
  os.remove(name)
  return output, code
end

-- Starts `file` and leaves it running: returns a function that gives its next
-- line, and one that ends it and returns the rest of what it wrote.
function script.start(file, ...)
  local pipe = assert(io.popen("echo $$; " .. script.command(file, ...) .. " 2>&1"))
  local pid = pipe:read("l")
  local function stop()
    os.execute("kill " .. pid)
    local rest = pipe:read("a")
    pipe:close()
    return rest
  end
  return function() return pipe:read("l") end, stop
end

return script

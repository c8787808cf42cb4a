-- SPDX-License-Identifier: MIT
-- process: runs a Lua file as its users do, in a process of its own: by the
-- interpreter that runs the specs, and with what is preloaded into that one (a
-- sanitizer). It can also be left running beside the specs.

local process = {}

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

-- The shell command that runs `file` with these arguments, for a minute at most.
function process.command(file, ...)
  local words = { "exec timeout 60" }
  local preload = preloaded()
  if preload then words[#words + 1] = "env LD_PRELOAD=" .. quote(preload) end
  words[#words + 1] = quote(interpreter())
  for _, word in ipairs { file, ... } do words[#words + 1] = quote(word) end
  return table.concat(words, " ")
end

-- Returns what it wrote, to stderr too, and its exit code (a signal's number
-- is negative). `before` goes in front of it: a shell's command and a ";".
function process.run(before, file, ...)
  local pipe = assert(io.popen(before .. process.command(file, ...) .. " 2>&1"))
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  return output, how == "signal" and -code or code
end

-- The same for a program given as text.
function process.run_text(before, text, ...)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
  local output, code = process.run(before, name, ...)
  os.remove(name)
  return output, code
end

-- Starts `file` and leaves it running: returns a function that gives its next
-- line, and one that ends it and returns the rest of what it wrote.
function process.start(file, ...)
  local pipe = assert(io.popen("echo $$; " .. process.command(file, ...) .. " 2>&1"))
  local pid = pipe:read("l")
  local function stop()
    os.execute("kill " .. pid)
    local rest = pipe:read("a")
    pipe:close()
    return rest
  end
  return function() return pipe:read("l") end, stop
end

return process

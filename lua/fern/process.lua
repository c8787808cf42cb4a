-- SPDX-License-Identifier: MIT
-- process: programs beside this one.
--
--    process.spawn { "program", "argument"..., options }   a process
--    process.run { "program", ..., options }     what it said and how it ended: a result
--    process.shell(command [, options])          the same of a shell's command
--    process.fork(fn, ...)                       fn(...) in a child of our own; a process
--    process.environ()                           our environment, a table to change and give on
--    process.execute(command)  process.popen(command [, mode])    os.execute, io.popen
--
-- Options: stdin, stdout, stderr ("inherit", "null", "pipe", a stream, file or
-- descriptor; stderr also "stdout"), env, cwd, group, session, fds ({ [3] = file });
-- of run and shell also input, timeout, max.
--
--    process:wait([timeout])       its exit code; nil, "killed by SIGTERM", "SIGTERM"
--    process:communicate([input [, timeout [, max]]])     a result
--    process:kill([signal])  process:terminate([grace])  process:status()
--    process.pid  process.stdin  process.stdout  process.stderr    streams, or nil
--    process:close()               it goes on; `local p <close>` kills it, and waits

local fern = require "fern"
local core = require("fern.core").process
local misuse = require "fern.misuse"

local MAX = 64 * 1024 * 1024            -- bytes that communicate keeps of each output
local PIECE = 64 * 1024

local process = {}

-- ---- what a program is given -----------------------------------------

local STDIO = { "stdin", "stdout", "stderr" }
local OPTIONS = {
  stdin = true, stdout = true, stderr = true, env = true, cwd = true, group = true,
  session = true, fds = true,
}
local RUN = { input = true, timeout = true, max = true }

-- Where the C function's arguments come from.
local FROM = { [2] = "env", [3] = "cwd", [4] = "stdin", [5] = "stdout", [6] = "stderr", [7] = "fds", [12] = "fds" }

local function check_options(options, more)
  for name in pairs(options) do
    if type(name) ~= "number" and not OPTIONS[name] and not (more and more[name]) then
      misuse.raise("unknown option '%s'", tostring(name))
    end
  end
  if options.cwd ~= nil and type(options.cwd) ~= "string" then
    misuse.raise("bad option 'cwd' (string expected, got %s)", type(options.cwd))
  elseif options.cwd and options.cwd:find("\0", 1, true) then
    misuse.raise "bad option 'cwd' (what a program is given has no zeros in it)"
  end
end

-- How many there are, be it with holes between them.
local function count_words(options)
  local count = 0
  for key in pairs(options) do
    if math.type(key) == "integer" then count = math.max(count, key) end
  end
  return count
end

local function words_of(options)
  local words = {}
  for i = 1, count_words(options) do
    local word = options[i]
    if type(word) ~= "string" and type(word) ~= "number" then
      misuse.raise("item %d of the program and its arguments: string expected, got %s", i, type(word))
    end
    words[i] = tostring(word)
  end
  if #words == 0 then misuse.raise("a program's name expected") end
  return words
end

local function environment_of(env)
  if env == nil then return nil end
  if type(env) ~= "table" then misuse.raise("bad option 'env' (table expected, got %s)", type(env)) end
  local list = {}
  for name, value in pairs(env) do
    if type(name) ~= "string" or name == "" or name:find "=" then
      misuse.raise("bad option 'env' (a table of names and values expected, but '%s' is no name)", tostring(name))
    end
    if type(value) ~= "string" and type(value) ~= "number" then
      misuse.raise("bad option 'env' (string expected for '%s', got %s)", name, type(value))
    end
    list[#list + 1] = name .. "=" .. tostring(value)
  end
  return list
end

local function leads(options)
  return options.session and "session" or options.group and "group" or "no"
end

-- Nothing else has a "." in it.
local function is_folder(path)
  local file <close> = io.open(path .. "/.")
  return file ~= nil
end

-- The system does not say which of the two was missing.
local function explain(words, options, message, code)
  local what = words[1]
  if (code == "ENOENT" or code == "ENOTDIR") and options.cwd and not is_folder(options.cwd) then
    what = options.cwd
  end
  return nil, ("%s: %s"):format(what, message), code
end

-- Of a file of popen's, or what patch puts in the place of io.stdin, what it stands for.
local function stdio_of(options, name)
  local how = options[name] or "inherit"
  return type(how) == "table" and how.stream or how
end

local function check_table(options, name, more)
  misuse.check_dot(name, process, options)
  if type(options) ~= "table" then
    misuse.raise("bad argument #1 to '%s' (table expected, got %s)", name, type(options))
  elseif more ~= nil then
    misuse.raise("'%s' takes one table: options stand beside the program's name", name)
  end
end

local function spawn(options, more)
  check_options(options, more)
  local words, how = words_of(options), {}
  local env = environment_of(options.env)
  for i, name in ipairs(STDIO) do how[i] = stdio_of(options, name) end
  local made, message, code = misuse.call("spawn", FROM, core.spawn, words, env, options.cwd,
    how[1], how[2], how[3], options.fds, leads(options))
  if made then return made end
  return explain(words, options, message, code)
end

function process.spawn(options, ...)
  check_table(options, "spawn", ...)
  return spawn(options)
end

function process.environ()
  local env = {}
  for _, entry in ipairs(core.environment()) do
    local name, value = entry:match "^([^=]+)=(.*)$"
    if name and env[name] == nil then env[name] = value end
  end
  return env
end

-- ---- communicate -----------------------------------------------------

-- What has gone in and come out so far: process -> a talk.
local talks = setmetatable({}, { __mode = "k" })

local function left(until_)
  return until_ and math.max(0, until_ - fern.now())
end

-- nil, or why not all of it went in. Who does not read to the end has heard enough.
local function feed(talk, stdin, until_)
  while talk.input and talk.fed < #talk.input do
    stdin:settimeout(left(until_))
    local last = math.min(#talk.input, talk.fed + PIECE)
    local ok, message, code, written = stdin:write(talk.input:sub(talk.fed + 1, last))
    talk.fed = ok and last or talk.fed + (written or 0)
    if not ok then
      if code ~= "EPIPE" and code ~= "ECONNRESET" then return { message, code } end
      break
    end
  end
  stdin:close()
end

-- nil, or why not all of it came out.
local function drain(pieces, stream, until_, max)
  while true do
    local piece, message, code = stream:read_some(PIECE, left(until_))
    if not piece then return code ~= "EPIPE" and { message, code } or nil end
    pieces[#pieces + 1] = piece
    pieces.size = pieces.size + #piece
    if pieces.size > max then return { "message too long", "EMSGSIZE" } end
  end
end

-- A thread for each pipe. At the end of the time each of them stops by itself, and
-- knows how far it has come.
local function exchange(self, talk, until_, max)
  local failure
  do
    local scope <close> = fern.scope()
    local function run(fn, ...)
      local why = fn(...)
      if not why then return end
      failure = failure or why
      if why[2] ~= "ETIMEDOUT" then scope:cancel() end
    end
    for name, pieces in pairs(talk.pieces) do scope:spawn(run, drain, pieces, self[name], until_, max) end
    if self.stdin then scope:spawn(run, feed, talk, self.stdin, until_) end
  end
  return failure
end

local function result_of(talk, code, signal)
  local result = { code = code, signal = signal, ok = code == 0 }
  for name, pieces in pairs(talk.pieces) do result[name] = table.concat(pieces) end
  return result
end

-- One at a time: two would mix what they have to say.
local talking = { __close = function(talk) talk.busy = nil end }

local function talk_of(self, input)
  local talk = talks[self]
  if talk and talk.busy then return nil end
  if not talk then
    talk = setmetatable({ fed = 0, pieces = {} }, talking)
    for i = 2, 3 do
      if self[STDIO[i]] then talk.pieces[STDIO[i]] = { size = 0 } end
    end
    talks[self] = talk
  end
  talk.input = input or talk.input
  talk.busy = true
  return talk
end

local function communicate(self, input, timeout, max)
  local until_ = timeout and fern.now() + timeout
  local talk <close> = talk_of(self, input)
  if not talk then return nil, "already in use by another thread", "EBUSY" end
  local failure = exchange(self, talk, until_, max or MAX)
  if failure then return nil, failure[1], failure[2], result_of(talk) end
  local code, message, signal = self:wait(left(until_))
  if code then return result_of(talk, code) end
  if not signal:find "^SIG" then return nil, message, signal, result_of(talk) end
  return result_of(talk, nil, signal)
end

local function check_number(value, what)
  if value ~= nil and (type(value) ~= "number" or value ~= value) then
    misuse.raise("bad %s (number expected, got %s)", what, value ~= value and "NaN" or type(value))
  end
end

function core.methods.communicate(self, input, timeout, max)
  if input ~= nil and type(input) ~= "string" then
    misuse.raise("bad argument #1 to 'communicate' (string expected, got %s)", type(input))
  end
  check_number(timeout, "argument #2 to 'communicate'")
  check_number(max, "argument #3 to 'communicate'")
  return communicate(self, input, timeout, max)
end

-- ---- run -------------------------------------------------------------

local function run(options)
  if options.input ~= nil and type(options.input) ~= "string" then
    misuse.raise("bad option 'input' (string expected, got %s)", type(options.input))
  elseif options.input and options.stdin ~= nil and options.stdin ~= "pipe" then
    misuse.raise("options 'input' and 'stdin' exclude each other")
  end
  check_number(options.timeout, "option 'timeout'")
  check_number(options.max, "option 'max'")
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  all.stdin = options.stdin or options.input and "pipe"
  all.stdout, all.stderr = options.stdout or "pipe", options.stderr or "pipe"
  local self <close>, message, code = spawn(all, RUN)
  if not self then return nil, message, code end
  return communicate(self, options.input, options.timeout, options.max)
end

function process.run(options, ...)
  check_table(options, "run", ...)
  return run(options)
end

function process.shell(command, options)
  misuse.check_dot("shell", process, command)
  if type(command) ~= "string" then
    misuse.raise("bad argument #1 to 'shell' (string expected, got %s)", type(command))
  elseif options ~= nil and type(options) ~= "table" then
    misuse.raise("bad argument #2 to 'shell' (table expected, got %s)", type(options))
  end
  local all = { "/bin/sh", "-c", command }
  for name, value in pairs(options or {}) do
    if type(name) == "number" then misuse.raise("bad argument #2 to 'shell' (options have names)") end
    all[name] = value
  end
  return run(all)
end

-- ---- fork ------------------------------------------------------------

-- The child ends with what fn returns, if that is a code; its threads as at a script's end.
local function become(fn, ...)
  local results = table.pack(xpcall(fn, function(err)
    return type(err) == "string" and debug.traceback(err, 2) or err
  end, ...))
  if not results[1] then io.stderr:write("fern: a forked child failed: ", tostring(results[2]), "\n") end
  local code = results[1] and (math.type(results[2]) == "integer" and results[2] or 0) or 1
  pcall(function() local _ <close> = fern end)
  io.stdout:flush()
  os.exit(code)
end

function process.fork(fn, ...)
  if type(fn) ~= "function" then
    error("bad argument #1 to 'fork' (function expected, got " .. type(fn) .. ")", 2)
  end
  local made, message, code = core.fork()
  if made == true then become(fn, ...) end
  return made, message, code
end

-- ---- as in Lua's own library -----------------------------------------

-- As C has it: up to the first zero.
local function command_of(command, name)
  if type(command) == "number" then command = tostring(command) end
  if type(command) ~= "string" then
    error(("bad argument #1 to '%s' (string expected, got %s)"):format(name, type(command)), 3)
  end
  return command:match "^[^\0]*"
end

-- The three results that Lua has for an end.
local function execresult(code, _, signal)
  if code == 0 then return true, "exit", 0 end
  if code then return nil, "exit", code end
  local number = core.signal_number(signal)
  if number > 0 then return nil, "signal", number end
  return core.failure(signal)
end

-- os.execute
function process.execute(command)
  if command == nil then return true end
  local self <close>, _, code = spawn { "/bin/sh", "-c", command_of(command, "execute") }
  if not self then return core.failure(code) end
  return execresult(self:wait())
end

local file = {}
file.__index = file
file.__name = "FILE*"

local function check_open(self, name)
  if getmetatable(self) ~= file then
    error(("bad argument #1 to '%s' (FILE* expected)"):format(name), 3)
  end
  if not self.stream then error("attempt to use a closed file", 3) end
  return self.stream
end

function file:read(...)
  local stream = check_open(self, "read")
  if self.writes then return core.failure "EBADF" end
  return core.read_as_file(stream, ...)
end

function file:lines(...)
  check_open(self, "lines")
  local formats = table.pack(...)
  return function()
    if not self.stream then error("file is already closed", 2) end
    local values = table.pack(file.read(self, table.unpack(formats, 1, formats.n)))
    if values[1] == nil and values[2] then error(values[2], 2) end
    return table.unpack(values, 1, values.n)
  end
end

function file:write(...)
  local stream = check_open(self, "write")
  if not self.writes then return core.failure "EBADF" end
  local ok, _, code = misuse.call("write", misuse.METHOD, stream.write, stream, ...)
  if not ok then return core.failure(code) end
  return self
end

function file:flush()
  check_open(self, "flush")
  return true
end

function file:setvbuf()
  check_open(self, "setvbuf")
  return true
end

function file:seek()
  check_open(self, "seek")
  return core.failure "ESPIPE"
end

function file:close()
  check_open(self, "close"):close()
  local owner = self.process
  self.stream = nil
  local code, message, signal = owner:wait()
  owner:close()
  return execresult(code, message, signal)
end

function file:__close()
  if self.stream then self:close() end
end

function file:__tostring()
  return self.stream and ("file (%s)"):format(self.process) or "file (closed)"
end

-- io.popen
function process.popen(command, mode)
  command = command_of(command, "popen")
  mode = mode == nil and "r" or mode
  if mode ~= "r" and mode ~= "w" then error("bad argument #2 to 'popen' (invalid mode)", 2) end
  local options = { "/bin/sh", "-c", command }
  options[mode == "r" and "stdout" or "stdin"] = "pipe"
  local owner, _, code = spawn(options)
  if not owner then return core.failure(code, command) end
  return setmetatable({ process = owner, stream = owner.stdout or owner.stdin, writes = mode == "w" }, file)
end

process.file = file

return process

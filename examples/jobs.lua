-- SPDX-License-Identifier: MIT
-- jobs: runs shell commands, so many at a time, and tells of each how it has ended
-- and how long it took, as soon as it has. Exits with 1 if one has failed.

local fern = require "fern"

local USAGE <const> = [[
usage: lua5.4 examples/jobs.lua [-n AT_ONCE] [-t SECONDS] [-k] [COMMAND...]
  COMMAND     a shell's; without any they are read from stdin, one a line
  -n AT_ONCE  so many at the same time (default 8)
  -t SECONDS  for each of them: then it is killed, with all that it has started
  -k          begin no more when one has failed
]]

local function leave(file, code, text)
  file:write(text, USAGE)
  os.exit(code, true)
end

-- ---- what is to be done ----

local options, commands = { n = 8 }, {}

local function number(option, text)
  local value = tonumber(text)
  if not value or value <= 0 or (option == "n" and value % 1 ~= 0) then
    leave(io.stderr, 2, ("-%s needs a %snumber above 0\n"):format(option, option == "n" and "whole " or ""))
  end
  return value
end

local i = 1
while arg[i] do
  local option = arg[i]:match("^%-([nt])$")
  if arg[i] == "--help" or arg[i] == "-h" then
    leave(io.stdout, 0, "")
  elseif option then
    i = i + 1
    options[option] = number(option, arg[i])
  elseif arg[i] == "-k" then
    options.k = true
  elseif arg[i]:find("^%-") then
    leave(io.stderr, 2, ("'%s' is no option\n"):format(arg[i]))
  else
    commands[#commands + 1] = arg[i]
  end
  i = i + 1
end

if #commands == 0 then
  for line in io.lines() do
    if line:find("%S") then commands[#commands + 1] = line end
  end
end

-- ---- doing it ----

local failed, stopped = 0, false

-- What became of a command, in a word or two, and whether that is well.
local function outcome(result, message)
  if not result then return message, false end
  if result.signal then return result.signal, false end
  return result.ok and "ok" or "exit " .. result.code, result.ok
end

local function run(command)
  if stopped then return command, "not begun", 0 end
  local began = fern.now()
  local result, message, _, part = fern.process.shell(command,
    { timeout = options.t, group = true, stdin = "null", stderr = "stdout" })
  local text, well = outcome(result, message)
  if not well then
    failed = failed + 1
    stopped = stopped or options.k
  end
  return command, text, fern.now() - began, (result or part or {}).stdout
end

-- Ctrl-C and SIGTERM leave the loop, which kills what runs.
local main = fern.current()
fern.signal.on("TERM", function() main:kill("SIGTERM") end)

local began, done = fern.now(), 0
for command, text, took, output in fern.pool(options.n):imap_unordered(run, commands) do
  done = done + 1
  print(("[%d/%d] %-9s %6.2f s  %s"):format(done, #commands, text, took, command))
  for line in (output or ""):gmatch("[^\n]+") do print("    " .. line) end
  io.stdout:flush()
end
print(("%d of %d ok in %.2f s"):format(done - failed, done, fern.now() - began))
os.exit(failed == 0 and 0 or 1, true)

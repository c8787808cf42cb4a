-- SPDX-License-Identifier: MIT
-- health: which of many services answer? Checks them side by side, tells each as
-- soon as it is known, and how far it is; exits with 1 if one is down.

local fern = require "fern"

local USAGE <const> = [[
usage: lua5.4 examples/health.lua [-n AT_ONCE] [-t SECONDS] [-q] TARGET...
  TARGET      host:port, [address]:port, or a URL: a port is up if it takes a
              connection, a page if its status is below 400
  -n AT_ONCE  so many at the same time (default 50)
  -t SECONDS  for each of them (default 5)
  -q          no line that tells how far it is
]]

local function leave(file, code, text)
  file:write(text, USAGE)
  os.exit(code, true)
end

-- ---- what is to be checked ----

local options = { n = 50, t = 5 }
local targets = {}

-- The host and port of "host:port" or "[address]:port".
local function split(target)
  local host, port = target:match("^%[([^%]]+)%]:(%w+)$")
  if not host then host, port = target:match("^([^:]+):(%w+)$") end
  return host, port
end

local function add_target(text)
  if not text:find("^https?://") and not split(text) then
    leave(io.stderr, 2, ("'%s' is neither host:port nor a URL\n"):format(text))
  end
  targets[#targets + 1] = text
end

local i = 1
while arg[i] do
  local option = arg[i]:match("^%-([nt])$")
  if arg[i] == "--help" or arg[i] == "-h" then
    leave(io.stdout, 0, "")
  elseif arg[i] == "-q" then
    options.quiet = true
  elseif option then
    i = i + 1
    options[option] = tonumber(arg[i])
    if not options[option] or options[option] <= 0 or (option == "n" and options.n % 1 ~= 0) then
      leave(io.stderr, 2, ("-%s needs a %snumber above 0\n"):format(option, option == "n" and "whole " or ""))
    end
  else
    add_target(arg[i])
  end
  i = i + 1
end
if #targets == 0 then leave(io.stderr, 2, "nothing to check\n") end

-- ---- checking ----

-- What is wrong, or nil.
local function check_port(host, port)
  local connection, problem = fern.net.connect(host, port, { timeout = options.t })
  if not connection then return problem end
  connection:close()
end

local function check_page(url)
  local response, problem = fern.http.get(url, { timeout = options.t })
  if not response then return problem:gsub("^.*: ", "", 1) end
  if response.status >= 400 then return "status " .. response.status end
end

local function check(target)
  local began = fern.now()
  local host, port = split(target)
  local problem
  if host then problem = check_port(host, port) else problem = check_page(target) end
  return target, problem or false, fern.now() - began
end

local down, known = 0, 0

local function progress()
  if options.quiet then return end
  io.stderr:write(("\r%d of %d, %d down\27[K"):format(known, #targets, down))
end

local function clear()
  if not options.quiet then io.stderr:write("\r\27[K") end
end

progress()
for target, problem, seconds in fern.pool(options.n):imap_unordered(check, targets) do
  known = known + 1
  if problem then down = down + 1 end
  clear()
  print(("%-4s %4.0f ms  %s%s"):format(problem and "down" or "up", seconds * 1000, target,
    problem and ": " .. problem or ""))
  progress()
end
clear()
print(("%d of %d up"):format(known - down, known))
os.exit(down == 0, true)

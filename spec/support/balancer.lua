-- SPDX-License-Identifier: MIT
-- balancer: the example's program, in a process of its own, on loopback.
--
--    local b <close> = balancer.start [[ listeners = { web = { address = "127.0.0.1:0" } } ... ]]
--    b:connect "web"          a connection to that listener
--    b:line "is down"         the next line of its log that has this text; those before are passed
--    b:reload [[ ... ]]       with another configuration, once it has been read

local net = require "fern.net"
local process = require "fern.process"

local balancer = {}
balancer.__index = balancer

local PATIENCE <const> = 30     -- seconds for anything that has to happen

balancer.program = (os.getenv("BUILD") or "build") .. "/examples/balancer"

function balancer.write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- `before`: what a shell does first, such as "ulimit -n 40; ".
function balancer.start(text, before)
  local self = setmetatable({ path = os.tmpname(), hosts = {}, ports = {} }, balancer)
  balancer.write(self.path, text)
  local command = ("%sexec %s %s"):format(before or "", balancer.program, self.path)
  self.process = assert(process.spawn { "/bin/sh", "-c", command, stderr = "pipe" })
  self:line "ready"
  return self
end

-- Where it listens is told in its log.
function balancer:note(line)
  local name, host, port = line:match("^balancer: ([^:]+): listening at (%S+) port (%d+)$")
  if name then self.hosts[name], self.ports[name] = host, math.tointeger(tonumber(port)) end
end

function balancer:line(text)
  local passed = {}
  while true do
    local line, problem = self.process.stderr:read("l", PATIENCE)
    if not line then error(("no '%s', but %s, after:\n%s"):format(text, problem, table.concat(passed, "\n")), 2) end
    self:note(line)
    if line:find(text, 1, true) then return line end
    passed[#passed + 1] = line
  end
end

function balancer:connect(name)
  return assert(net.connect(self.hosts[name], self.ports[name], { timeout = PATIENCE }))
end

function balancer:signal(name) assert(self.process:kill(name)) end

function balancer:reload(text)
  balancer.write(self.path, text)
  self:signal "HUP"
  return self:line(self.path .. " is ")
end

-- Its exit code, or nil and the signal that has ended it.
function balancer:wait() return self.process:wait(PATIENCE) end

function balancer:__close()
  if self.process:status() == "running" then
    self:signal "KILL"
    self.process:wait(PATIENCE)
  end
  self.process:close()
  os.remove(self.path)
end

return balancer

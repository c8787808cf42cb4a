-- SPDX-License-Identifier: MIT
-- service: a real server in a process of its own, on loopback, with a port and a folder of
-- its own. It ends when `stop` is called, or with this process: a shell waits on a pipe
-- whose other end is here.
--
--    local redis = service.start("redis", "redis-server --port @port@ --dir @dir@")
--    redis.port, redis.dir; redis:stop()

local fern = require "fern"
local net = require "fern.net"

local service = {}
service.__index = service

local PATIENCE <const> = 30     -- seconds until it answers

local function read_line(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read("l")
end

-- The interpreter that knows the module: the first in the path may not be the system's.
function service.python(module)
  for _, python in ipairs { "python3", "/usr/bin/python3" } do
    if os.execute(("env -u LD_PRELOAD %s -c 'import %s' 2>/dev/null"):format(python, module)) then
      return python .. " -m " .. module
    end
  end
  error("there is no Python module " .. module)
end

local function answers(port)
  local connection = net.connect("127.0.0.1", port, { timeout = PATIENCE })
  if connection then connection:close() end
  return connection ~= nil
end

local function launch(name, command, dir)
  local port = math.random(20000, 29000)
  local text = command:gsub("@(%w+)@", { port = tostring(port), dir = dir })
  local log = ("%s/%s.log"):format(dir, name)
  local shell = ("env -u LD_PRELOAD sh -c '%s & read line; kill $! && wait' >%s 2>&1"):format(text, log)
  return { name = name, port = port, dir = dir, log = log, pipe = assert(io.popen(shell, "w")) }
end

-- Others may have the port: try some.
function service.start(name, command)
  local dir = read_line("mktemp -d /tmp/fern-spec.XXXXXX")
  for _ = 1, 5 do
    local self = setmetatable(launch(name, command, dir), service)
    local limit = fern.now() + PATIENCE
    while fern.now() < limit and not answers(self.port) do fern.sleep(0.02) end
    if answers(self.port) then return self end
    self.pipe:close()
  end
  error(("%s does not answer; see %s/%s.log"):format(name, dir, name))
end

function service:stop()
  self.pipe:write("stop\n")
  self.pipe:close()
  os.execute("rm -rf " .. self.dir)
end

return service

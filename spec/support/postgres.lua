-- SPDX-License-Identifier: MIT
-- postgres: the real PostgreSQL, on loopback, with a port and a cluster of its own
-- in a temporary folder. It ends when `stop` is called, or with this process: a
-- shell waits on a pipe whose other end is here.
local postgres = {}

postgres.USER, postgres.PASSWORD = "fern", "a secret of some length"

local function ask(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("%s+$", ""))
end

-- Debian keeps its programs out of the path.
local function programs()
  return ask("dirname \"$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)\"")
end

-- The server refuses to be run by root.
local function as_somebody(command)
  if ask("id -u") ~= "0" then return command end
  return ("runuser -u postgres -- sh -c '%s'"):format(command:gsub("'", "'\\''"))
end

local function run(dir, format, ...)
  local command = as_somebody(format:format(...))
  local ok, _, status = os.execute(("env -u LD_PRELOAD %s >>%s/log 2>&1"):format(command, dir))
  return ok, ok or ("`%s` failed with %s:\n%s"):format(command, status, ask(("tail -n 20 %s/*log"):format(dir)))
end

-- Others may have taken the port: tries some. Returns the one that it got.
local function launch(bin, dir)
  local message
  for _ = 1, 20 do
    local ok
    local port = math.random(30000, 32000)
    ok, message = run(dir, "%s/pg_ctl -D %s/data -l %s/server.log -w start -o \"-p %d -c listen_addresses=127.0.0.1"
      .. " -c unix_socket_directories= -c fsync=off -c max_connections=80\"", bin, dir, dir, port)
    if ok then return port end
  end
  error(message)
end

local methods = {}
methods.__index = methods

-- postgres.start() -> server: server.port, for USER with PASSWORD (SCRAM-SHA-256).
function postgres.start()
  local bin, dir = programs(), ask("mktemp -d /tmp/fern-postgres-XXXXXX")
  os.execute(("chmod 755 %s && mkdir %s/data && printf %%s '%s' >%s/password && touch %s/log")
    :format(dir, dir, postgres.PASSWORD, dir, dir))
  if ask("id -u") == "0" then os.execute(("chown -R postgres %s"):format(dir)) end
  assert(run(dir, "%s/initdb -D %s/data -U %s --auth=scram-sha-256 --pwfile=%s/password -E UTF8 --no-sync",
    bin, dir, postgres.USER, dir))
  local port = launch(bin, dir)
  local stop = as_somebody(("%s/pg_ctl -D %s/data -m immediate -w stop"):format(bin, dir))
  local watchdog = assert(io.popen(("read line; %s >>%s/log 2>&1; rm -rf %s"):format(stop, dir, dir), "w"))
  return setmetatable({ port = port, watchdog = watchdog }, methods)
end

function methods:stop()
  self.watchdog:write("stop\n")
  self.watchdog:close()
end

return postgres

-- SPDX-License-Identifier: MIT
-- The load balancer of examples/balancer, with a Lua hook that chooses for each connection,
-- beside nginx's stream proxy with one worker. Each has one core, by turns; both
-- sides of it, clients and backends, have the other. What counts is the proxy's CPU
-- time: the rest of the machine may be the slower one.
--
--     lua5.4 bench/balancer.lua [short | down | up]
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")
local servers = dofile(here .. "servers.lua")

local MODULE <const> = "/usr/lib/nginx/modules/ngx_stream_module.so"
local ADDRESSES <const> = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4" }     -- of the backend
local ROUNDS <const> = 7
local KINDS <const> = { "nginx", "fern" }

local function read_line(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read("l")
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
  return path
end

local function each_address(format, port)
  local lines = {}
  for i, address in ipairs(ADDRESSES) do lines[i] = format:gsub("NAME", "b" .. i):gsub("WHERE", address .. ":" .. port) end
  return table.concat(lines)
end

local commands = {}

function commands.nginx(dir, port, backend)
  local path = write(dir .. "/nginx.conf", ([[
    load_module %s;
    daemon off; master_process off; worker_processes 1; pid %s/nginx.pid; error_log stderr error;
    events { worker_connections 8000; }
    stream {
      upstream all { %s }
      server { listen 0.0.0.0:%d backlog=4096; proxy_pass all; proxy_timeout 60s; }
    }]]):format(MODULE, dir, each_address("server WHERE; ", backend), port))
  return ("nginx -c %s -e stderr"):format(path)
end

function commands.fern(dir, port, backend)
  local path = write(dir .. "/balancer.lua", ([[
    listeners = { all = { address = "0.0.0.0:%d" } }
    backends = { %s }
    max_connections, max_per_client, idle_timeout = 4000, 4000, 60
    local turn = 0
    function on_connect(client)
      turn = turn %% %d + 1
      return "b" .. turn
    end]]):format(port, each_address('NAME = { address = "WHERE" }, ', backend), #ADDRESSES))
  return ("%s/examples/balancer %s 2>&1"):format(servers.build, path)
end

-- A proxy says nothing that could be waited for: until it can be connected to.
local function start(kind, dir, port, backend)
  local server = servers.start(("sh -c 'echo %d $$; exec %s'"):format(port, commands[kind](dir, port, backend)))
  assert(os.execute(("timeout 10 bash -c 'until : </dev/tcp/127.0.0.1/%d; do sleep 0.05; done' 2>/dev/null"):format(port)))
  return server
end

-- What there is to be measured: connections, how many, what CPU seconds are told in.
local work = {
  short = { "64 8000", 8000 / 1e6, "a connection with 64 bytes there and back, through a balancer", "µs", 1 / 0.6, 1 / 0.8 },
  down = { "8 8", 8 * 2 ^ 26 / 1e9, "1 GB from a backend, through a balancer", "s", 1 / 0.9, 1 },
  up = { "8 8", 8 * 2 ^ 26 / 1e9, "1 GB to a backend, through a balancer", "s", 1 / 0.9, 1 },
}

local function load(what, server)
  local command = ("ulimit -n 20000; exec taskset -c 0 %s/bench/balancer_load %s %d %d %s")
    :format(servers.build, what, server.port, server.pid, work[what][1])
  local pipe <close> = assert(io.popen(command))
  local rate, seconds = pipe:read("n", "n")
  return assert(rate, "the load failed"), seconds
end

local function run(what, proxies)
  local costs, rates = { nginx = {}, fern = {} }, { nginx = {}, fern = {} }
  for round = 1, ROUNDS do
    for _, kind in ipairs(KINDS) do
      local rate, seconds = load(what, proxies[kind])
      rates[kind][round], costs[kind][round] = rate, seconds / work[what][2]
    end
  end
  for _, kind in ipairs(KINDS) do
    rates[kind], costs[kind] = measure.median(rates[kind]), measure.median(costs[kind])
  end
  local _, _, figure, unit, limit, aim = table.unpack(work[what])
  measure.row { figure = figure, threads = 1, value = costs.fern, unit = unit, baseline = costs.nginx,
    limit = ("%.2f"):format(limit), aim = ("%.2f"):format(aim) }
  local each = what == "short" and 1e6 or 1       -- rates, as times, so that less is better
  measure.row { figure = figure .. ", on the clock", threads = 1, value = each / rates.fern, unit = unit,
    baseline = each / rates.nginx, limit = ("%.2f"):format(limit), aim = ("%.2f"):format(aim) }
end

local nginx = io.open(MODULE)
if not nginx then
  io.stderr:write("the balancer is not measured: there is no nginx with stream (Debian: libnginx-mod-stream)\n")
  os.exit(0)
end
nginx:close()

local dir = read_line("mktemp -d /tmp/fern-bench.XXXXXX")
local backend = servers.start_on(0, servers.build .. "/bench/balancer_load backend")
local first = 20000 + os.time() % 9000
local proxies = {}
for i, kind in ipairs(KINDS) do proxies[kind] = start(kind, dir, first + i, backend.port) end
local ok, problem = pcall(function()
  for _, what in ipairs(arg[1] and { arg[1] } or { "short", "down", "up" }) do run(what, proxies) end
end)
for _, kind in ipairs(KINDS) do servers.stop(proxies[kind]) end
servers.stop(backend)
os.execute("rm -r " .. dir)
if not ok then error(problem, 0) end

-- SPDX-License-Identifier: MIT
-- What a TLS server costs in Lua, beside one that is written straight on libev and
-- OpenSSL in C. Servers have one core, who loads them another; what counts is the
-- server's CPU time. Its rounds take turns.
--
--     lua5.4 bench/tls.lua [echo connections | handshakes]
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")
local build = os.getenv("FERN_BENCH_BUILD") or here .. "../build"

local function on_core(number) return ("ulimit -n 20000; exec taskset -c %d "):format(number) end

local commands = {
  ev = build .. "/bench/tls_ev",
  lua = (arg[-1] or "lua5.4") .. " " .. here .. "tls_echo.lua",
}

local function make_certificate()
  local path = os.tmpname()
  assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    .. " -subj /CN=localhost -keyout %s.key -out %s 2>/dev/null"):format(path, path)))
  return path
end

local function start(kind, certificate)
  local command = ("%s %s %s.key"):format(commands[kind], certificate, certificate)
  local pipe = assert(io.popen(on_core(1) .. command))
  local port, pid = pipe:read("n", "n")
  return { pipe = pipe, port = assert(port, "no server"), pid = pid }
end

local function stop(server)
  os.execute("kill " .. server.pid)
  server.pipe:close()
end

local function load(...)
  local pipe <close> = assert(io.popen(on_core(0) .. build .. "/bench/tls_load " .. table.concat({ ... }, " ")))
  return assert(pipe:read("n"), "the load failed")
end

-- Medians by kind, over `rounds` in which each has its turn.
local function turns(rounds, one)
  local certificate = make_certificate()
  local servers, values = {}, {}
  for kind in pairs(commands) do servers[kind], values[kind] = start(kind, certificate), {} end
  for round = 1, rounds do
    for kind, server in pairs(servers) do values[kind][round] = one(server) end
  end
  for kind, server in pairs(servers) do
    stop(server)
    values[kind] = measure.median(values[kind])
  end
  os.remove(certificate)
  os.remove(certificate .. ".key")
  return values
end

local function row(figure, threads, cost, limit)
  measure.row { figure = figure, threads = threads, value = cost.lua, unit = "µs", baseline = cost.ev,
    limit = limit, aim = limit and 1.05 }
end

local run = {}

function run.echo(connections)
  for _, size in ipairs { 64, 16384 } do
    local count = size == 64 and 50000 or 10000
    row(("TLS echo of %d bytes in Lua"):format(size), connections, turns(7, function(server)
      return load("echo", server.port, server.pid, connections, count, size)
    end), size == 64 and 1.15 or nil)
  end
end

function run.handshakes()
  row("TLS handshake in Lua", 1, turns(7, function(server)
    return load("handshakes", server.port, server.pid, 1000)
  end), 1.15)
end

run[arg[1]](math.tointeger(tonumber(arg[2])))

-- SPDX-License-Identifier: MIT
-- What a TLS server costs in Lua, beside one that is written straight on libev and
-- OpenSSL in C. Servers have one core, who loads them another; what counts is the
-- server's CPU time. Its rounds take turns.
--
--     lua5.4 bench/tls.lua [echo connections | handshakes]
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")
local servers = dofile(here .. "servers.lua")

local function make_certificate()
  local path = os.tmpname()
  assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    .. " -subj /CN=localhost -keyout %s.key -out %s 2>/dev/null"):format(path, path)))
  return path
end

local function load(...) return servers.load("tls_load", ...) end

local function turns(rounds, one, life)
  local certificate = make_certificate()
  local files = (" %s %s.key"):format(certificate, certificate)
  local values = servers.turns(rounds, {
    ev = servers.build .. "/bench/tls_ev" .. files,
    lua = servers.lua .. "tls_echo.lua" .. files,
  }, one, life)
  os.remove(certificate)
  os.remove(certificate .. ".key")
  return values
end

local function row(figure, threads, cost)
  measure.row { figure = figure, threads = threads, value = cost.lua, unit = "µs", baseline = cost.ev,
    limit = 1.15, aim = 1.05 }
end

local run = {}

function run.echo(connections)
  for _, size in ipairs { 64, 16384 } do
    local count, rounds = table.unpack(size == 64 and { 50000, 30 } or { 10000, 80 })
    row(("TLS echo of %d bytes in Lua"):format(size), connections, turns(rounds, function(server)
      return load("echo", server.port, server.pid, connections, count, size)
    end, 2))
  end
end

function run.handshakes()
  row("TLS handshake in Lua", 1, turns(15, function(server)
    return load("handshakes", server.port, server.pid, 1000)
  end))
end

run[arg[1]](math.tointeger(tonumber(arg[2])))

-- SPDX-License-Identifier: MIT
-- What a server costs in C and in Lua, beside one that is raw libev callbacks in
-- C. Servers have one core, who loads them another; what counts is the server's
-- CPU time. Its rounds take turns.
--
--     lua5.4 bench/net.lua [echo connections | stream | idle connections | calls]
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")
local servers = dofile(here .. "servers.lua")

-- Each with `what` it does.
local function commands(what)
  return {
    ev = servers.build .. "/bench/echo_ev " .. what,
    c = servers.build .. "/bench/echo_fern " .. what,
    lua = servers.lua .. "echo.lua " .. what,
  }
end

local function load(...) return servers.load("echo_load", ...) end

local run = {}

function run.echo(connections)
  local given = commands "echo"
  given.pages = commands("pages").ev
  local cost = servers.turns(15, given, function(server)
    return load("echo", server.port, server.pid, connections, 100000)
  end)
  measure.row { figure = "TCP echo by libev, with a page of memory a connection", threads = connections,
    value = cost.pages, unit = "µs", baseline = cost.ev }
  for _, row in ipairs { { "c", "TCP echo in C", 1.05 }, { "lua", "TCP echo in Lua", 1.15 } } do
    measure.row { figure = row[2], threads = connections, value = cost[row[1]], unit = "µs",
      baseline = cost.ev, limit = row[3], aim = row[3] }
  end
end

-- Seconds a GB: less is better.
function run.stream()
  for _, what in ipairs { "sink", "source" } do
    local rate = servers.turns(11, commands(what), function(server) return load(what, server.port) end)
    for _, row in ipairs { { "c", "C" }, { "lua", "Lua" } } do
      measure.row { figure = ("1 GB by a %s in %s"):format(what, row[2]), threads = 1, value = 1 / rate[row[1]],
        unit = "s", baseline = 1 / rate.ev, limit = 1.11, aim = 1.05 }
    end
  end
end

function run.idle(connections)
  local server = servers.start(commands("echo").lua)
  measure.row { figure = "memory of an idle connection with its Lua thread", threads = connections,
    value = load("idle", server.port, connections), unit = "B", limit = 8192, aim = 7800 }
  servers.stop(server)
end

-- How often a server calls `name`, while it answers `requests`.
local function count(name, requests)
  local path = os.tmpname()
  local server = servers.start(("strace -f -c -e trace=%s -o %s %s"):format(name, path, commands("echo").lua))
  load("echo", server.port, server.pid, 100, requests)
  servers.stop(server)
  local text = assert(io.open(path)):read("a")
  os.remove(path)
  return tonumber(text:match("\n%s*[%d.]+%s+[%d.]+%s+%d+%s+(%d+)[%s%d]* " .. name .. "\n")) or 0
end

-- What 10,000 requests more call more.
function run.calls()
  if not os.execute("command -v strace >/dev/null") then return end
  for _, row in ipairs { { "epoll_ctl", 0 }, { "read", 1 }, { "sendto", 1 } } do
    measure.row { figure = row[1] .. " calls a request", threads = 100,
      value = (count(row[1], 20000) - count(row[1], 10000)) / 11000, unit = "", limit = row[2] + 0.005 }
  end
end

run[arg[1]](math.tointeger(tonumber(arg[2])))

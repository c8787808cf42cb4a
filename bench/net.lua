-- SPDX-License-Identifier: MIT
-- What a server costs in C and in Lua, beside one that is raw libev callbacks in
-- C. Servers have one core, who loads them another; what counts is the server's
-- CPU time. Its rounds take turns.
--
--     lua5.4 bench/net.lua [echo connections | stream | idle connections | calls]
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")
local build = os.getenv("FERN_BENCH_BUILD") or here .. "../build"

local function on_core(number) return ("ulimit -n 20000; exec taskset -c %d "):format(number) end

local commands = {
  ev = build .. "/bench/echo_ev",
  c = build .. "/bench/echo_fern",
  lua = (arg[-1] or "lua5.4") .. " " .. here .. "echo.lua",
}

local function start(kind, what, prefix)
  local pipe = assert(io.popen(on_core(1) .. (prefix or "") .. commands[kind] .. " " .. what))
  local port, pid = pipe:read("n", "n")
  return { pipe = pipe, port = assert(port, "no server"), pid = pid }
end

local function stop(server)
  os.execute("kill " .. server.pid)
  server.pipe:close()
end

local function load(...)
  local pipe <close> = assert(io.popen(on_core(0) .. build .. "/bench/echo_load " .. table.concat({ ... }, " ")))
  return assert(pipe:read("n"), "the load failed")
end

-- Medians by kind, over `rounds` in which each has its turn.
local function turns(rounds, what, one)
  local servers, values = {}, {}
  for kind in pairs(commands) do servers[kind], values[kind] = start(kind, what), {} end
  for round = 1, rounds do
    for kind, server in pairs(servers) do values[kind][round] = one(server) end
  end
  for kind, server in pairs(servers) do
    stop(server)
    values[kind] = measure.median(values[kind])
  end
  return values
end

local run = {}

function run.echo(connections)
  local cost = turns(9, "echo", function(server)
    return load("echo", server.port, server.pid, connections, 100000)
  end)
  for _, row in ipairs { { "c", "TCP echo in C", 1.05 }, { "lua", "TCP echo in Lua", 1.15 } } do
    measure.row { figure = row[2], threads = connections, value = cost[row[1]], unit = "µs",
      baseline = cost.ev, limit = row[3], aim = row[3] }
  end
end

-- Seconds a GB: less is better.
function run.stream()
  for _, what in ipairs { "sink", "source" } do
    local rate = turns(7, what, function(server) return load(what, server.port) end)
    for _, row in ipairs { { "c", "C" }, { "lua", "Lua" } } do
      measure.row { figure = ("1 GB by a %s in %s"):format(what, row[2]), threads = 1, value = 1 / rate[row[1]],
        unit = "s", baseline = 1 / rate.ev, limit = 1.11, aim = 1.05 }
    end
  end
end

function run.idle(connections)
  local server = start("lua", "echo")
  measure.row { figure = "memory of an idle connection with its Lua thread", threads = connections,
    value = load("idle", server.port, connections), unit = "B", limit = 8192, aim = 7800 }
  stop(server)
end

-- How often a server calls `name`, while it answers `requests`.
local function count(name, requests)
  local path = os.tmpname()
  local server = start("lua", "echo", ("strace -f -c -e trace=%s -o %s "):format(name, path))
  load("echo", server.port, server.pid, 100, requests)
  stop(server)
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

-- SPDX-License-Identifier: MIT
-- Servers that are measured beside one another: they have one core, who loads
-- them another. A server prints its port and its process id first of all.
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")

local servers = { build = os.getenv("FERN_BENCH_BUILD") or here .. "../build" }

servers.lua = (arg[-1] or "lua5.4") .. " " .. here        -- and a script's name

local function on_core(number) return ("ulimit -n 20000; exec taskset -c %d "):format(number) end

function servers.start_on(core, command)
  local pipe = assert(io.popen(on_core(core) .. command))
  local port, pid = pipe:read("n", "n")
  return { pipe = pipe, port = assert(port, "no server"), pid = pid }
end

function servers.start(command) return servers.start_on(1, command) end

function servers.stop(server)
  os.execute("kill " .. server.pid)
  server.pipe:close()
end

-- The number that `program` of the build prints, given these.
function servers.load(program, ...)
  local command = servers.build .. "/bench/" .. program .. " " .. table.concat({ ... }, " ")
  local pipe <close> = assert(io.popen(on_core(0) .. command))
  return assert(pipe:read("n"), "the load failed")
end

-- Medians of one(server) by the names of `commands`, over `rounds` in which each
-- has its turn.
function servers.turns(rounds, commands, one)
  local running, values = {}, {}
  for kind, command in pairs(commands) do running[kind], values[kind] = servers.start(command), {} end
  for round = 1, rounds do
    for kind, server in pairs(running) do values[kind][round] = one(server) end
  end
  for kind, server in pairs(running) do
    servers.stop(server)
    values[kind] = measure.median(values[kind])
  end
  return values
end

return servers

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
-- has its turn. A process keeps the memory that it was given, which may lie well or
-- badly for the caches: every `life` rounds (nil: never) others take their place.
function servers.turns(rounds, commands, one, life)
  local running, values = {}, {}
  local function stop_all()
    for kind, server in pairs(running) do
      servers.stop(server)
      running[kind] = nil
    end
  end
  for kind in pairs(commands) do values[kind] = {} end
  for round = 1, rounds do
    if life and round % life == 1 % life then stop_all() end
    for kind, command in pairs(commands) do
      running[kind] = running[kind] or servers.start(command)
      values[kind][round] = one(running[kind])
    end
  end
  stop_all()
  for kind, list in pairs(values) do values[kind] = measure.median(list) end
  return values
end

return servers

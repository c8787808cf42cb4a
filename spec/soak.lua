-- SPDX-License-Identifier: MIT
-- soak: thousands of connections that come and go, talk, stall, are killed, reset
-- and time out, for minutes; nothing may be lost, and in the end memory, descriptors
-- and threads are back where they were when the first wave had passed.
--
--     make soak                        -- five minutes, 4,000 connections
--     make soak SECONDS=60 CONNECTIONS=500 SEED=7
--
-- Server and clients are one process. The exit code is 0 if all held.
local fern = require "fern"
local net = require "fern.net"

local SECONDS = tonumber(os.getenv("SECONDS")) or 300
local CONNECTIONS = tonumber(os.getenv("CONNECTIONS")) or 4000
local SEED = tonumber(os.getenv("SEED")) or os.time()
local IDLE <const> = 5                  -- seconds that the server waits for a request
local ANSWER <const> = 60               -- seconds that a client waits for what is due
local BIG <const> = 256 * 1024

math.randomseed(SEED)

local done, faults = {}, {}

local function fault(format, ...)
  faults[#faults + 1] = format:format(...)
  io.stderr:write("fault: ", faults[#faults], "\n")
end

local function bytes(count)
  return (string.char(math.random(32, 126)) .. math.random(1000000)):rep(count // 2 + 1):sub(1, count)
end

-- ---- the server: "echo N" and N bytes; "slow"; "sum" and bytes up to the end

local requests = {}

function requests.echo(connection, size)
  local body = connection:read(tonumber(size), IDLE)
  return body and connection:write(body)
end

function requests.slow()
  fern.sleep(2 * IDLE)
end

function requests.sum(connection)
  local body = connection:read("a", ANSWER)
  return body and connection:write(#body, "\n") and nil
end

local function serve(connection)
  repeat
    local line = connection:read("l", IDLE)
    local name, size = (line or ""):match("^(%l+) ?(%d*)$")
  until not name or not requests[name](connection, size)
end

local listener = assert(net.listen("127.0.0.1", 0))
local _, port = listener:address()
local server = net.server(listener, serve, { max = 2 * CONNECTIONS })
local serving = fern.spawn(server.serve, server)

-- ---- the clients: each does one thing and comes back

local function connect()
  local connection, message = net.connect("127.0.0.1", port, { timeout = ANSWER })
  if not connection then fault("connect: %s", message) end
  return connection
end

local function expect(what, got, wanted, message)
  if got ~= wanted then
    fault("%s: %s instead of %s (%s)", what, tostring(got):sub(1, 40), tostring(wanted):sub(1, 40), tostring(message))
  end
  return got == wanted
end

local function exchange(connection, size)
  local text = bytes(size)
  assert(connection:write("echo ", size, "\n", text))
  local answer, message = connection:read(size, ANSWER)
  return expect("echo", answer, text, message)
end

local doings = {}

function doings.talk(connection)
  for _ = 1, math.random(10) do
    if not exchange(connection, math.random(4000)) then return end
    fern.sleep(math.random() * 0.05)
  end
end

function doings.big(connection)
  fern.spawn(function() connection:write("echo ", BIG, "\n", bytes(BIG)) end)
  local answer, message = connection:read(BIG, ANSWER)
  expect("big", answer and #answer, BIG, message)
end

function doings.stall(connection)
  connection:write("echo 100\nnot all of ")
  local answer, message = connection:read("l", ANSWER)
  expect("stall", answer or message, "closed", message)
end

function doings.silent(connection)
  local answer, message = connection:read("l", ANSWER)
  expect("silent", answer or message, "closed", message)
end

function doings.time_out(connection)
  connection:write("slow\n")
  local answer, message = fern.timeout(math.random() * 0.3, connection.read, connection)
  expect("time_out", answer or message, "timeout", message)
end

function doings.killed(connection)
  local victim = fern.spawn(function()
    while exchange(connection, math.random(2000)) do fern.sleep(0) end
  end)
  fern.sleep(math.random() * 0.05)
  victim:kill()
  expect("killed", select("#", victim:join()), 2)
end

function doings.reset(connection)
  connection:setoption("linger", 0)
  connection:write("echo ", BIG, "\n", bytes(1000))
end

function doings.half_close(connection)
  local size = math.random(20000)
  connection:write("sum\n", bytes(size))
  connection:shutdown("write")
  local answer, message = connection:read("l", ANSWER)
  expect("half_close", tonumber(answer), size, message)
end

function doings.closed_by_another(connection)
  local reader = fern.spawn(connection.read, connection, "l")
  fern.sleep(math.random() * 0.02)
  connection:close()
  local _, _, code = reader:wait(ANSWER)
  expect("closed_by_another", code, "EBADF")
end

local lots = { "talk", "talk", "talk", "talk", "talk", "talk", "big", "stall", "silent", "time_out",
  "time_out", "killed", "killed", "reset", "half_close", "closed_by_another" }

local function client(ends)
  while fern.now() < ends do
    local name = lots[math.random(#lots)]
    local connection <close> = connect()
    if not connection then return end
    doings[name](connection)
    done[name] = (done[name] or 0) + 1
  end
end

-- ---- waves, and what is left when one has passed

local function wave(seconds)
  local ends, clients = fern.now() + seconds, {}
  for i = 1, CONNECTIONS do
    clients[i] = fern.spawn(client, ends)
    if i % 50 == 0 then fern.sleep(0) end
  end
  for _, thread in ipairs(clients) do
    local ok, err = thread:join()
    if not ok then fault("a client ended: %s", tostring(err)) end
  end
end

local function descriptors()
  local stat <close> = assert(io.open("/proc/self/stat"))
  local pipe <close> = assert(io.popen(("ls /proc/%d/fd | wc -l"):format(stat:read("n"))))
  return pipe:read("n")
end

local function resident()
  local file <close> = assert(io.open("/proc/self/status"))
  return tonumber(file:read("a"):match("VmRSS:%s*(%d+)"))
end

-- All handlers have ended, or a while has passed.
local function settle()
  local ends = fern.now() + ANSWER
  while server:statistics().connections > 0 and fern.now() < ends do fern.sleep(0.01) end
  fern.sleep(1.5)                       -- idle workers go
  collectgarbage()
  collectgarbage()
  local stats = fern.debug.stats()
  return { memory = resident(), lua = collectgarbage("count") // 1, descriptors = descriptors(),
    threads = stats.threads, timers = stats.timers, listeners = stats.listeners,
    connections = server:statistics().connections }
end

local function show(when, state)
  print(("%s: %d KB resident, %.0f KB of Lua's, %d descriptors, %d threads, %d timers"):format(
    when, state.memory, state.lua, state.descriptors, state.threads, state.timers))
end

local function compare(before, after)
  for _, name in ipairs { "descriptors", "threads", "timers", "listeners", "connections" } do
    if after[name] ~= before[name] then fault("%s: %d, and %d before", name, after[name], before[name]) end
  end
  for _, name in ipairs { "memory", "lua" } do
    if after[name] > before[name] * 1.15 + 2048 then
      fault("%s: %.0f KB, and %.0f before", name, after[name], before[name])
    end
  end
end

print(("soak: %d connections for %g s, seed %d"):format(CONNECTIONS, SECONDS, SEED))
local first = math.min(30, SECONDS / 5)
wave(first)
local before = settle()
show("after the first wave", before)
done = {}
wave(SECONDS - first)
local after = settle()
show("after the last", after)
compare(before, after)

local names, total = {}, 0
for name, count in pairs(done) do
  names[#names + 1] = ("%s %d"):format(name, count)
  total = total + count
end
table.sort(names)
print(("%d connections: %s"):format(total, table.concat(names, ", ")))
server:stop(5)
serving:join()
print(#faults == 0 and "nothing was lost" or ("%d faults"):format(#faults))
os.exit(#faults == 0, true)

-- SPDX-License-Identifier: MIT
-- Fetches a page of 1 KB from nginx on loopback, some at once: the CPU time of
-- bench/fetch.lua beside that of bench/fetch.c, and requests a second beside
-- bench/fetch.go, if Go is there.
--
--     lua5.4 bench/web.lua [at once...]
local here = arg[0]:match("^.*/") or ""
local measure = dofile(here .. "measure.lua")
local build = os.getenv("FERN_BENCH_BUILD") or here .. "../build"
local lua = arg[-1]
local requests, rounds = 10000, 7

local config = [[
%s
worker_processes 1;
pid nginx.pid;
error_log error.log;
worker_rlimit_nofile 8192;
events { worker_connections 4000; }
http {
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
  uwsgi_temp_path temp; scgi_temp_path temp;
  server { listen 127.0.0.1:%d backlog=4096; root www; }
}
]]

local function output(command, ...)
  local pipe <close> = io.popen(command:format(...))
  return pipe:read("a"):gsub("%s+$", "")
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

-- Some of the ports may be taken: try others.
local function start_nginx(dir)
  local root = output("id -u") == "0"
  local start = "PATH=$PATH:/usr/sbin nginx -p '%s/' -c nginx.conf -e error.log 2>>'%s/start.log'"
  os.execute(("mkdir -p '%s/www'"):format(dir))
  write_file(dir .. "/www/page.txt", ("x"):rep(1023) .. "\n")
  for _ = 1, 20 do
    local port = math.random(20000, 29000)
    write_file(dir .. "/nginx.conf", config:format(root and "user root;" or "", port))
    if os.execute(start:format(dir, dir)) then
      return ("http://127.0.0.1:%d/page.txt"):format(port)
    end
  end
end

local function closing(fn) return setmetatable({}, { __close = fn }) end

-- Runs a client: requests a second, and microseconds of CPU time a request.
local function run(command, url, at_once)
  local text = output("no_proxy='*' %s '%s' %d %d", command, url, requests, at_once)
  local count, seconds, cpu = text:match("^(%d+)\t(%S+)\t(%S+)$")
  if tonumber(count) ~= requests then error(("%s: %s"):format(command, text)) end
  return requests / tonumber(seconds), tonumber(cpu) / requests * 1e6
end

-- Medians over the rounds in which the clients take turns.
local function compare(clients, url, at_once)
  local rates, costs = {}, {}
  for name in pairs(clients) do rates[name], costs[name] = {}, {} end
  for round = 1, rounds do
    for name, command in pairs(clients) do
      rates[name][round], costs[name][round] = run(command, url, at_once)
    end
  end
  local rate, cost = {}, {}
  for name in pairs(clients) do
    rate[name], cost[name] = measure.median(rates[name]), measure.median(costs[name])
  end
  return rate, cost
end

local function leave_out(why)
  io.stderr:write("fetching is left out: ", why, "\n")
  os.exit(0)
end

if not io.open(build .. "/bench/fetch") then leave_out("it was built without libcurl") end
local dir = output("mkdir -p '%s/bench/site' && cd '%s/bench/site' && pwd", build, build)
local url = start_nginx(dir)
if not url then leave_out("nginx does not start, see " .. dir .. "/start.log") end
local _ <close> = closing(function() os.execute(("kill $(cat '%s/nginx.pid')"):format(dir)) end)

local clients = { fern = lua .. " " .. here .. "fetch.lua", c = build .. "/bench/fetch" }
local go = build .. "/bench/fetch-go"
if os.execute(("command -v go >/dev/null && go build -o '%s' '%sfetch.go'"):format(go, here)) then clients.go = go end

for _, at_once in ipairs(#arg > 0 and measure.arguments(1) or { 10, 100, 200, 1000 }) do
  local rate, cost = compare(clients, url, at_once)
  measure.row { figure = "fetch a page: CPU time beside C", threads = at_once, value = cost.fern, unit = "us",
    baseline = cost.c, limit = at_once == 200 and 1.4 or nil }
  measure.row { figure = "fetch a page: a second, beside Go", threads = at_once, value = rate.fern, unit = "/s",
    baseline = rate.go }
  measure.row { figure = "fetch a page: a second, beside C", threads = at_once, value = rate.fern, unit = "/s",
    baseline = rate.c }
end

-- SPDX-License-Identifier: MIT
-- Fetches one page many times, some at once: what it costs beside bench/fetch.c
-- and bench/fetch.go, which do the same.
--
--     lua5.4 bench/fetch.lua URL [requests [at once]]
--
-- Prints requests, seconds, and CPU seconds (user and system).
local fern = require "fern"
local http = require "fern.http"

local url = assert(arg[1], "usage: fetch.lua URL [requests [at once]]")
local requests = math.tointeger(tonumber(arg[2] or 20000))
local at_once = math.tointeger(tonumber(arg[3] or 200))

local urls = {}
for i = 1, requests do urls[i] = url end

local function fetch(page)
  local response = assert(http.get(page))
  assert(response.status == 200)
  return response
end

local wall, cpu, ended = fern.now(), os.clock(), 0
for _ in fern.pool(at_once):imap(fetch, urls) do ended = ended + 1 end
print(("%d\t%.6f\t%.6f"):format(ended, fern.now() - wall, os.clock() - cpu))

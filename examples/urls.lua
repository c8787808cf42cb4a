-- SPDX-License-Identifier: MIT
-- urls: fetch many pages at once, and tell their lengths in order.

local USAGE <const> = [[
usage: lua5.4 examples/urls.lua [--debug] [URL...]
  URL         a page to fetch; without any it serves itself a site of 100: see site.lua
  --debug     every fetch prints what timers and listeners there are, and who made them
]]

local fern = require "fern"
local http = require "fern.http"

if arg[1] == "--help" or arg[1] == "-h" then
  io.write(USAGE)
  os.exit(true)
end

local debug = arg[1] == "--debug" and table.remove(arg, 1) and fern.debug
if debug then
  debug.hub_timer_stacks(true)
  debug.hub_listener_stacks(true)
end

local function fetch(url)
  if debug then
    print(debug.format_hub_timers())
    print(debug.format_hub_listeners())
  end
  local started = fern.now()
  local response, problem = http.get(url)
  return url, response and response.body, problem, fern.now() - started
end

package.path = arg[0]:gsub("[^/]*$", "?.lua;") .. package.path
local urls = #arg > 0 and arg or require("site")()

local pool = fern.pool(200)
local started, one_by_one, failures = fern.now(), 0, 0
for url, body, problem, seconds in pool:imap(fetch, urls) do
  if body then
    print(("got body from %s of length %d"):format(url, #body))
  else
    print("got nothing: " .. problem)
    failures = failures + 1
  end
  one_by_one = one_by_one + seconds
end

print(("%d of %d pages in %.2f s; one after another: %.2f s")
  :format(#urls - failures, #urls, fern.now() - started, one_by_one))
os.exit(failures == 0, true)

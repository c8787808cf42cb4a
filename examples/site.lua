-- SPDX-License-Identifier: MIT
-- site: a web site on loopback, for the other examples to fetch: 100 pages,
-- each with a length and a latency (up to 0.3 s) of its own. A green thread
-- serves each connection, in straight lines.
--
--    lua5.4 examples/site.lua [port]     serves it, and prints its URLs
--    local urls = require("site")()      serves it from this process

local fern = require "fern"
local net = require "fern.net"

local PAGES <const> = 100

-- Whatever there is to know of a page follows from its number.
local function latency_of(page) return page * 37 % 100 * 0.003 end
local function length_of(page) return 100 + page * 7919 % 20000 end

local function body_of(page)
  local line = ("This is page %d.\n"):format(page)
  return line:rep(length_of(page) // #line + 1):sub(1, length_of(page))
end

local function answer(connection, status, body)
  return connection:write("HTTP/1.1 ", status, "\r\nContent-Type: text/plain\r\n",
    "Content-Length: ", #body, "\r\n\r\n", body)
end

-- The path that is asked for, and whether another request may follow.
local function read_request(connection)
  local request, keep = connection:read(), true
  for header in function() return connection:read() end do
    if header == "\r" then return request:match("^GET (%S+) HTTP/1%.1\r$"), keep end
    if header:lower():find("^connection:%s*close") then keep = false end
  end
end

local function talk(visitor)
  local connection <close> = visitor
  repeat
    local path, keep = read_request(connection)
    if not path then return end
    local page = tonumber(path:match("^/page/(%d+)$"))
    local sent
    if page and page >= 1 and page <= PAGES then
      fern.sleep(latency_of(page))
      sent = answer(connection, "200 OK", body_of(page))
    else
      sent = answer(connection, "404 Not Found", "There is no such page.\n")
    end
  until not (sent and keep)
end

local function serve(listener)
  while true do fern.spawn(talk, assert(listener:accept())) end
end

local function start(port)
  local listener = assert(net.listen("127.0.0.1", port or 0))
  local host, number = listener:address()
  fern.spawn(serve, listener)
  local urls = {}
  for page = 1, PAGES do
    urls[page] = ("http://%s:%d/page/%d"):format(host, number, page)
  end
  return urls
end

if arg and arg[0] and arg[0]:find("site%.lua$") then
  print(table.concat(start(tonumber(arg[1])), "\n"))
  io.stdout:flush()
  fern.waitall()
end

return start

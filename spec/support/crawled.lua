-- SPDX-License-Identifier: MIT
-- crawled: a web site for a crawler, in a process of its own. It prints its URL; what
-- was asked for, and how much at once, is at /seen.
local fern = require "fern"
local net = require "fern.net"

local pages = {
  ["/robots.txt"] = "User-agent: other\nDisallow: /\n\nUser-agent: *\nDisallow: /private\nAllow: /private/open\n",
  ["/"] = '<a href="/a">a</a> <A HREF=b/>b</A> <a href="http://other.invalid/">other</a> <a href="mailto:x@y">mail</a>',
  ["/a"] = '<a href="a">itself</a> <a href="/private/x">no</a> <a href="private/open">yes</a> <a href="/missing">no</a>',
  ["/b/"] = '<a href="../c/../d?q=1&amp;r=2#top">d</a> <a class="x" href=\'./e\'>e</a>',
  ["/d?q=1&r=2"] = '<a href="?q=2">next</a>',
  ["/d?q=2"] = "the last",
  ["/b/e"] = '<a href="//%s/a">back</a>',
  ["/private/open"] = "open",
}

local seen, now, most = {}, 0, 0

local function answer(connection, path)
  if path == "/seen" then return "200 OK", most .. " " .. table.concat(seen, " ") end
  seen[#seen + 1] = path
  now = now + 1
  most = math.max(most, now)
  fern.sleep(0.01)
  now = now - 1
  if not pages[path] then return "404 Not Found", "" end
  local host, port = connection:address()
  return "200 OK", (pages[path]:gsub("%%s", host .. ":" .. port))
end

local function talk(connection)
  local _ <close> = connection
  for request in function() return connection:read() end do
    for header in function() return connection:read() end do
      if header == "\r" then break end
    end
    local status, body = answer(connection, request:match("^GET (%S+)"))
    connection:write("HTTP/1.1 ", status, "\r\nContent-Type: text/html\r\nContent-Length: ", #body, "\r\n\r\n", body)
  end
end

local listener = assert(net.listen("127.0.0.1", 0))
print(("http://%s:%d/"):format(listener:address()))
io.stdout:flush()
while true do fern.spawn(talk, assert(listener:accept())) end

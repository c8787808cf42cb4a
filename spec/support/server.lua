-- SPDX-License-Identifier: MIT
-- server: a server on a raw socket that behaves as badly as a spec wants. Each
-- connection is given to `handler` in a thread of its own.
--
--    local server <close> = serve(function(connection) connection:write("garbage") end)
--    http.get(server.url)

local fern = require "fern"
local net = require "fern.net"

local server = {}
server.__index = server

-- Reads a request: its first line, its headers (a table by lower-case name),
-- its body; and all of it as it came.
function server.read_request(connection)
  local first = connection:read("L")
  if not first then return nil end
  local all, headers = { first }, {}
  for line in function() return connection:read("L") end do
    all[#all + 1] = line
    local name, value = line:match("^([^:]+):%s*(.-)\r\n$")
    if not name then break end
    headers[name:lower()] = value
  end
  local length = tonumber(headers["content-length"] or 0)
  local body = length > 0 and connection:read(length) or ""
  all[#all + 1] = body
  return first:sub(1, -3), headers, body, table.concat(all)
end

-- A whole answer.
function server.answer(connection, body, extra)
  return connection:write("HTTP/1.1 200 OK\r\nContent-Length: ", #body, "\r\n", extra or "", "\r\n", body)
end

-- Never comes back: whoever waits for us waits until somebody gives up.
function server.stall()
  fern.sleep(math.huge)
end

-- What goes wrong with a connection is what the spec wants; what the handler
-- itself does wrong is kept, and raised by close.
local function talk(self, handler, connection)
  local held <close> = connection
  local ok, err = pcall(handler, held, self)
  if not ok and not fern.is_killed(err) then self.err = err end
end

function server.serve(handler)
  local self = setmetatable({ threads = {}, accepted = 0 }, server)
  self.listener = assert(net.listen("127.0.0.1", 0))
  self.port = select(2, self.listener:address())
  self.url = ("http://127.0.0.1:%d/"):format(self.port)
  self.threads[1] = fern.spawn(function()
    while true do
      local connection = self.listener:accept()
      if not connection then return end
      self.accepted = self.accepted + 1
      self.threads[#self.threads + 1] = fern.spawn(talk, self, handler, connection)
    end
  end)
  return self
end

function server:close()
  for _, thread in ipairs(self.threads) do thread:kill() end
  for _, thread in ipairs(self.threads) do thread:join() end
  self.listener:close()
  if self.err then error(self.err, 0) end
end

server.__close = server.close

return server

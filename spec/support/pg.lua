-- SPDX-License-Identifier: MIT
-- pg: a small driver for PostgreSQL over LuaSocket's API, of the kind that people
-- have: it knows nothing of green threads, and never will. The wire protocol, version 3,
-- is described in PostgreSQL's manual, "Frontend/Backend Protocol"; SCRAM-SHA-256 in
-- RFC 7677.
--
--     local db = assert(pg.connect { host = "127.0.0.1", port = 5432, user = "u", password = "p" })
--     local rows = assert(db:query("select 1 as one"))             -- rows[1].one == 1
--     rows = assert(db:execute("select $1::int + 1 as more", 41))  -- in the extended protocol
--     db:close()
--
-- What fails gives nil and a message; the connection stands if the server made it.
local socket = require "socket"
local mime = require "mime"
local sha256 = require "spec.support.sha256"

local pg = {}
local methods = {}
local meta = { __index = methods, __close = function(self) self:close() end }

-- ---- messages

local function send(self, kind, payload)
  return self.socket:send(kind .. (">I4"):pack(#payload + 4) .. payload)
end

local function receive(self)
  local head, why = self.socket:receive(5)
  if not head then return nil, why end
  local kind, length = ("c1>I4"):unpack(head)
  local payload = length == 4 and "" or nil
  if not payload then
    payload, why = self.socket:receive(length - 4)
    if not payload then return nil, why end
  end
  return kind, payload
end

local function error_text(payload)
  local fields = {}
  for name, value in payload:gmatch("(%a)(%Z*)\0") do fields[name] = value end
  return ("%s (%s)"):format(fields.M, fields.C)
end

-- ---- authentication

local salted = {}                       -- stretching is slow: once for each salt

local function salted_password(password, salt, rounds)
  local key = ("%s\0%s\0%d"):format(password, salt, rounds)
  salted[key] = salted[key] or sha256.stretch(password, salt, rounds)
  return salted[key]
end

local function nonce()
  local bytes = {}
  for i = 1, 18 do bytes[i] = string.char(math.random(0, 255)) end
  return (mime.b64(table.concat(bytes)))
end

local function expect(self, wanted)
  local kind, payload = receive(self)
  if not kind then return nil, payload end
  if kind == "E" then return nil, error_text(payload) end
  if kind ~= "R" then return nil, "unexpected message " .. kind end
  local code, rest = (">I4"):unpack(payload)
  if code ~= wanted then return nil, "authentication step " .. code .. " is not known" end
  return payload:sub(rest)
end

local function scram(self, password)
  local bare = "n=,r=" .. nonce()
  local first = "n,," .. bare
  send(self, "p", "SCRAM-SHA-256\0" .. (">s4"):pack(first))
  local challenge, why = expect(self, 11)
  if not challenge then return nil, why end
  local server_nonce, salt, rounds = challenge:match("^r=([^,]+),s=([^,]+),i=(%d+)$")
  local last = "c=biws,r=" .. server_nonce
  local text = bare .. "," .. challenge .. "," .. last
  local secret = salted_password(password, (mime.unb64(salt)), math.tointeger(rounds))
  local client = sha256.hmac(secret, "Client Key")
  local proof = sha256.xor(client, sha256.hmac(sha256.hash(client), text))
  send(self, "p", last .. ",p=" .. mime.b64(proof))
  local answer
  answer, why = expect(self, 12)
  if not answer then return nil, why end
  local server = sha256.hmac(sha256.hmac(secret, "Server Key"), text)
  if answer ~= "v=" .. mime.b64(server) then return nil, "the server does not know the password" end
  return expect(self, 0)
end

local function authenticate(self, password)
  local kind, payload = receive(self)
  if not kind then return nil, payload end
  if kind == "E" then return nil, error_text(payload) end
  local code, rest = (">I4"):unpack(payload)
  if code == 0 then return true end
  if code == 10 and payload:find("SCRAM-SHA-256\0", rest, true) then return scram(self, password) end
  return nil, "authentication method " .. code .. " is not known"
end

-- ---- results

local converters = {
  [16] = function(text) return text == "t" end,
  [20] = math.tointeger, [21] = math.tointeger, [23] = math.tointeger,
  [700] = tonumber, [701] = tonumber,
}

local function read_columns(payload)
  local count, at = (">I2"):unpack(payload)
  local columns = {}
  for i = 1, count do
    local fields = { (">zI4I2I4I2I4I2"):unpack(payload, at) }
    columns[i] = { name = fields[1], convert = converters[fields[4]] }
    at = fields[8]
  end
  return columns
end

local function read_row(columns, payload)
  local at, row = 3, {}
  for _, column in ipairs(columns) do
    local length
    length, at = (">i4"):unpack(payload, at)
    if length >= 0 then
      local text = payload:sub(at, at + length - 1)
      row[column.name] = column.convert and column.convert(text) or text
      at = at + length
    end
  end
  return row
end

-- Everything until the server is ready again: the rows, or nil and the first error.
local function read_result(self)
  local columns, rows, failure = {}, {}, nil
  while true do
    local kind, payload = receive(self)
    if not kind then return nil, payload end
    if kind == "T" then columns = read_columns(payload)
    elseif kind == "D" then rows[#rows + 1] = read_row(columns, payload)
    elseif kind == "C" then rows.command = payload:match("%Z*")
    elseif kind == "A" then
      local _, channel, text = (">I4zz"):unpack(payload)
      self.notifications[#self.notifications + 1] = { channel = channel, payload = text }
    elseif kind == "E" then failure = failure or error_text(payload)
    elseif kind == "Z" then
      if failure then return nil, failure end
      return rows
    end
  end
end

-- ---- what people call

function pg.connect(options)
  local self = setmetatable({ socket = socket.tcp(), notifications = {} }, meta)
  local ok, why = self.socket:connect(options.host, options.port)
  if not ok then return nil, why end
  self.socket:setoption("tcp-nodelay", true)
  local startup = (">I4zzzzz"):pack(196608, "user", options.user, "database",
    options.database or options.user, "")
  self.socket:send((">I4"):pack(#startup + 4) .. startup)
  ok, why = authenticate(self, options.password or "")
  if ok then ok, why = read_result(self) end
  if not ok then
    self.socket:close()
    return nil, why
  end
  return self
end

-- The simple protocol: one string, perhaps of several statements.
function methods:query(sql)
  send(self, "Q", sql .. "\0")
  return read_result(self)
end

local function pack_parameter(value)
  return value == nil and (">i4"):pack(-1) or (">s4"):pack(tostring(value))
end

-- The extended one: parse, bind, describe, execute and sync go out together.
function methods:execute(sql, ...)
  local parameters = table.pack(...)
  local bind = { ("\0\0") .. (">I2I2"):pack(0, parameters.n) }
  for i = 1, parameters.n do bind[#bind + 1] = pack_parameter(parameters[i]) end
  bind[#bind + 1] = (">I2"):pack(0)
  send(self, "P", "\0" .. sql .. "\0" .. (">I2"):pack(0))
  send(self, "B", table.concat(bind))
  send(self, "D", "P\0")
  send(self, "E", "\0" .. (">I4"):pack(0))
  send(self, "S", "")
  return read_result(self)
end

function methods:close()
  if not self.socket then return end
  send(self, "X", "")
  self.socket:close()
  self.socket = nil
end

return pg

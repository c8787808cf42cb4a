-- SPDX-License-Identifier: MIT
-- http.sending: bodies that come in pieces, from functions, streams and files.
-- A thread of its own feeds them to the request, so that whoever makes one may
-- wait; it is killed when the request is over before it.

local fern = require "fern"
local fs = require "fern.fs"
local core = require "fern.http.core"

local sending = {}

local PIECE <const> = 65536

local function can_read(value)
  local kind = type(value)
  if kind ~= "table" and kind ~= "userdata" then return false end
  local ok, method = pcall(function() return value.read_some end)
  return ok and method ~= nil
end

-- A function, a stream, or a file of io's.
function sending.is_source(value)
  return type(value) == "function" or io.type(value) == "file" or can_read(value)
end

-- A function that gives the next piece; nil at the end; or nil, message, code.
local function reader_of(source)
  if type(source) == "function" then return source end
  if io.type(source) then
    return function()
      local piece, message = source:read(PIECE)
      return piece, message, message and "EIO"
    end
  end
  return function()
    local piece, message, code = source:read_some()
    if piece == nil and code ~= "EPIPE" then return nil, message, code end
    return piece
  end
end

-- ---- a feed: all that one request sends in pieces

local feed = {}
feed.__index = feed

function sending.new() return setmetatable({ uploads = {} }, feed) end

-- Returns the file and its size, nil if it is none on a disk.
local function open(path)
  local file, message, code = fs.open(path)
  local stat = file
  if file then stat, message, code = file:stat() end
  if not stat then return nil, message, code end
  return file, stat.type == "file" and stat.size or nil
end

-- An upload for `source`, or for the file of this name.
function feed:add(source, path, size)
  if path then
    local code
    source, size, code = open(path)
    if not source then return nil, size, code end
  end
  local upload = core.upload(size)
  self.uploads[#self.uploads + 1] = { upload = upload, read = reader_of(source), file = path and source }
  return upload
end

-- Returns nothing, or message and code of a source that failed.
local function pump(upload, read)
  while true do
    local piece, message, code = read()
    if piece == nil then return message, code end
    if type(piece) ~= "string" then
      error(("bad body (string expected, got %s)"):format(type(piece)), 0)
    end
    if not upload:write(piece) then return end          -- nobody wants the rest
  end
end

local function run_one(self, one)
  local _ <close> = one.file or nil
  if not one.upload:begin() then return false end
  local ok, message, code = pcall(pump, one.upload, one.read)
  if ok and message then self.message, self.code = message, code end
  if not ok and not fern.is_killed(message) then self.raised = { message } end
  one.upload:finish(not ok or message ~= nil)
  if not ok and (fern.is_killed(message) or self.detached) then error(message, 0) end
  return ok and not message
end

local function run(self)
  for _, one in ipairs(self.uploads) do
    if not run_one(self, one) then return end
  end
end

-- Whatever became of the request, nobody feeds it any more.
local leaving = { __close = function(pair)
  if not pair[1].detached then pair[2]:kill() end
end }

-- Sends a request, with what is to be fed to it.
function feed:send(url, plain)
  if #self.uploads == 0 then return core.request(url, plain) end
  local feeder = fern.spawn(run, self)
  local _ <close> = setmetatable({ self, feeder }, leaving)
  local response, message, code = core.request(url, plain)
  if response and plain.stream then
    self.detached = true                -- it may go on; nobody asks for its error
    return response
  end
  feeder:kill()
  feeder:join()
  if response then return response end
  if self.raised then error(self.raised[1], 0) end
  if self.message then return nil, url .. ": " .. tostring(self.message), self.code end
  return nil, message, code
end

return sending

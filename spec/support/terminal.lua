-- SPDX-License-Identifier: MIT
-- terminal: a program at a terminal of its own, 80 columns wide, and us in the
-- person's place.
--
--    local screen <close> = terminal.start(command)
--    screen:expect "> "       -- all until then, or an error with what came
--    screen:type "1 + 1\n"

local fern = require "fern"
local unix = require "spec.support.unix"

local terminal = {}
terminal.__index = terminal

local PATIENCE <const> = 30             -- seconds

function terminal.start(command)
  local fd, pid = unix.terminal(command)
  return setmetatable({ fd = assert(fd, pid), pid = pid, seen = "" }, terminal)
end

function terminal:type(text) assert(unix.write(self.fd, text)) end

-- More of what it writes; nil once it has ended.
local function read_more(self)
  local ok, message = fern.trampoline(self.fd, "r", PATIENCE)
  if not ok then error(("%s after:\n%s"):format(message, self.seen), 0) end
  local text = unix.read(self.fd)
  if not text or text == "" then return nil end
  self.seen = self.seen .. text:gsub("\r", "")
  return true
end

-- Waits until it has written `text` (no pattern). Returns what stands before that.
function terminal:expect(text)
  while true do
    local first, last = self.seen:find(text, 1, true)
    if first then
      local before = self.seen:sub(1, first - 1)
      self.seen = self.seen:sub(last + 1)
      return before
    end
    if not read_more(self) then error(("it ended without '%s' after:\n%s"):format(text, self.seen), 0) end
  end
end

-- Waits until it takes each key by itself: until then the system shows them, too.
function terminal:edits()
  local limit = fern.now() + PATIENCE
  while unix.echoes(self.fd) do
    if fern.now() > limit then error("nobody edits after:\n" .. self.seen, 0) end
    fern.sleep(0.001)
  end
end

-- Waits for its end. Returns all that it has written, and its status (a signal's
-- number is negative).
function terminal:finish()
  repeat until not read_more(self)
  local how, number = unix.wait(self.pid)
  self.pid = nil
  return self.seen, how == "signal" and -number or number
end

function terminal:__close()
  if self.pid then
    unix.kill(self.pid, 9)
    unix.wait(self.pid)
  end
  unix.close(self.fd)
end

return terminal

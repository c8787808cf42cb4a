-- SPDX-License-Identifier: MIT
-- signal: signals of this process, by name ("TERM", "SIGTERM") or number.
--
--    signal.wait(name [, timeout])   the next one, or one that came since the last wait
--    signal.on(name, fn)             fn(name) in a green thread for each; :close() ends that
--    signal.open(name)               :wait([timeout]), :count(), :is_open(), :close(); for fern.wait, too
--    signal.ignore(name)             from now on
--    signal.default(name)            does again what it did before any of these
--    signal.send(pid, name)  signal.name(number)  signal.number(name)
--
-- What is waited for, or on, is caught from then on: it does not do what it did before.

local fern = require "fern"
local core = require("fern.core").signal
local misuse = require "fern.misuse"

local signal = { open = core.open, send = core.send, name = core.name, number = core.number }

-- Those of signal.wait: name -> one that stays open, so that none is lost
-- between two waits.
local waited = {}

-- A forked child's are closed.
local function opened(name)
  local one, message, code = waited[name]
  if one and one:is_open() then return one end
  one, message, code = misuse.call("wait", nil, core.open, name)
  waited[name] = one
  return one, message, code
end

function signal.wait(name, timeout)
  name = misuse.call("wait", nil, core.name, name)
  local one, message, code = opened(name)
  if not one then return nil, message, code end
  local ok
  ok, message, code = misuse.call("wait", nil, one.wait, one, timeout)
  if ok then return name end
  return nil, message, code
end

-- ---- on --------------------------------------------------------------

local subscription = {}
subscription.__index = subscription
subscription.__name = "fern.signal.subscription"

function subscription:close()
  local one = self.one
  self.one = nil
  if one then one:close() end
  return true
end

subscription.__close = subscription.close

misuse.methods(subscription)

function subscription:__tostring()
  return ("fern.signal.subscription (%s%s)"):format(self.name, self.one and "" or ", closed")
end

-- Each call has a thread of its own: one that takes its time, or fails, is no
-- matter to the next.
local function serve(one, name, fn)
  while core.rest(one) do fern.spawn(fn, name) end
end

function signal.on(name, fn)
  name = misuse.call("on", nil, core.name, name)
  if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
    misuse.raise("bad argument #2 to 'on' (function expected, got %s)", type(fn))
  end
  local one, message, code = misuse.call("on", nil, core.open, name)
  if not one then return nil, message, code end
  local self = setmetatable({ name = name, one = one }, subscription)
  core.attends(fern.spawn(serve, one, name, fn))
  return self
end

-- ---- what the process does -------------------------------------------

local function forget(name)
  local one = waited[name]
  waited[name] = nil
  if one then one:close() end
end

function signal.ignore(name)
  name = misuse.call("ignore", nil, core.name, name)
  forget(name)
  return misuse.call("ignore", nil, core.ignore, name)
end

function signal.default(name)
  name = misuse.call("default", nil, core.name, name)
  forget(name)
  return misuse.call("default", nil, core.restore, name)
end

return signal

-- SPDX-License-Identifier: MIT
-- parked: threads that are parked in every kind of wait, and the count of what
-- they close when they are unwound. A script that uses it says at its very
-- end, after everything that is unwound is, "closed C of O".

local parked = { opened = 0, closed = 0 }

-- An embedder may want to be told by a function.
local tell = rawget(_G, "tell_closed") or function(closed, opened)
  io.stdout:write(("closed %d of %d\n"):format(closed, opened))
end

-- Older than what `fern` makes, so finalized after it.
parked.last = setmetatable({}, { __gc = function() tell(parked.closed, parked.opened) end })

local fern = require "fern"
local unix = require "spec.support.unix"

local EVER = 1e9

-- A value to be closed; it has work to do then.
function parked.closing()
  parked.opened = parked.opened + 1
  return setmetatable({}, { __close = function()
    local sum = 0
    for i = 1, 10 do sum = sum + i end
    parked.closed = parked.closed + sum // 55
  end })
end

local closing = parked.closing

-- Waits for ever, with something to be closed where it is.
local function park()
  local _ <close> = closing()
  fern.sleep(EVER)
end

-- Closes another `seconds` later, and then counts.
local function slow_closing(seconds)
  local counted = closing()
  return setmetatable({}, { __close = function()
    local _ <close> = counted
    fern.sleep(seconds)
  end })
end

local function nest(depth)
  if depth == 0 then return park() end
  coroutine.wrap(nest)(depth - 1)
end

local endless, full, busy

local kinds = {
  { "sleep", park },
  { "join", function() endless:join() end },
  { "wait", function() endless:wait() end },
  { "join with a timeout", function() endless:join(EVER) end },
  { "waitall", function() fern.waitall() end },
  { "trampoline", function() fern.trampoline((unix.pipe()), "r") end },
  { "trampoline with a timeout", function() fern.trampoline((unix.pipe()), "r", EVER) end },
  { "deadline", function()
    local _ <close> = fern.deadline(EVER)
    park()
  end },
  { "timeout", function() fern.timeout(EVER, park) end },
  { "deadlines in each other", function() fern.timeout(EVER, fern.timeout, EVER, park) end },
  { "nested coroutine", function() nest(1) end },
  { "coroutines nested deeply", function() nest(5) end },
  { "deadline in a coroutine", function()
    coroutine.wrap(function()
      local _ <close> = fern.deadline(EVER)
      park()
    end)()
  end },
  { "sort", function() table.sort({ 3, 2, 1 }, park) end },
  { "gsub", function() return (("x"):gsub("x", park)) end },
  { "load", function() return load(park) end },
  { "pcall", function() assert(pcall(park)) end },
  { "message handler", function() return xpcall(error, function() fern.sleep(EVER) end) end },
  { "metamethod", function() return setmetatable({}, { __index = park }).x end },
  { "tostring", function() return tostring(setmetatable({}, { __tostring = park })) end },
  { "iterator", function() for _ in park do error "never" end end },
  { "__close that parks", function()
    local _ <close> = slow_closing(0.01)
    park()
  end },
  { "__close that parks too long", function()
    local _ <close> = slow_closing(EVER)
    park()
  end },
  { "__close that fails", function()
    local _ <close> = setmetatable({}, { __close = function() error "in __close" end })
    park()
  end },
  { "loop that swallows the kill", function() while true do pcall(fern.sleep, EVER) end end },
  { "loops that swallow the kill", function()
    while true do pcall(function() while true do pcall(fern.sleep, EVER) end end) end
  end },
  { "coroutine that swallows the kill", function()
    coroutine.wrap(function() while true do pcall(fern.sleep, EVER) end end)()
  end },
  { "loop of yields", function() while true do fern.sleep(0) end end },
  { "full pool", function() full:spawn(print) end },
  { "imap", function() for _ in fern.pool(1):imap(park, { 1, 2, 3 }) do error "never" end end },
  { "future", function() busy:result() end },
}

-- Of all that they raise when they are killed only this is an error.
local function hear(err)
  if not tostring(err):find("parked%.lua:%d+: in __close$") then print("heard", err) end
end

-- Spawns `count` threads, kind by kind, and returns once they are parked.
function parked.spawn(count)
  fern.on_error(hear)
  endless = fern.spawn(fern.sleep, EVER)
  full = fern.pool(0)
  busy = fern.executor { max_workers = 1 }:submit(fern.sleep, EVER)
  for i = 1, count do
    local kind = kinds[i % #kinds + 1]
    fern.spawn(function()
      local _ <close> = closing()
      kind[2]()
    end):name(kind[1])
  end
  for _ = 1, 10 do fern.sleep(0) end
end

return parked

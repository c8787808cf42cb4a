-- SPDX-License-Identifier: MIT
-- threads: what the specs of threads share.
local assert = require "luassert"
local fern = require "fern"
local script = require "spec.support.script"

local threads = {
  -- How many threads a spec makes at most: ThreadSanitizer knows 8,000.
  MANY = os.getenv("FLAVOUR") == "tsan" and 2000 or 10000,
}

-- Lets everybody who is ready run until it parks.
function threads.let_run()
  for _ = 1, 10 do fern.sleep(0) end
end

-- Gives back what it is given, after others have run.
function threads.nap(...)
  fern.sleep(0.001)
  return ...
end

-- 1, 2, ... n
function threads.numbers(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

-- A log of what happened in which order, and a function that writes into it.
function threads.new_log()
  local log = {}
  return log, function(...) log[#log + 1] = table.concat({ ... }, " ") end
end

-- For a <close> variable: calls `f` with the error.
function threads.closing(f)
  return setmetatable({}, { __close = function(_, e) f(e) end })
end

-- Joins a thread that must have been killed; returns the kill object.
function threads.killed_join(thread)
  local ok, e = thread:join(5)
  assert.is_false(ok)
  assert.is_true(fern.is_killed(e))
  return e
end

-- `f` must raise something whose text matches.
function threads.fails_with(message, f, ...)
  local ok, e = pcall(f, ...)
  assert.is_false(ok)
  assert.matches(message, tostring(e))
end

-- What a script of its own says, and how it ended.
function threads.run(text)
  return script.run_text("", text)
end

return threads

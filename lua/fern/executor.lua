-- SPDX-License-Identifier: MIT
-- executor: executor:map, which submits everything at once and gives the
-- results in order. Leaving its loop cancels what has not begun and kills
-- what runs.

local core = require "fern.core"

local function callable(value)
  local meta = getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

local function is_array(value)
  return type(value) == "table" and not callable(value)
end

-- What is rejected ends the map, and so does a shutdown while its input waits.
local function submit(executor, ...)
  if not executor:alive() then error("the executor is shut down", 4) end
  local future, message = executor:submit(...)
  if not future then error(message, 0) end
  return future
end

local function submit_arrays(executor, futures, fn, ...)
  local arrays, shortest = { ... }, math.huge
  for _, array in ipairs(arrays) do shortest = math.min(shortest, #array) end
  for i = 1, shortest do
    local arguments = {}
    for k, array in ipairs(arrays) do arguments[k] = array[i] end
    futures[i] = submit(executor, fn, table.unpack(arguments, 1, #arrays))
  end
end

local function submit_iterator(executor, futures, fn, iterate, state, control, closing)
  local _ <close> = closing
  while true do
    local values = table.pack(iterate(state, control))
    control = values[1]
    if control == nil then return end
    futures[#futures + 1] = submit(executor, fn, table.unpack(values, 1, values.n))
  end
end

local function leave(futures)
  for i = futures.taken + 1, #futures do core.kill_future(futures[i]) end
  futures.taken = #futures
end

local futures_meta = { __name = "fern.executor.map", __close = leave }

-- Closing it leaves `futures`, unless that is taken away before.
local guard_meta = { __close = function(guard) if guard.futures then leave(guard.futures) end end }

local function check(position, first, ...)
  if first == nil then
    local message = ...
    local why = type(message) == "string" and ": " .. message or ""
    error(("item %d returned nil first, which would end the loop%s"):format(position, why), 2)
  end
  return first, ...
end

-- Several threads may ask: what one has taken, the others have waited for in vain.
local function next_result(futures)
  while true do
    local position = futures.taken + 1
    local future = futures[position]
    if not future then return nil end
    local left = futures.deadline and futures.deadline - core.now()
    if future:join(left) == nil then
      future:result(0)                  -- raises the timeout
    elseif futures.taken < position then
      futures.taken = position
      futures[position] = false
      return check(position, future:result())
    end
  end
end

-- As Lua's own functions tell it; at the place that `level` means to the caller.
local function misuse(level, number, expected, value)
  error(("bad argument #%d to 'map' (%s expected, got %s)"):format(number, expected, type(value)), level + 1)
end

-- What submits the inputs, the first of which is argument `number` of map.
local function check_inputs(number, ...)
  local inputs = table.pack(...)
  if callable(inputs[1]) then return submit_iterator end
  if not is_array(inputs[1]) then misuse(3, number, "array or iterator function", inputs[1]) end
  for i = 2, inputs.n do
    if not is_array(inputs[i]) then misuse(3, number + i - 1, "array", inputs[i]) end
  end
  return submit_arrays
end

-- Argument `number` of executor:map is fn.
local function map(executor, timeout, number, fn, ...)
  if not callable(fn) then misuse(2, number, "function", fn) end
  local submit_all = check_inputs(number + 1, ...)
  local futures = setmetatable({ taken = 0 }, futures_meta)
  if timeout then futures.deadline = core.now() + timeout end
  local guard <close> = setmetatable({ futures = futures }, guard_meta)
  submit_all(executor, futures, fn, ...)
  guard.futures = nil
  return function() return next_result(futures) end, nil, nil, futures
end

local function check_timeout(options)
  for name in pairs(options) do
    if name ~= "timeout" then
      local what = type(name) == "string" and ("unknown option '%s'"):format(name)
        or "function or options expected, got an array"
      error(("bad argument #1 to 'map' (%s)"):format(what), 3)
    end
  end
  local timeout = options.timeout
  if timeout ~= nil and (type(timeout) ~= "number" or timeout ~= timeout) then
    error("bad option 'timeout' (a number of seconds expected)", 3)
  end
  return timeout
end

local function is_count(value)
  return type(value) == "number" and value >= 0 and (value == math.huge or value % 1 == 0)
end

-- For check_and_reject: no more than `most` wait.
function core.reject_when_reached(most)
  if not is_count(most) then
    error(("bad argument #1 to 'reject_when_reached' (a count of 0 or more expected, got %s)")
      :format(type(most) == "number" and most or type(most)), 2)
  end
  return function(_, backlog)
    if backlog >= most then
      return ("the backlog of %d is not allowed to go beyond %d"):format(backlog, most)
    end
  end
end

function core.executor_methods.map(executor, ...)
  if getmetatable(executor) ~= core.executor_methods then
    error(("bad argument #1 to 'map' (fern.executor expected, got %s)"):format(type(executor)), 2)
  end
  if not executor:alive() then error("the executor is shut down", 2) end
  if is_array((...)) then
    return map(executor, check_timeout((...)), 2, select(2, ...))
  end
  return map(executor, nil, 1, ...)
end

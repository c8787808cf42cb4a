-- SPDX-License-Identifier: MIT
-- program: random programs. A seed makes one: threads that put, get, acquire,
-- sleep, spawn into scopes, kill each other and run into limits, on a few
-- queues and semaphores. Whatever the schedule, some things must hold; `run`
-- raises what does not, with the seed.
local fern = require "fern"

local program = {}

-- A generator of its own: the same program for a seed, whatever else asks for
-- random numbers. Lehmer's, modulo 2^31 - 1.
local function new_dice(seed)
  local state = (seed * 48271 + 11) % 2147483647
  return function(n)
    state = state * 48271 % 2147483647
    return state % n + 1
  end
end

-- ---- the ledger: what was put and got, and who holds what

local function new_queue(world, dice)
  local max = ({ 0, 1, 3, math.huge })[dice(4)]
  local queue = { core = fern.queue(max), put = {}, got = {}, count = 0 }
  world.queues[#world.queues + 1] = queue
end

local function new_semaphore(world, dice)
  local units = dice(3)
  local semaphore = { core = fern.semaphore(units), units = units, held = 0, asked = 0, served = 0 }
  world.semaphores[#world.semaphores + 1] = semaphore
end

local function check(world, truth, what)
  if not truth then world.faults[#world.faults + 1] = what end
end

-- ---- what a thread may do: each takes the world, the thread's own state, a pick

local function limit_of(pick) return pick % 3 == 0 and 0.0005 or pick % 3 == 1 and 0 or nil end

local function put(world, _, pick)
  local queue = world.queues[pick % #world.queues + 1]
  queue.count = queue.count + 1
  local item = queue.count
  queue.put[item] = "maybe"             -- who is killed in put cannot know
  local ok, _, code = queue.core:put(item, limit_of(pick))
  queue.put[item] = ok or nil
  check(world, ok or code == "ETIMEDOUT" or code == "EPIPE", "put: " .. tostring(code))
end

local function get(world, self, pick)
  local queue = world.queues[pick % #world.queues + 1]
  local item, _, code = queue.core:get(limit_of(pick))
  if item == nil then
    check(world, code == "ETIMEDOUT" or code == "EPIPE", "get: " .. tostring(code))
    return
  end
  check(world, not queue.got[item], "an item came twice")
  check(world, item > (self[queue] or 0), "a consumer's items are out of order")
  queue.got[item] = true
  self[queue] = item
end

local function leave(semaphore)
  semaphore.held = semaphore.held - 1
  semaphore.core:release()
end

local holding = { __close = function(holder) leave(holder.semaphore) end }

local function hold(world, _, pick)
  local semaphore = world.semaphores[pick % #world.semaphores + 1]
  local must_wait = semaphore.core:free() == 0
  semaphore.asked = semaphore.asked + 1
  local ticket = semaphore.asked
  if not semaphore.core:acquire(limit_of(pick)) then return end
  semaphore.held = semaphore.held + 1
  local _ <close> = setmetatable({ semaphore = semaphore }, holding)
  check(world, semaphore.held <= semaphore.units, "too many hold a semaphore")
  if must_wait then
    check(world, ticket > semaphore.served, "a waiter was overtaken")
    semaphore.served = ticket
  end
  fern.sleep(pick % 2 == 0 and 0 or 0.0002)
end

local function nap(_, _, pick) fern.sleep(pick % 4 == 0 and 0.0003 or 0) end

local function kill(world, _, pick) world.threads[pick % #world.threads + 1]:kill("no more") end

local function cancel(world, _, pick) world.threads[pick % #world.threads + 1]:cancel() end

local function join(world, _, pick)
  local other = world.threads[pick % #world.threads + 1]
  if other ~= fern.current() then other:join(0.0005) end
end

local run_steps

local function fork(world, self, pick)
  local children, steps, depth = {}, world.shapes[pick % #world.shapes + 1], self.depth
  local ok, err = pcall(function()
    local scope <close> = fern.scope()
    for i = 1, pick % 3 + 1 do
      children[i] = scope:spawn(run_steps, world, steps, {}, pick % 7 == 0)
    end
    if pick % 5 == 0 then scope:cancel() end
    if pick % 2 == 0 then run_steps(world, steps, self) end
    if pick % 11 == 0 then error("out of the block", 0) end
  end)
  self.depth = depth
  for _, child in ipairs(children) do
    check(world, child:done(), "a child outlives its scope")
    child:traceback()                   -- asks for its error, if it has one
  end
  if not ok and not tostring(err):find("on purpose") and err ~= "out of the block" then error(err, 0) end
end

local function limited(world, self, pick)
  fern.timeout(0.0004, run_steps, world, world.shapes[pick % #world.shapes + 1], self)
end

local actions = { put, put, put, get, get, get, hold, hold, nap, nap, join, kill, cancel, fork, limited }

-- ---- a program

local MOST_DEPTH = 3

function run_steps(world, steps, self, fails)
  self.depth = (self.depth or 0) + 1
  local depth = self.depth
  for _, step in ipairs(steps) do
    world.steps = world.steps - 1
    if world.steps < 0 then break end
    if depth < MOST_DEPTH or (step.action ~= fork and step.action ~= limited) then
      step.action(world, self, step.pick)
    end
  end
  self.depth = depth - 1
  if fails then error("on purpose", 0) end
end

local function new_world(dice)
  local world = { queues = {}, semaphores = {}, threads = {}, shapes = {}, faults = {}, steps = 400 }
  for _ = 1, dice(3) do new_queue(world, dice) end
  for _ = 1, dice(2) do new_semaphore(world, dice) end
  for i = 1, dice(6) + 1 do
    local steps = {}
    for k = 1, dice(8) do steps[k] = { action = actions[dice(#actions)], pick = dice(1000) } end
    world.shapes[i] = steps
  end
  return world
end

-- Closed queues let everybody go who waits without a limit.
local function let_go(world, patience)
  local limit = fern.now() + patience
  for _, queue in ipairs(world.queues) do queue.core:close() end
  for _, thread in ipairs(world.threads) do
    local ok, err = thread:join(limit - fern.now())
    check(world, ok ~= nil, "a thread does not end: " .. tostring(thread:traceback()))
    check(world, ok or err == "on purpose" or fern.is_killed(err), "a thread failed: " .. tostring(err))
  end
end

local function audit(world)
  for _, queue in ipairs(world.queues) do
    local left
    repeat
      left = queue.core:get(0)
      if left then
        check(world, not queue.got[left], "an item came twice")
        queue.got[left] = true
      end
    until left == nil
    for item, outcome in pairs(queue.put) do
      check(world, outcome == "maybe" or queue.got[item], "an item was lost")
    end
    for item in pairs(queue.got) do check(world, queue.put[item], "an item came that was not put") end
  end
  for _, semaphore in ipairs(world.semaphores) do
    check(world, semaphore.held == 0 and semaphore.core:free() == semaphore.units, "units are lost")
  end
end

-- Runs the program of `seed`; raises what did not hold.
function program.run(seed)
  local dice = new_dice(seed)
  local world = new_world(dice)
  for i = 1, dice(12) + 1 do
    local steps = world.shapes[dice(#world.shapes)]
    world.threads[i] = fern.spawn(run_steps, world, steps, {}, dice(9) == 1)
  end
  for _ = 1, dice(8) do
    fern.sleep(dice(2) == 1 and 0 or 0.0002)
    if dice(3) == 1 then world.threads[dice(#world.threads)]:kill() end
  end
  let_go(world, 10)
  audit(world)
  if #world.faults > 0 then
    error(("seed %d: %s"):format(seed, table.concat(world.faults, "; ")), 0)
  end
end

return program

-- SPDX-License-Identifier: MIT
-- leftovers: whatever a spec leaves behind is named, and fails it: a thread alive, a
-- timer or a descriptor that a library waits for, an open descriptor, an error that
-- nobody has asked for. Compared is what there is before the first before_each and
-- after the last after_each.

local core = require "fern.core"
local limit = require "fern.command.limit"

local leftovers = {}

local PATIENCE <const> = 1              -- seconds for what is about to end
local MOST <const> = 10                 -- threads that are shown

local busy = false      -- a spec runs
local running                           -- the spec
local before                            -- what there was
local reported = {}                     -- errors told since it began

-- What the runtime itself opens and keeps, to wait and to be woken.
local RUNTIMES <const> = {
  ["a crew's idle workers"] = true, signals = true,
  ["anon_inode:[eventpoll]"] = true, ["anon_inode:[eventfd]"] = true, ["anon_inode:[timerfd]"] = true,
  ["anon_inode:[signalfd]"] = true, ["anon_inode:[io_uring]"] = true,
}

local function name() return running and running.name or "?" end

local function place()
  local trace = running and running.trace
  return trace and ("%s:%d: "):format(trace.short_src, trace.currentline) or ""
end

-- ---- what there is

local ENDED <const> = { done = true, failed = true, killed = true }

local function threads_at_work()
  if core.debug.stats().threads == 0 then return {} end
  local list = {}
  for _, thread in ipairs(core.debug.threads()) do
    if thread.id ~= 0 and not thread.idle and not ENDED[thread.state] then list[#list + 1] = thread end
  end
  return list
end

local function ids(threads)
  local set = {}
  for _, thread in ipairs(threads) do set[thread.id] = true end
  return set
end

-- Of libraries, not of threads: how many of each kind.
local function kinds(rows, format)
  local counts = {}
  for _, row in ipairs(rows) do
    if row.what and not RUNTIMES[row.what] then
      local kind = format(row)
      counts[kind] = (counts[kind] or 0) + 1
    end
  end
  return counts
end

local function timer_kind(row) return "a timer of " .. row.what end

local function listener_kind(row)
  return ("%s waits until descriptor %d can be %s"):format(row.what, row.fd, row.event == "r" and "read" or "written to")
end

local function look()
  return {
    threads = ids(threads_at_work()), descriptors = core.debug.descriptors(), unasked = core.debug.stats().unasked,
    timers = kinds(core.debug.timers(), timer_kind), listeners = kinds(core.debug.listeners(), listener_kind),
  }
end

-- ---- what is new

local function new_threads()
  local list = {}
  for _, thread in ipairs(threads_at_work()) do
    if not before.threads[thread.id] then list[#list + 1] = thread end
  end
  return list
end

local function describe(thread)
  return ("thread #%d%s, spawned at %s, %s%s"):format(thread.id, thread.name and (" '%s'"):format(thread.name) or "",
    thread.spawned_at or "?", thread.waits_for and "waits for " .. thread.waits_for or "is " .. thread.state,
    thread.traceback ~= "" and "\n" .. thread.traceback or "")
end

local function add_threads(left)
  local list = new_threads()
  for i = 1, math.min(#list, MOST) do left[#left + 1] = describe(list[i]) end
  if #list > MOST then left[#left + 1] = ("%d threads more"):format(#list - MOST) end
end

local function add_kinds(left, old, now)
  for kind, count in pairs(now) do
    local more = count - (old[kind] or 0)
    if more > 0 then left[#left + 1] = more == 1 and kind or ("%s (%d times)"):format(kind, more) end
  end
end

-- The two ends of a pipe are called the same.
local function runtimes_pipes(descriptors)
  local pipes = {}
  for _, row in ipairs(core.debug.listeners()) do
    if RUNTIMES[row.what] then pipes[descriptors[row.fd]] = true end
  end
  return pipes
end

local function add_descriptors(left)
  local descriptors = core.debug.descriptors()
  local pipes = runtimes_pipes(descriptors)
  for fd, what in pairs(descriptors) do
    if before.descriptors[fd] ~= what and not RUNTIMES[what] and not pipes[what] then
      left[#left + 1] = ("descriptor %d, which is open: %s"):format(fd, what)
    end
  end
end

-- All but errors, each as a text.
local function whats_left()
  local left = {}
  add_threads(left)
  add_kinds(left, before.timers, kinds(core.debug.timers(), timer_kind))
  add_kinds(left, before.listeners, kinds(core.debug.listeners(), listener_kind))
  add_descriptors(left)
  table.sort(left)
  return left
end

-- The HTTP client of who names none keeps connections, which are no spec's.
local function close_kept()
  local http = package.loaded["fern.http.core"]
  if http and http.statistics().running == 0 then http.close_own() end
end

-- What is about to end gets the time for it, and garbage is closed.
local function settle()
  local left, ends_at, looks, collected = whats_left(), core.now() + PATIENCE, 0, false
  while #left > 0 and core.now() < ends_at do
    looks = looks + 1
    core.sleep(looks < 10 and 0 or 0.001)
    if not collected and #new_threads() == 0 then
      collectgarbage()
      collectgarbage()
      collected = true
    end
    if collected then close_kept() end
    left = whats_left()
  end
  return left
end

-- ---- errors

local function hear(err, traceback, thread)
  reported[#reported + 1] = ("an error that nobody asked for, of %s: %s\n%s"):format(thread or "somebody",
    tostring(err), traceback or "")
end

-- They are told a second after they came: wait for those of this spec here, or they
-- would be held against the next one.
local function hear_the_rest()
  if core.debug.stats().unasked <= before.unasked then return end
  local ends_at = core.now() + 3 * PATIENCE
  while core.debug.stats().unasked > 0 and core.now() < ends_at do core.sleep(0.01) end
  core.sleep(0.01)
end

-- ---- around each spec

local function process_id()
  local file <close> = io.open("/proc/self/stat")
  return file and file:read("n")
end

-- A spec that ended the process would end the others, too, and all would look well. In a
-- child that it has forked it may.
local function guard_exit()
  local exit, ours = os.exit, process_id()
  os.exit = function(...)     -- luacheck: ignore
    if busy and process_id() == ours then error("os.exit in a spec would end all the others, too", 2) end
    return exit(...)
  end
end

local function begin_spec()
  busy = true
  running, reported = nil, {}
  core.on_error(hear)
  before = look()
  limit.begin(name)
end

local function finish_spec()
  busy = false
  local faults = { limit.finish() and ("takes more than %g s"):format(limit.seconds) or nil }
  core.on_error(hear)
  hear_the_rest()
  local left = settle()
  hear_the_rest()
  table.move(reported, 1, #reported, #left + 1, left)
  if #left > 0 then faults[#faults + 1] = "leaves behind:\n  " .. table.concat(left, "\n  ") end
  if #faults > 0 then error(("%s'%s' %s"):format(place(), name(), table.concat(faults, ", and ")), 0) end
end

-- Called once busted is there, at the root of its describes. Of after_each functions the
-- first that was registered is the first to run: ours comes when the suite begins.
function leftovers.begin()
  local busted = require "busted"
  guard_exit()
  busted.subscribe({ "test", "start" }, function(element)
    running = element
    return nil, true
  end)
  busted.before_each(begin_spec)
  local registered = false
  busted.subscribe({ "suite", "start" }, function()
    if not registered then busted.after_each(finish_spec) end
    registered = true
    return nil, true
  end)
end

return leftovers

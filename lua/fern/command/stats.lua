-- SPDX-License-Identifier: MIT
-- stats: what --stats tells at the end. The hub is asked before it closes, whoever
-- closes it: fern.core.close and os.exit are ours from begin() on.

local core = require "fern.core"

local stats = {}

-- A script may take them away.
local stdout, stderr, open, clock, ipairs, memory = io.stdout, io.stderr, io.open, os.clock, ipairs, collectgarbage

local started, computed, last       -- the clocks then; what the hub said last

local function look()
  if core.current() then last = core.debug.stats() end
end

-- The most that this process has had in memory, in KiB; nil where that is not told.
local function peak_memory()
  local file <close> = open("/proc/self/status")
  return file and file:read("a"):match("VmHWM:%s*(%d+) kB")
end

local function write_all()
  local peak = peak_memory()
  local lines = {
    { "threads spawned", last and last.spawned }, { "most at once", last and last.most },
    { "switches", last and last.switches }, { "polls", last and last.polls },
    { "CPU seconds", ("%.3f"):format(clock() - computed) }, { "wall seconds", ("%.3f"):format(core.now() - started) },
    { "memory, KiB", peak }, { "Lua's memory, KiB", memory "count" // 1 | 0 },
  }
  stdout:flush()
  for _, line in ipairs(lines) do
    if line[2] then stderr:write(("fern: %-18s%10s\n"):format(line[1], line[2])) end
  end
end

function stats.begin()
  local close, exit = core.close, os.exit
  started, computed = core.now(), clock()
  function core.close()
    look()
    close()
  end
  rawset(os, "exit", function(...)
    look()
    write_all()
    exit(...)
  end)
end

-- After all threads are unwound.
function stats.write() write_all() end

return stats

-- SPDX-License-Identifier: MIT
-- fern: green threads. This file gathers the module; the concepts are in C
-- (fern.core) or in the files beside this one, loaded on first use.

local core = require "fern.core"
local loading = require "fern.loading"
require "fern.executor"

local fern = {
  spawn = core.spawn,
  spawn_after = core.spawn_after,
  sleep = core.sleep,
  current = core.current,
  now = core.now,
  waitall = core.waitall,
  on_error = core.on_error,
  trampoline = core.trampoline,
  deadline = core.deadline,
  timeout = core.timeout,
  shield = core.shield,
  is_killed = core.is_killed,
  is_timeout = core.is_timeout,
  wait = core.wait,
  as_completed = core.as_completed,
  event = core.event,
  semaphore = core.semaphore,
  lock = core.lock,
  condition = core.condition,
  waitgroup = core.waitgroup,
  scope = core.scope,
  pool = core.pool,
  pile = core.pile,
  queue = core.queue,
  lifo_queue = core.lifo_queue,
  priority_queue = core.priority_queue,
  graph = core.graph,
  executor = core.executor,
  reject_when_reached = core.reject_when_reached,
  every = core.every,
  resources = core.resources,
  version = core.command.version,
}

-- Loaded on first use, too.
function fern.patch(names) return require "fern.patch"(names) end

-- fern.http and its like: the submodule of that name, loaded on first use.
local submodules = {
  debug = true, fs = true, http = true, net = true, process = true, signal = true, socket = true, ssl = true,
  tls = true,
}

loading.install(core)

-- Lua names a function after where it stands in package.loaded: there it is
-- fern.wait alone, and never, by the luck of a hash, fern.core.wait.
package.loaded["fern.core"] = setmetatable({}, {
  __index = core, __newindex = core, __pairs = function() return next, core end,
})

return setmetatable(fern, {
  __name = "fern",
  __close = function() core.close() end,
  __index = function(_, name)
    if submodules[name] then return require("fern." .. name) end
  end,
})

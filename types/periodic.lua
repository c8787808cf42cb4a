---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---@alias fern.strategy
---| "last_started" # one spacing after the last run began
---| "last_finished" # one spacing after it ended
---| "aligned_last_finished" # at the next multiple of the spacing on `fern.now()`
---| "last_started_jitter" # each up to 5 % of the spacing later
---| "last_finished_jitter"
---| "aligned_last_finished_jitter"

---@class fern.every.options
---@field strategy? fern.strategy default: `"last_started"`
---@field immediately? boolean begin with a run now, not a spacing away
---@field on_failure? fun(err: any, traceback: string?) default: what `fern.on_error` says

---Call `fn()` every `spacing` seconds, in a thread of its own, until it is stopped.
---@param spacing number
---@param fn function
---@param options? fern.every.options
---@return fern.periodic
function fern.every(spacing, fn, options) end

---@class fern.periodic.statistics
---@field runs integer that are over
---@field successes integer
---@field failures integer
---@field elapsed number seconds in all runs
---@field average_elapsed number
---@field elapsed_waiting number seconds that runs began later than planned
---@field average_elapsed_waiting number
---@field requested_stop boolean

---@class fern.periodic
local periodic = {}

---Parks. No run begins any more; waits for the one in flight, unless it is called
---from inside `fn`.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function periodic:stop(timeout) end

---Parks. Wait until it has been stopped and its last run is over.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function periodic:wait(timeout) end

---@return fern.periodic.statistics
function periodic:statistics() end

return fern

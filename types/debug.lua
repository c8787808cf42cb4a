---@meta
-- SPDX-License-Identifier: MIT

---A thread, as it was when it was asked for.
---@class fern.debug.thread
---@field id integer
---@field name string?
---@field state "new"|"ready"|"running"|"waiting"|"done"|"failed"|"killed"
---@field waits_for string? while it waits
---@field since number? when it began to, of `fern.now()`: exact while `thread_accounting` is on
---@field spawned_at string? "file:line"
---@field traceback string
---@field parent integer? the id of the thread that spawned it, while that lives
---@field children fern.debug.thread[] that it has spawned, and that live
---@field stack_used integer? bytes of its C stack that it stands on
---@field idle true? a worker without work
---@field cpu_time number? seconds; while `thread_accounting` is on
---@field switches integer? likewise

---@class fern.debug.timer
---@field at number of `fern.now()`
---@field thread integer? the id of whom it wakes
---@field what string? what else it is
---@field stack string? of who made it

---@class fern.debug.listener
---@field fd integer
---@field event "r"|"w"
---@field thread integer? the id of who waits, or for whose sake a library does
---@field what string? what library
---@field stack string? of who made it

---@class fern.debug
local debug = {}

---`TIMERS:` and a line for each, soonest first.
---@return string
function debug.format_hub_timers() end

---`READERS:` and `WRITERS:`, and a line for each.
---@return string
function debug.format_hub_listeners() end

---@return fern.debug.timer[]
function debug.timers() end

---@return fern.debug.listener[]
function debug.listeners() end

---Tell the stacks of who made timers, from now on.
---@param on boolean
function debug.hub_timer_stacks(on) end

---Tell the stacks of who made listeners, from now on.
---@param on boolean
function debug.hub_listener_stacks(on) end

---Say on stderr, once for each place, when one thread holds the hub for longer.
---@param on boolean
---@param seconds? number 1 if not given
function debug.hub_blocking_detection(on, seconds) end

---Tell of every error that ends a thread at once.
---@param on boolean
function debug.hub_exceptions(on) end

---Count the CPU time and the switches of each thread, and read the clock whenever one
---begins to wait.
---@param on boolean
function debug.thread_accounting(on) end

---All threads, oldest first.
---@return fern.debug.thread[]
function debug.threads() end

---Counts: threads, ready, timers, listeners, watches, unasked, spawned, most,
---switches, turns, polls, stacks.
---@return table<string, integer>
function debug.stats() end

---All of it: to an open file (stderr), or appended to the one of that name.
---@param file? file*|string
---@return true? ok
---@return string? message
function debug.dump(file) end

---Print every line that runs, in all threads.
---@param names? string[] only of sources whose names contain one of these
---@param show_values? boolean with the values of the locals in it
function debug.spew(names, show_values) end

---No more of that.
function debug.unspew() end

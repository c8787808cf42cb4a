---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---@class fern.executor
local executor = {}

---@class fern.executor.options
---@field max_workers? integer default 1000
---@field check_and_reject? fun(executor: fern.executor, backlog: integer): any nil or false takes it
---@field synchronous? boolean `submit` runs the function, and returns a future that is done

---Runs functions on at most `max_workers` threads, which come with work and go without.
---@param options? fern.executor.options
---@return fern.executor
function fern.executor(options) end

---For `check_and_reject`: no more than `n` wait.
---@param n number
---@return fun(executor: fern.executor, backlog: integer): string?
function fern.reject_when_reached(n) end

---A future, at once; or `nil, message, "EAGAIN"` if it is rejected.
---@param fn function
---@param ... any
---@return fern.future?
---@return any message
---@return string? code
function executor:submit(fn, ...) end

---The same when `seconds` are over: what is rejected then fails.
---@param seconds number
---@param fn function
---@param ... any
---@return fern.future
function executor:submit_after(seconds, fn, ...) end

---@class fern.executor.map.options
---@field timeout? number from the call; raised by the iterator

---Submits all at once. An iterator, which parks, over the results, in order.
---@param options_or_fn fern.executor.map.options|function
---@param ... any the function, after options; arrays, or an iterator with its state
---@return fun(): ...
---@return nil
---@return nil
---@return any closing
function executor:map(options_or_fn, ...) end

---@class fern.executor.statistics
---@field submitted integer executed + cancelled + running + waiting
---@field executed integer
---@field failures integer of the executed
---@field cancelled integer
---@field rejected integer
---@field running integer
---@field waiting integer
---@field run_time number
---@field average_run_time number
---@field max_run_time number
---@field queue_time number
---@field average_queue_time number
---@field max_queue_time number

---@return fern.executor.statistics
function executor:statistics() end

---Does it take work?
---@return boolean
function executor:alive() end

---@class fern.executor.shutdown
---@field wait? boolean default true
---@field cancel_pending? boolean
---@field timeout? number

---Parks, unless `wait` is false. No more work: true, or `nil, message, code`.
---@param how? boolean|fern.executor.shutdown
---@return boolean?
---@return string? message
---@return string? code
function executor:shutdown(how) end

return fern

---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---What is raised for a task that never began, for another has failed.
---@class fern.graph.error
---@field chain string[] its name, that of what it needs, and so on to the one that failed
---@field cause any that one's error
---@field code "EDEPENDENCY"

---@alias fern.graph.status "missing"|"waiting"|"ready"|"running"|"done"|"failed"|"killed"

---@class fern.graph
local graph = {}

---Tasks that begin when what they need has ended.
---@param pool_or_size? fern.pool|integer for the tasks; default: no limit
---@return fern.graph
function fern.graph(pool_or_size) end

---A task: calls `fn(results, ...)` in a thread of its own when all that it needs has
---ended; `results` has the first results of those by name.
---@param name string
---@param needs? string[] may be left out
---@param fn function
---@param ... any
function graph:add(name, needs, fn, ...) end

---The results of `name`, which come from outside.
---@param name string
---@param ... any
function graph:post(name, ...) end

---Parks. All results of a task; its error is raised, as is the timeout.
---@param name string
---@param timeout? number
---@return any ...
function graph:result(name, timeout) end

---Parks. The first results of these tasks, or of all, by name; the first error among
---them is raised, as is the timeout.
---@param names? string[]
---@param timeout? number
---@return table<string, any>
function graph:wait(names, timeout) end

---Parks. Wait until all tasks have ended.
---@param timeout? number
---@return boolean? ok nil: see message and code
---@return any err the first failure; or the message
---@return string? code
function graph:join(timeout) end

---An iterator, which parks, over the outcomes in the order in which they come:
---name, true and the results; or name, false and the error.
---@param timeout? number of the whole loop, which is raised
---@return fun(): string?, boolean?, any ...
function graph:each(timeout) end

---Kill the task: true if this call did it.
---@param name string
---@param reason? any
---@return boolean
function graph:kill(name, reason) end

---@param name string
---@return fern.graph.status
function graph:status(name) end

---The names that a task still waits for; or, of all that wait, name -> those.
---@param name? string
---@return string[]|table<string, string[]>
function graph:waiting_for(name) end

---The names that were added or posted; or of those with this status.
---@param status? fern.graph.status
---@return string[]
function graph:names(status) end

---Parks. Kill what has not ended and wait for it; take no new tasks.
function graph:close() end

return fern

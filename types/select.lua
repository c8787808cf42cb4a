---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---@class fern.wait.options
---@field count? integer return as soon as that many are ready
---@field timeout? number

---Parks. Wait for threads, futures, events, queues, semaphores, locks, processes and signals.
---@generic T
---@param list T[]
---@param options? fern.wait.options
---@return T[] done in the order in which they became ready
---@return T[] pending
function fern.wait(list, options) end

---An iterator, which parks, over the same in the order in which they become ready.
---@generic T
---@param list T[]
---@param timeout? number of the whole loop, which is raised
---@return fun(): T?
function fern.as_completed(list, timeout) end

return fern

---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---Threads that do not outlive a block: `local scope <close> = fern.scope()`.
---@return fern.scope
function fern.scope() end

---@class fern.scope
local scope = {}

---A child that will call `fn(...)`, under the time limits of its spawner.
---@param fn function
---@param ... any
---@return fern.thread
function scope:spawn(fn, ...) end

---Kill the children; the block goes on.
---@param reason? any
function scope:cancel(reason) end

---Parks. What leaving the block does: wait for the children; raises the first
---error of one, unchanged.
---@return true
function scope:close() end

---Where the first child that failed did so and was spawned, and where the scope
---was opened.
---@return string?
function scope:traceback() end

return fern

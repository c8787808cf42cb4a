---@meta
-- SPDX-License-Identifier: MIT

---One acquisition: `local held <close> = semaphore:hold()`.
---@class fern.held
local held = {}

---Give it back. May be called again.
function held:close() end

---@class fern.semaphore
local semaphore = {}

---Parks. Take a unit.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function semaphore:acquire(timeout) end

---Parks. The same until the block is left.
---@param timeout? number
---@return fern.held? held
---@return string? message
---@return string? code
function semaphore:hold(timeout) end

---Hand a unit to the longest waiter, or back. Raises above a bound.
---@return true
function semaphore:release() end

---Is no unit free?
---@return boolean
function semaphore:locked() end

---@return integer
function semaphore:free() end

---How many threads wait.
---@return integer
function semaphore:waiting() end

---Units that are free less threads that wait.
---@return integer
function semaphore:balance() end

---@class fern.semaphore.options
---@field bounded? boolean|integer never more free than at first, or than so many

---@class fern
local fern = {}

---@param units? integer default 1
---@param options? fern.semaphore.options
---@return fern.semaphore
function fern.semaphore(units, options) end

return fern

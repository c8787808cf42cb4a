---@meta
-- SPDX-License-Identifier: MIT

---@class fern.lock
local lock = {}

---Parks. Own the lock. Raises if its owner has ended without releasing it.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function lock:acquire(timeout) end

---Parks. The same until the block is left.
---@param timeout? number
---@return fern.held? held
---@return string? message
---@return string? code
function lock:hold(timeout) end

---Hand it to the longest waiter. Raises if it is not the caller's.
---@return true
function lock:release() end

---@return boolean
function lock:locked() end

---How many threads wait.
---@return integer
function lock:waiting() end

---@class fern
local fern = {}

---@return fern.lock
function fern.lock() end

return fern

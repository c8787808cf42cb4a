---@meta
-- SPDX-License-Identifier: MIT

---@class fern.condition
local condition = {}

---Parks. Without the lock until a notify; with it on every way out.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function condition:wait(timeout) end

---Bring the longest waiters back: returns how many there were.
---@param most? integer default 1
---@return integer
function condition:notify(most) end

---@return integer
function condition:notify_all() end

---How many threads wait.
---@return integer
function condition:waiting() end

---@class fern
local fern = {}

---@param lock fern.lock
---@return fern.condition
function fern.condition(lock) end

return fern

---@meta
-- SPDX-License-Identifier: MIT

---@class fern.waitgroup
local waitgroup = {}

---So many more are to be done.
---@param count? integer default 1
---@return true
function waitgroup:add(count) end

---So many are done. Raises if there are not so many.
---@param count? integer default 1
---@return true
function waitgroup:done(count) end

---Parks. Until nothing is left to be done.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function waitgroup:wait(timeout) end

---How many are not done.
---@return integer
function waitgroup:count() end

---@class fern
local fern = {}

---@return fern.waitgroup
function fern.waitgroup() end

return fern

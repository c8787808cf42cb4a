---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---@class fern.resources.options
---@field create fun(): any makes one; may park; or `nil, message, code`
---@field destroy? fun(value: any) may park; default: the value's `__close`
---@field check? fun(value: any): boolean may park; false: it is replaced
---@field max? integer at once, those being made or destroyed included; default 4
---@field min? integer kept, made beforehand; default 0
---@field max_idle? number seconds without use
---@field max_age? number seconds since it was made
---@field order? "queue"|"stack" which of the idle ones is handed out; default: `"queue"`

---A pool of what is dear to make: connections and the like.
---@param options fern.resources.options
---@return fern.resources
function fern.resources(options) end

---@class fern.resources.statistics
---@field max integer
---@field min integer
---@field size integer all there are, those being made or destroyed included
---@field idle integer
---@field in_use integer
---@field waiting integer threads that wait in `get`
---@field free integer how many may be had without waiting for others
---@field created integer
---@field destroyed integer
---@field failed integer calls of create

---@class fern.resources
local resources = {}

---Parks. An idle resource, a new one, or the next that is given back.
---@param timeout? number over waiting, checking and making
---@return fern.lease? lease
---@return string? message
---@return string? code
function resources:get(timeout) end

---May park. The same as `lease:release()`.
---@param lease fern.lease
---@return true
function resources:put(lease) end

---May park. Growing wakes waiters; shrinking destroys what is idle and too many.
---@param max number
function resources:resize(max) end

---How many may be had without waiting for others.
---@return integer
function resources:free() end

---How many threads wait in `get`.
---@return integer
function resources:waiting() end

---@return fern.resources.statistics
function resources:statistics() end

---May park. Destroy what is idle; what is out, when it is given back.
---@return true
function resources:close() end

---@class fern.lease
---@field value any the resource, until it is given back
local lease = {}

---May park. Give the resource back.
---@return true
function lease:release() end

---May park. It is broken: destroy it.
---@return true
function lease:discard() end

---May park. Give it back, unless that has been done.
---@return true
function lease:close() end

return fern

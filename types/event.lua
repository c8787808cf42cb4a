---@meta
-- SPDX-License-Identifier: MIT

---@class fern.event
local event = {}

---Wake all who wait, with these values. Raises if the event has been sent.
---@param ... any
---@return true
function event:send(...) end

---Wake all who wait, with an error. Raises if the event has been sent.
---@param err any
---@return true
function event:send_error(err) end

---Parks. The values, or the very error raised; a timeout is raised, too.
---@param timeout? number
---@return any ...
function event:wait(timeout) end

---Parks. `true, ...`, `false, err`, or `nil, "timeout", "ETIMEDOUT"`.
---@param timeout? number
---@return boolean? ok
---@return any ...
function event:join(timeout) end

---Make it new. Raises if it has not been sent.
---@return true
function event:reset() end

---Has it been sent?
---@return boolean
function event:ready() end

---@return boolean
function event:has_value() end

---@return boolean
function event:has_error() end

---@class fern
local fern = {}

---@return fern.event
function fern.event() end

return fern

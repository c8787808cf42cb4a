---@meta
-- SPDX-License-Identifier: MIT

---@class fern.thread
---@field locals table of its own
local thread = {}

---Parks. Its results, or its error raised; of a killed one, the kill.
---@param timeout? number
---@return any ...
function thread:wait(timeout) end

---Parks. `true, ...`, `false, err`, or `nil, "timeout", "ETIMEDOUT"`.
---@param timeout? number
---@return boolean? ok
---@return any ...
function thread:join(timeout) end

---Unwind it where it waits. Returns at once: true if this call did it.
---@param reason? any
---@return boolean
function thread:kill(reason) end

---Kill it only if it has not begun: true if so.
---@return boolean
function thread:cancel() end

---Call `fn(thread, ...)` in a thread of its own when it has ended.
---@param fn function
---@param ... any
function thread:link(fn, ...) end

---Take back the first link of `fn`: true if there was one.
---@param fn function
---@return boolean
function thread:unlink(fn) end

---Has it ended, in whichever way?
---@return boolean
function thread:done() end

---@return "new"|"ready"|"running"|"waiting"|"done"|"failed"|"killed"
function thread:status() end

---Where it failed, or where it is; nil of one that is done or killed.
---@return string?
function thread:traceback() end

---Its name; sets it first, if one is given.
---@param name? string
---@return string?
function thread:name(name) end

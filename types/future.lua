---@meta
-- SPDX-License-Identifier: MIT

---@class fern.future
local future = {}

---Parks. Its results, or its error raised; the timeout is raised, too.
---@param timeout? number
---@return any ...
function future:result(timeout) end

---Parks. `true, ...`, `false, err`, or `nil, "timeout", "ETIMEDOUT"`.
---@param timeout? number
---@return boolean? ok
---@return any ...
function future:join(timeout) end

---Parks. The error that `result` would raise, or nil; the timeout is raised.
---@param timeout? number
---@return any
function future:exception(timeout) end

---True if it never begins.
---@return boolean
function future:cancel() end

---@return boolean
function future:cancelled() end

---@return boolean
function future:running() end

---A cancelled one is done, too.
---@return boolean
function future:done() end

---Call `fn(future)` once, in a green thread, when it is done; soon, if it is.
---@param fn fun(future: fern.future)
function future:add_done_callback(fn) end

return future

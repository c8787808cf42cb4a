---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---@class fern.queue
local queue = {}

---First in, first out; at most `max` items (default: any number). 0: a channel, where
---a put ends when a get has taken the value.
---@param max? integer
---@return fern.queue
function fern.queue(max) end

---The last one in comes out first.
---@param max? integer
---@return fern.queue
function fern.lifo_queue(max) end

---The least comes out first, by `<`; equal ones as they came.
---@param max? integer
---@return fern.queue
function fern.priority_queue(max) end

---Parks until there is room. `nil, "timeout", "ETIMEDOUT"`; `nil, "closed", "EPIPE"`.
---@param value any
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function queue:put(value, timeout) end

---Parks until there is a value. `nil, "timeout", "ETIMEDOUT"`; closed and empty:
---`nil, "closed", "EPIPE"`. A nil that was put comes alone.
---@param timeout? number
---@return any value
---@return string? message
---@return string? code
function queue:get(timeout) end

---What `get` would give, left there; `nil, message, "EAGAIN"` if that would wait.
---@return any value
---@return string? message
---@return string? code
function queue:peek() end

---An iterator, which parks, over the values, until the queue is closed and empty.
---@return fun(): any
function queue:iter() end

---Takes no more; wakes those who wait. What is there can still be read.
function queue:close() end

---Growing lets in those who wait; shrinking leaves what is there.
---@param max? integer default: any number
function queue:resize(max) end

---Items in it.
---@return integer
function queue:size() end

---@return boolean
function queue:empty() end

---Is there no room? A channel is both empty and full.
---@return boolean
function queue:full() end

---Threads that wait to put.
---@return integer
function queue:putting() end

---Threads that wait to get.
---@return integer
function queue:getting() end

---An item that was put has been dealt with.
function queue:task_done() end

---How many have not.
---@return integer
function queue:unfinished() end

---Parks until every item that was put has had its task_done.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function queue:join(timeout) end

return fern

---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---@class fern.pile
local pile = {}

---Threads of a pool, and their results in the order in which they were spawned.
---@param size_or_pool? integer|fern.pool default 1000
---@return fern.pile
function fern.pile(size_or_pool) end

---Parks while the pool is full. As `pool:spawn`; the result is the pile's next.
---@param fn function
---@param ... any
---@return fern.thread
function pile:spawn(fn, ...) end

---An iterator, which parks, over the results. It ends when all that was spawned so
---far has been taken. Leaving its loop kills what is in flight.
---@return fun(): any ...
function pile:results() end

---Kill what is in flight, forget all results.
function pile:close() end

return fern

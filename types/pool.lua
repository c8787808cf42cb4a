---@meta
-- SPDX-License-Identifier: MIT

---@class fern
local fern = {}

---@class fern.pool
local pool = {}

---At most `size` (default 1000) threads at once; 0 is allowed.
---@param size? integer
---@return fern.pool
function fern.pool(size) end

---Parks while the pool is full. A thread that has a slot, which goes to the longest
---waiter. By a worker into its own full pool: `fn` runs at once, and has ended.
---@param fn function
---@param ... any
---@return fern.thread
function pool:spawn(fn, ...) end

---An iterator, which parks, over the results in order; all values of each.
---@param fn function
---@param input any an array, or a function with `for`'s state, control and closing value
---@param ... any more arrays, or those
---@return fun(): any ...
function pool:imap(fn, input, ...) end

---As imap, in the order in which the results come.
---@param fn function
---@param input any
---@param ... any
---@return fun(): any ...
function pool:imap_unordered(fn, input, ...) end

---As imap, with one input whose items are arrays of arguments.
---@param fn function
---@param input any
---@param ... any
---@return fun(): any ...
function pool:starmap(fn, input, ...) end

---Parks. An array of the first results. The first error kills the rest and is raised.
---@param fn function
---@param input any
---@param ... any
---@return any[]
function pool:map(fn, input, ...) end

---Parks. Wait until nothing runs and nobody waits for a slot.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code "EDEADLK" from one of the pool's own threads
function pool:waitall(timeout) end

---Growing wakes waiters; shrinking lets the running ones end.
---@param size integer
function pool:resize(size) end

---How many of its threads run.
---@return integer
function pool:running() end

---How many threads wait for a slot.
---@return integer
function pool:waiting() end

---How many might begin at once.
---@return integer
function pool:free() end

return fern

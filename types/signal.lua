---@meta
-- SPDX-License-Identifier: MIT

---Signals of this process, by name ("TERM", "SIGTERM", "RTMIN+3") or number: see
---docs/modules/signal.md.
---@class fern.signal
local signal = {}

---One that is caught, and counted, until it is closed.
---@class fern.signal
local one = {}

---What `on` returns: `close` or `<close>` ends it.
---@class fern.signal.subscription
---@field close fun(self: fern.signal.subscription): true

---Parks. The next one, or one that has come since the last wait.
---@param name string|integer
---@param timeout? number
---@return string? name
---@return string? message
---@return string? code
function signal.wait(name, timeout) end

---Call `fn(name)` for each, in a green thread of its own.
---@param name string|integer
---@param fn fun(name: string)
---@return fern.signal.subscription? subscription
---@return string? message
---@return string? code
function signal.on(name, fn) end

---@param name string|integer
---@return fern.signal? signal
---@return string? message
---@return string? code
function signal.open(name) end

---The process ignores it from now on.
---@param name string|integer
---@return true? ok
---@return string? message
---@return string? code
function signal.ignore(name) end

---It does again what it did before any of these calls.
---@param name string|integer
---@return true? ok
---@return string? message
---@return string? code
function signal.default(name) end

---A name of 0 only asks whether there is such a process.
---@param pid integer
---@param name string|integer
---@return true? ok
---@return string? message
---@return string? code
function signal.send(pid, name) end

---@param number string|integer
---@return string name
function signal.name(number) end

---@param name string|integer
---@return integer number
function signal.number(name) end

---Parks. Take one.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function one:wait(timeout) end

---How many have come and were not taken.
---@return integer
function one:count() end

---A forked child's is not.
---@return boolean
function one:is_open() end

---May be called again.
---@return true
function one:close() end

return signal

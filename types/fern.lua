---@meta
-- SPDX-License-Identifier: MIT
-- What the module itself offers, and what all of it shares.

---A kill or a timeout, as it is raised.
---@class fern.error
---@field code "ECANCELED"|"ETIMEDOUT"
---@field reason any what `kill` was given

---@class fern
---@field version string such as "0.1.0"
local fern = {}

---A thread that will call `fn(...)`; the caller keeps control.
---@param fn function
---@param ... any
---@return fern.thread
function fern.spawn(fn, ...) end

---The same, which begins no earlier than `seconds` from now.
---@param seconds number
---@param fn function
---@param ... any
---@return fern.thread
function fern.spawn_after(seconds, fn, ...) end

---Parks. 0, less or nothing: only let the others run.
---@param seconds? number
function fern.sleep(seconds) end

---The running thread.
---@return fern.thread
function fern.current() end

---Seconds on a clock that never goes back.
---@return number
function fern.now() end

---Put what parks a thread in the place of what blocks the process: "socket" and "ssl" (the
---default: what there is of these), "os" and "io". Tells what was done with each module.
---@param names? string[]
---@return table<string, string>
function fern.patch(names) end

---Parks. Wait for all threads but the main one, the caller, and those that wait
---for the caller.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fern.waitall(timeout) end

---Who hears of errors that nobody has asked for; nil: stderr.
---@param fn? fun(err: any, traceback: string?, thread: fern.thread?)
function fern.on_error(fn) end

---Parks. Wait until a descriptor of somebody else's can be read or written.
---@param fd integer
---@param event "r"|"w"
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fern.trampoline(fd, event, timeout) end

---@class fern.deadline
local deadline = {}

---The limit holds no more. May be called again.
function deadline:close() end

---A limit on the rest of the block, raised where the thread waits:
---`local _ <close> = fern.deadline(seconds)`.
---@param seconds number
---@return fern.deadline
function fern.deadline(seconds) end

---Parks. What `fn(...)` returns or raises; `nil, "timeout", "ETIMEDOUT"` if its own
---limit ran out.
---@param seconds number
---@param fn function
---@param ... any
---@return any ...
function fern.timeout(seconds, fn, ...) end

---Parks. What `fn(...)` returns or raises; kills and limits wait until then.
---@param fn function
---@param ... any
---@return any ...
function fern.shield(fn, ...) end

---@param value any
---@return boolean
function fern.is_killed(value) end

---@param value any
---@return boolean
function fern.is_timeout(value) end

return fern

---@meta
-- SPDX-License-Identifier: MIT

---Bytes in and out: what connections, pipes and the like have in common. One thread may
---read while another one writes; a second one in the same direction gets "EBUSY". A call
---that fails takes nothing of what has come in. `timeout` is in seconds, and settimeout's
---where there is none.
---@class fern.stream
local stream = {}

---Parks. As io.read: "l": a line (the default), "L": with its newline, "a": all up to the
---end, "n": a numeral, a number: so many bytes. Several formats are one request. A
---number or nil in the last place, after a format, is the timeout.
---@param ... "l"|"L"|"a"|"n"|number|nil formats, and the timeout
---@return string|number? data
---@return string? message
---@return string? code
function stream:read(...) end

---Parks. What is there, as soon as there is anything.
---@param max? integer
---@param timeout? number
---@return string? data
---@return string? message
---@return string? code
function stream:read_some(max, timeout) end

---Parks. The next `count` bytes (1), or what there is before the end, which stay there.
---@param count? integer
---@param timeout? number
---@return string? data
---@return string? message
---@return string? code
function stream:peek(count, timeout) end

---Parks. What stands before the delimiter, which is taken, too, and with `keep` is part of
---the answer. "EMSGSIZE": there is none within `max` bytes (that of max_line).
---@param delimiter string
---@param max? integer|{ max: integer?, keep: boolean?, timeout: number? }
---@param timeout? number
---@return string? data
---@return string? message
---@return string? code
function stream:read_until(delimiter, max, timeout) end

---Each step parks: `for line in stream:lines() do`. An error is raised, and the end is the
---end of the loop.
---@param format? "l"|"L"|"a"|"n"|integer
---@param timeout? number of each step
---@return fun(): string|number|nil
function stream:lines(format, timeout) end

---The longest line that read accepts, in bytes without its newline; set it. At first it is
---1 MiB.
---@param bytes? integer
---@return integer bytes
function stream:max_line(bytes) end

---Parks. All of these texts and numbers, in one piece. `written`: how many bytes went
---out before the failure.
---@param ... string|number
---@return true? ok
---@return string? message
---@return string? code
---@return integer? written
function stream:write(...) end

---Parks. Of a file (or its path, or descriptor) `count` bytes (up to its end) from `offset`
---(0) on.
---@param file file*|string|integer
---@param offset? integer
---@param count? integer
---@param timeout? number
---@return integer? sent
---@return string? message
---@return string? code
---@return integer? written
function stream:sendfile(file, offset, count, timeout) end

---Parks. What comes in goes out to `other`, up to the end, or `count` bytes.
---@param other fern.stream
---@param count? integer
---@param timeout? number for all of it
---@return integer? copied
---@return string? message
---@return string? code
---@return integer? written
function stream:copy_to(other, count, timeout) end

---May park. No more goes out, comes in, or both (the default).
---@param direction? "read"|"write"|"both"
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function stream:shutdown(direction, timeout) end

---The time limit of each call that has none of its own; nil: none.
---@param seconds? number
---@return true
function stream:settimeout(seconds) end

---Bytes that have come in, and can be read without waiting.
---@return integer
function stream:buffered() end

---The descriptor, which stays the stream's.
---@return integer? fd
---@return string? message
---@return string? code
function stream:fd() end

---Wakes whoever reads or writes. May be called again.
---@return true
function stream:close() end

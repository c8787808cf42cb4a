---@meta
-- SPDX-License-Identifier: MIT

---@class fern.net
local net = {}

---@class fern.net.found
---@field family "inet"|"inet6"
---@field addr string
---@field port? integer         if a service was asked for

---Parks. The addresses of a name, the best first. Answers are kept for a while.
---@param name string
---@param options? { family: "inet"|"inet6"?, service: string|integer?, timeout: number? }
---@return fern.net.found[]? found
---@return string? message
---@return string? code
function net.resolve(name, options) end

---Parks. The name of an address.
---@param address string
---@param timeout? number
---@return string? name
---@return string? message
---@return string? code
function net.reverse(address, timeout) end

---For how many seconds answers are kept (5 unless told; 0: not at all), and how many.
---@param seconds number
---@param most? integer
---@return true
function net.keep_names(seconds, most) end

---Forgets all answers.
---@return true
function net.flush_names() end

return net

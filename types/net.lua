---@meta
-- SPDX-License-Identifier: MIT

---@class fern.net
local net = {}

---@class fern.net.listener
local listener = {}

---@class fern.net.connection : fern.stream
local connection = {}

---Parks. Host "*": all addresses; port 0: any that is free.
---@param host string
---@param port integer|string
---@param options? { backlog: integer? }
---@return fern.net.listener? listener
---@return string? message
---@return string? code
function net.listen(host, port, options) end

---Parks. To the first address of the host that answers.
---@param host string
---@param port integer|string
---@param options? { timeout: number? }
---@return fern.net.connection? connection
---@return string? message
---@return string? code
function net.connect(host, port, options) end

---Parks. The next connection.
---@param timeout? number
---@return fern.net.connection? connection
---@return string? message
---@return string? code
function listener:accept(timeout) end

---Our end, in numbers.
---@return string? host
---@return integer|string port_or_message
---@return string? code
function listener:address() end

---May be called again.
---@return true
function listener:close() end

---Our end, in numbers.
---@return string? host
---@return integer|string port_or_message
---@return string? code
function connection:address() end

---Their end, in numbers.
---@return string? host
---@return integer|string port_or_message
---@return string? code
function connection:peer() end

return net

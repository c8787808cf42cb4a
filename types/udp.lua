---@meta
-- SPDX-License-Identifier: MIT

---@class fern.net
local net = {}

---@class fern.net.udp
local udp = {}

---@class fern.net.udp.options
---@field family? "inet"|"inet6"|"unix"     default: IPv6 that takes IPv4 too; of a path: "unix"
---@field host? string                      to bind to; "*": all of ours
---@field port? integer|string              to bind to; 0: any that is free
---@field path? string                      to bind a Unix socket to; "@name": abstract; "@": a free one
---@field timeout? number                   for looking the host up
---@field broadcast? boolean
---@field ttl? integer
---@field multicast_ttl? integer
---@field multicast_loop? boolean
---@field multicast_interface? string|integer
---@field receive_buffer? integer
---@field send_buffer? integer
---@field reuseaddr? boolean
---@field reuseport? boolean

---May park, for a host by name. A socket for datagrams.
---@param options? fern.net.udp.options
---@return fern.net.udp? socket
---@return string? message
---@return string? code
function net.udp(options) end

---May park, for a name. Receive what is sent there. A Unix socket takes a path, and
---then the timeout.
---@param host string
---@param port? integer|string|number
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function udp:bind(host, port, timeout) end

---May park, for a name. Send there, and hear from there only. A Unix socket takes a
---path, and then the timeout.
---@param host string
---@param port? integer|string|number
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function udp:connect(host, port, timeout) end

---Send anywhere and hear everybody again.
---@return true? ok
---@return string? message
---@return string? code
function udp:disconnect() end

---Parks while there is no room. To the peer.
---@param data string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function udp:send(data, timeout) end

---Parks while there is no room, and for a name. A Unix socket takes a path, and then
---the timeout.
---@param data string
---@param host string
---@param port? integer|string|number
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function udp:sendto(data, host, port, timeout) end

---Parks. The next datagram, and its length if it was longer than `size`.
---@param size? integer
---@param timeout? number
---@return string? data
---@return integer|string? length_or_message
---@return string? code
function udp:receive(size, timeout) end

---Parks. The next datagram, the host and port that it came from (the path, of a Unix
---socket), and its length if it was longer than `size`.
---@param size? integer
---@param timeout? number
---@return string? data
---@return string? host_or_message
---@return integer|string? port_or_code
---@return integer? length
function udp:receive_from(size, timeout) end

---Our end: host and port, or a path.
---@return string? host
---@return integer|string? port_or_message
---@return string? code
function udp:address() end

---The end that it is connected to.
---@return string? host
---@return integer|string? port_or_message
---@return string? code
function udp:peer() end

---@param option string
---@param value boolean|integer|string
---@return true? ok
---@return string? message
---@return string? code
function udp:set(option, value) end

---@param option string
---@return boolean|integer|nil value
---@return string? message
---@return string? code
function udp:get(option) end

---Take part in a group, by an interface's name or number.
---@param group string
---@param interface? string|integer
---@return true? ok
---@return string? message
---@return string? code
function udp:join(group, interface) end

---@param group string
---@param interface? string|integer
---@return true? ok
---@return string? message
---@return string? code
function udp:leave(group, interface) end

---The descriptor.
---@return integer? fd
---@return string? message
---@return string? code
function udp:fd() end

---Wakes whoever waits. May be called again.
---@return true
function udp:close() end

return net

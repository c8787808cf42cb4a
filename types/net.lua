---@meta
-- SPDX-License-Identifier: MIT

---@class fern.net
local net = {}

---@class fern.net.listener
local listener = {}

---@class fern.net.connection : fern.stream
local connection = {}

---@class fern.net.server
local server = {}

---Options of sockets, of those that are made and those that are there.
---@class fern.net.socket_options
---@field nodelay? boolean
---@field cork? boolean
---@field keepalive? boolean
---@field keepalive_idle? integer seconds
---@field keepalive_interval? integer seconds
---@field keepalive_count? integer
---@field user_timeout? integer milliseconds
---@field linger? integer|false seconds
---@field rcvbuf? integer bytes
---@field sndbuf? integer bytes
---@field reuseport? boolean
---@field v6only? boolean

---@class fern.net.listen_options : fern.net.socket_options
---@field backlog? integer
---@field interface? string
---@field timeout? number of the look-up

---@class fern.net.connect_options : fern.net.socket_options
---@field timeout? number
---@field bind? string
---@field bind_port? integer
---@field interface? string
---@field stagger? number

---@class fern.net.server_options
---@field max? integer 1000
---@field on_error? fun(err: any, traceback: string, thread: fern.thread)
---@field timeout? number

---Parks. Host "*": all addresses; port 0: any that is free.
---@param host string
---@param port integer|string
---@param options? fern.net.listen_options
---@return fern.net.listener? listener
---@return string? message
---@return string? code
function net.listen(host, port, options) end

---A listener at a path, or at "@name", which has no file.
---@param path string
---@param options? { backlog: integer?, unlink: boolean?, mode: string|integer?, descriptors: boolean? }
---@return fern.net.listener? listener
---@return string? message
---@return string? code
function net.listen_unix(path, options) end

---Parks. To whichever address of the host answers first.
---@param host string
---@param port integer|string
---@param options? fern.net.connect_options
---@return fern.net.connection? connection
---@return string? message
---@return string? code
function net.connect(host, port, options) end

---Parks, while the listener's queue is full.
---@param path string
---@param options? { timeout: number?, descriptors: boolean? }
---@return fern.net.connection? connection
---@return string? message
---@return string? code
function net.connect_unix(path, options) end

---Two connections, each the other's end.
---@param options? { descriptors: boolean? }
---@return fern.net.connection? one
---@return fern.net.connection|string? other_or_message
---@return string? code
function net.pair(options) end

---Takes over a descriptor: a socket that listens, or a connection.
---@param fd integer
---@param options? { descriptors: boolean? }
---@return fern.net.listener|fern.net.connection? object
---@return string? message
---@return string? code
function net.open(fd, options) end

---The listeners that the process was started with, and their names; once. What does not
---listen is the number of its descriptor.
---@return (fern.net.listener|integer)[]? listeners
---@return string[]|string? names_or_message
---@return string? code
function net.inherited() end

---A server, that does nothing yet.
---@param listener fern.net.listener
---@param handler fun(connection: fern.net.connection, host: string?, port: integer?)
---@param options? fern.net.server_options
---@return fern.net.server server
function net.server(listener, handler, options) end

---Parks, until it is stopped: net.server(listener, handler, options):serve().
---@param listener fern.net.listener
---@param handler fun(connection: fern.net.connection, host: string?, port: integer?)
---@param options? fern.net.server_options
---@return true? ok
---@return string? message
---@return string? code
function net.serve(listener, handler, options) end

---Parks. The next connection.
---@param timeout? number
---@return fern.net.connection? connection
---@return string? message
---@return string? code
function listener:accept(timeout) end

---Our end, in numbers; of a Unix socket, its path or name.
---@return string? host
---@return integer|string? port_or_message
---@return string? code
function listener:address() end

---@return integer? fd
---@return string? message
---@return string? code
function listener:fd() end

---May be called again.
---@return true
function listener:close() end

---Our end, in numbers; of a Unix socket, its path or name.
---@return string? host
---@return integer|string? port_or_message
---@return string? code
function connection:address() end

---Their end, in numbers; of a Unix socket, its path or name, "" if it has none.
---@return string? host
---@return integer|string? port_or_message
---@return string? code
function connection:peer() end

---See fern.net.socket_options.
---@param name string
---@param value boolean|integer
---@return true? ok
---@return string? message
---@return string? code
function connection:setoption(name, value) end

---@param name string
---@return boolean|integer|nil value
---@return string? message
---@return string? code
function connection:getoption(name) end

---Who is at the other end of a Unix socket.
---@return { pid: integer, uid: integer, gid: integer }? credentials
---@return string? message
---@return string? code
function connection:credentials() end

---Parks. Writes data, and a descriptor along with its first byte.
---@param fd integer
---@param data string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function connection:send_fd(fd, data, timeout) end

---Parks. The next descriptor that came, or comes, with what is read.
---@param timeout? number
---@return integer? fd
---@return string? message
---@return string? code
function connection:receive_fd(timeout) end

---Parks, until it is stopped, and nobody is connected any more.
---@return true? ok
---@return string? message
---@return string? code
function server:serve() end

---Parks, but not for a handler of its own. Accept no more; those who are connected have so
---many seconds (nil: as long as they like) until they are killed.
---@param timeout? number
---@return true ok
function server:stop(timeout) end

---Parks. stop(0).
---@return true ok
function server:close() end

---@return { max: integer, connections: integer, accepted: integer, short_of: integer, running: boolean, stopped: boolean } statistics
function server:statistics() end

return net

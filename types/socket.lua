---@meta
-- SPDX-License-Identifier: MIT
-- LuaSocket's API. What fails gives nil and a message, and mostly no code: see
-- docs/modules/socket.md.

---LuaSocket's module `socket`, which is `socket.core` as well.
---@class fern.socket
local socket = {}

---The table socket.dns.
---@class fern.socket.dns
local dns = {}

---LuaSocket's module `socket.unix`. It may be called, and makes a stream then.
---@class fern.socket.unix
local unix = {}

---What all sockets have.
---@class fern.socket.any
local any = {}

---Streams of bytes.
---@class fern.socket.buffered : fern.socket.any
local buffered = {}

---tcp{master}, tcp{client} or tcp{server}.
---@class fern.socket.tcp : fern.socket.buffered
local tcp = {}

---unixstream{master}, {client} or {server}.
---@class fern.socket.unixstream : fern.socket.buffered
local unixstream = {}

---serial{client}: a serial line.
---@class fern.socket.serial : fern.socket.buffered
local serial = {}

---udp{unconnected} or udp{connected}.
---@class fern.socket.udp : fern.socket.any
local udp = {}

---unixdgram{unconnected} or unixdgram{connected}.
---@class fern.socket.unixdgram : fern.socket.any
local unixdgram = {}

---A master that decides for IPv4 or IPv6 when it gets an address.
---@return fern.socket.tcp? master
---@return string? message
function socket.tcp() end

---A master of IPv4.
---@return fern.socket.tcp? master
---@return string? message
function socket.tcp4() end

---A master of IPv6.
---@return fern.socket.tcp? master
---@return string? message
function socket.tcp6() end

---A socket that decides for IPv4 or IPv6 when it gets an address.
---@return fern.socket.udp? unconnected
---@return string? message
function socket.udp() end

---Of IPv4.
---@return fern.socket.udp? unconnected
---@return string? message
function socket.udp4() end

---Of IPv6.
---@return fern.socket.udp? unconnected
---@return string? message
function socket.udp6() end

---Parks. To the first address that answers.
---@param host string
---@param port integer|string
---@param local_host? string
---@param local_port? integer|string
---@param family? "unspec"|"inet"|"inet6"
---@return fern.socket.tcp? client
---@return string? message
function socket.connect(host, port, local_host, local_port, family) end

---Parks. By IPv4.
---@param host string
---@param port integer|string
---@param local_host? string
---@param local_port? integer|string
---@return fern.socket.tcp? client
---@return string? message
function socket.connect4(host, port, local_host, local_port) end

---Parks. By IPv6.
---@param host string
---@param port integer|string
---@param local_host? string
---@param local_port? integer|string
---@return fern.socket.tcp? client
---@return string? message
function socket.connect6(host, port, local_host, local_port) end

---Parks, if the host is a name. Host "*": all of IPv4; port 0: any.
---@param host string
---@param port integer|string
---@param backlog? integer
---@return fern.socket.tcp? server
---@return string? message
function socket.bind(host, port, backlog) end

---Parks. Of whatever has a method getfd: arrays that are maps from the object to its place, too.
---@param readers? table
---@param writers? table
---@param timeout? number
---@return table readable
---@return table writable
---@return "timeout"? message
function socket.select(readers, writers, timeout) end

---Parks.
---@param seconds number
function socket.sleep(seconds) end

---Seconds since 1970.
---@return number
function socket.gettime() end

---A function that returns nil and the error that a `try` in `fn` has raised.
---@param fn function
---@return function
function socket.protect(fn) end

---A function that returns its arguments or, if the first is false or nil, calls the
---finalizer and raises the second.
---@param finalizer? function
---@return function
function socket.newtry(finalizer) end

---Its arguments; if the first is false or nil, the second is raised, for `protect`.
---@param ... any
---@return any ...
function socket.try(...) end

---What comes after so many of the arguments.
---@param count integer
---@param ... any
---@return any ...
function socket.skip(count, ...) end

---A function that calls the one of `makers` that its first argument names.
---@param makers table<string, function>
---@return function
function socket.choose(makers) end

---A source of LTN12: "until-closed" (the default) or "by-length".
---@param name string
---@param sock fern.socket.buffered
---@param ... any
---@return function
function socket.source(name, sock, ...) end

---A sink of LTN12: "keep-open" (the default) or "close-when-done".
---@param name string
---@param sock fern.socket.buffered
---@return function
function socket.sink(name, sock) end

---Parks. The host's first address of IPv4, and all that is known of it.
---@param host string
---@return string? ip
---@return table|string resolved
function dns.toip(host) end

---Parks. The host's name, and all that is known of it.
---@param host string
---@return string? name
---@return table|string resolved
function dns.tohostname(host) end

---Parks. An array of { family =, addr = }.
---@param host string
---@return table? addresses
---@return string? message
function dns.getaddrinfo(host) end

---Parks. An array of names, and the service's.
---@param host? string
---@param service? string
---@return table? names
---@return string? service_or_message
function dns.getnameinfo(host, service) end

---This machine's name.
---@return string? name
---@return string? message
function dns.gethostname() end

---A master.
---@return fern.socket.unixstream? master
---@return string? message
function unix.stream() end

---A master.
---@return fern.socket.unixstream? master
---@return string? message
function unix.tcp() end

---A socket for datagrams.
---@return fern.socket.unixdgram? unconnected
---@return string? message
function unix.dgram() end

---A socket for datagrams.
---@return fern.socket.unixdgram? unconnected
---@return string? message
function unix.udp() end

---Whoever waits for it is told "closed". May be called again.
---@return 1
function any:close() end

---Its descriptor, or -1.
---@return integer
function any:getfd() end

---The descriptor that it had stays open, and is no longer its own. -1: none.
---@param fd integer
function any:setfd(fd) end

---Is there something in its buffer?
---@return boolean
function any:dirty() end

---How long a call may take; nil or negative: for ever; 0: it never waits. With both modes,
---"b" is of each wait and "t" (or "r") of the whole call.
---@param seconds? number
---@param mode? "b"|"t"|"r"
---@return 1
function any:settimeout(seconds, mode) end

---Parks. "*l" (the default): a line, without its CRs; "*a": all up to the end; a number:
---so many bytes, with those of the prefix. Also "l", "L" and "a".
---@param pattern? string|number
---@param prefix? string
---@return string? data
---@return string? message
---@return string? partial
function buffered:receive(pattern, prefix) end

---Parks. All of it.
---@param data string
---@param first? integer
---@param last? integer
---@return integer? last
---@return string? message
---@return integer? last_sent
function buffered:send(data, first, last) end

---Bytes received and sent, and its age in seconds.
---@return number received
---@return number sent
---@return number age
function buffered:getstats() end

---What is not given stays.
---@param received? number
---@param sent? number
---@param age? number
---@return 1
function buffered:setstats(received, sent, age) end

---Parks. A server: the next connection.
---@return fern.socket.tcp? client
---@return string? message
function tcp:accept() end

---A master. Parks, if the host is a name.
---@param host string
---@param port integer|string
---@return 1? ok
---@return string? message
function tcp:bind(host, port) end

---A master. Parks, if the host is a name.
---@param host string
---@param port integer|string
---@return 1? ok
---@return string? message
function tcp:setsockname(host, port) end

---Parks. It becomes a client.
---@param host string
---@param port integer|string
---@return 1? ok
---@return string? message
function tcp:connect(host, port) end

---Parks. It becomes a client.
---@param host string
---@param port integer|string
---@return 1? ok
---@return string? message
function tcp:setpeername(host, port) end

---A master becomes a server.
---@param backlog? integer
---@return 1? ok
---@return string? message
function tcp:listen(backlog) end

---A client.
---@param directions? "both"|"send"|"receive"
---@return 1
function tcp:shutdown(directions) end

---See LuaSocket's manual. What has no descriptor yet remembers it.
---@param name string
---@param value any
---@return 1? ok
---@return string? message
function tcp:setoption(name, value) end

---Our end.
---@return string? ip
---@return integer|string port_or_message
---@return string? family
function tcp:getsockname() end

---Their end.
---@return string? ip
---@return integer|string port_or_message
---@return string? family
function tcp:getpeername() end

---@return "inet4"|"inet6"
function tcp:getfamily() end

----1: none.
---@return number block
---@return number total
function tcp:gettimeout() end

---@param name string
---@return any value
---@return string? message
function tcp:getoption(name) end

---Parks. A server: the next connection.
---@return fern.socket.unixstream? client
---@return string? message
function unixstream:accept() end

---A master.
---@param path string
---@return 1? ok
---@return string? message
function unixstream:bind(path) end

---A master.
---@param path string
---@return 1? ok
---@return string? message
function unixstream:setsockname(path) end

---Parks. It becomes a client.
---@param path string
---@return 1? ok
---@return string? message
function unixstream:connect(path) end

---Parks. It becomes a client.
---@param path string
---@return 1? ok
---@return string? message
function unixstream:setpeername(path) end

---A master becomes a server.
---@param backlog? integer
---@return 1? ok
---@return string? message
function unixstream:listen(backlog) end

---A client.
---@param directions? "both"|"send"|"receive"
---@return 1
function unixstream:shutdown(directions) end

---See LuaSocket's manual. What has no descriptor yet remembers it.
---@param name string
---@param value any
---@return 1? ok
---@return string? message
function unixstream:setoption(name, value) end

---Its path, or "".
---@return string? path
---@return string? message
function unixstream:getsockname() end

---Parks. A connected one.
---@param data string
---@return integer? count
---@return string? message
function udp:send(data) end

---Parks. An unconnected one. The address is in numbers.
---@param data string
---@param ip string
---@param port integer|string
---@return integer? count
---@return string? message
function udp:sendto(data, ip, port) end

---Parks. A datagram, of which more than `size` (8192) bytes are lost.
---@param size? integer
---@return string? data
---@return string? message
function udp:receive(size) end

---Parks. The same of an unconnected one, and who has sent it.
---@param size? integer
---@return string? data
---@return string? ip_or_message
---@return integer? port
function udp:receivefrom(size) end

----1: none.
---@return number block
---@return number total
function udp:gettimeout() end

---See LuaSocket's manual.
---@param name string
---@param value any
---@return 1? ok
---@return string? message
function udp:setoption(name, value) end

---Our end.
---@return string? ip
---@return integer|string port_or_message
---@return string? family
function udp:getsockname() end

---Their end.
---@return string? ip
---@return integer|string port_or_message
---@return string? family
function udp:getpeername() end

---@return "inet4"|"inet6"
function udp:getfamily() end

---@param name string
---@return any value
---@return string? message
function udp:getoption(name) end

---Parks, if the host is a name.
---@param host string
---@param port integer|string
---@return 1? ok
---@return string? message
function udp:setsockname(host, port) end

---Parks, if the host is a name. Host "*": it is connected no longer.
---@param host string
---@param port? integer|string
---@return 1? ok
---@return string? message
function udp:setpeername(host, port) end

---Parks. A connected one.
---@param data string
---@return integer? count
---@return string? message
function unixdgram:send(data) end

---Parks. An unconnected one.
---@param data string
---@param path string
---@return integer? count
---@return string? message
function unixdgram:sendto(data, path) end

---Parks. A datagram, of which more than `size` (8192) bytes are lost.
---@param size? integer
---@return string? data
---@return string? message
function unixdgram:receive(size) end

---Parks. The same of an unconnected one, and who has sent it.
---@param size? integer
---@return string? data
---@return string? path_or_message
function unixdgram:receivefrom(size) end

----1: none.
---@return number block
---@return number total
function unixdgram:gettimeout() end

---See LuaSocket's manual.
---@param name string
---@param value any
---@return 1? ok
---@return string? message
function unixdgram:setoption(name, value) end

---@param path string
---@return 1? ok
---@return string? message
function unixdgram:bind(path) end

---@param path string
---@return 1? ok
---@return string? message
function unixdgram:setsockname(path) end

---@param path string
---@return 1? ok
---@return string? message
function unixdgram:connect(path) end

---@param path string
---@return 1? ok
---@return string? message
function unixdgram:setpeername(path) end

---Its path, or "".
---@return string? path
---@return string? message
function unixdgram:getsockname() end

return socket

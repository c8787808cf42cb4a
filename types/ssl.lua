---@meta
-- SPDX-License-Identifier: MIT
-- LuaSec's API. What fails gives nil and a message: see docs/modules/socket.md.

---LuaSec's module `ssl`.
---@class fern.ssl
local ssl = {}

---TLS over a socket, which is gone then.
---@class fern.ssl.connection : fern.socket.any
local connection = {}

---What handshakes are made with. `mode` and `protocol` are needed; the rest is as LuaSec's.
---@param cfg table
---@return fern.tls.context? context
---@return string? message
function ssl.newcontext(cfg) end

---An object, before its handshake. What the socket had in its buffer is not lost.
---@param sock fern.socket.tcp
---@param cfg table|fern.tls.context
---@return fern.ssl.connection? connection
---@return string? message
function ssl.wrap(sock, cfg) end

---The first certificate in a PEM text, with the methods of getpeercertificate's.
---@param pem string
---@return table? certificate
function ssl.loadcertificate(pem) end

---Parks. May be called again after "wantread".
---@return boolean ok
---@return string? message
function connection:dohandshake() end

---A client: the name to ask the server for. A server: names and their contexts.
---@param names string|table<string, fern.tls.context>
---@param strict? boolean
function connection:sni(names, strict) end

---Parks. As of sockets.
---@param pattern? string|number
---@param prefix? string
---@return string? data
---@return string? message
---@return string? partial
function connection:receive(pattern, prefix) end

---Parks. As of sockets.
---@param data string
---@param first? integer
---@param last? integer
---@return integer? last
---@return string? message
---@return integer? last_sent
function connection:send(data, first, last) end

---@return number received
---@return number sent
---@return number age
function connection:getstats() end

---@param received? number
---@param sent? number
---@param age? number
---@return 1
function connection:setstats(received, sent, age) end

---What the last call was out of time for.
---@return "nothing"|"read"|"write"
function connection:want() end

---All of protocol, cipher, bits, algbits, key, authentication, encryption, mac, export, or
---one of them; nil, "closed" before the handshake.
---@param field? string
---@return table|string|nil
function connection:info(field) end

---@return string? protocol
function connection:getalpn() end

---@return string? name
function connection:getsniname() end

---Was the peer's certificate good, whatever was done about it?
---@return boolean? good
---@return string? why_not
function connection:getpeerverification() end

---Number `index` of the peer's chain: pem(), serial(), subject(), issuer(), notbefore(),
---notafter(), validat(time), digest([algorithm]), extensions().
---@param index? integer
---@return table? certificate
function connection:getpeercertificate(index) end

---@return table[] certificates
function connection:getpeerchain() end

---Our own certificate, or the next one that we send with it.
---@param index? integer
---@return table? certificate
function connection:getlocalcertificate(index) end

---@return table[] certificates
function connection:getlocalchain() end

---@return string? message
function connection:getfinished() end

---@return string? message
function connection:getpeerfinished() end

---@param label string
---@param length integer
---@param context? string
---@return string? material
function connection:exportkeyingmaterial(label, length, context) end

return ssl

---@meta
-- SPDX-License-Identifier: MIT
-- LuaSec's API. What fails gives nil and a message: see docs/modules/socket.md.

---LuaSec's module `ssl`.
---@class fern.ssl
---@field config table            what there is: algorithms, capabilities, curves, options, protocols
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

---Parks. May be called again after "wantread".
---@return boolean ok
---@return string? message
function connection:dohandshake() end

---A client: the name to ask the server for. A server: names and their contexts.
---@param names string|table<string, fern.tls.context>
---@param strict? boolean
function connection:sni(names, strict) end

---A client: records of the DNS for that name say what the certificate has to be.
---@param host string
---@return boolean done           false: the context is without `dane`
function connection:setdane(host) end

---One of the records.
---@param usage integer
---@param selector integer
---@param kind integer
---@param data string
---@return boolean done           false: it is of no use
function connection:settlsa(usage, selector, kind, data) end

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

---Of { protocol, cipher, key, authentication, encryption, mac, bits, algbits, export } all,
---or one; nil, "closed" before the handshake.
---@param field? string
---@return table|string|integer|boolean|nil
---@return string? message
function connection:info(field) end

---@return string? protocol
function connection:getalpn() end

---@return string? name
function connection:getsniname() end

---Was the peer's certificate good, whatever was done about it? With "lsec_continue", an
---array for each certificate of its chain with what is wrong with it.
---@return boolean good
---@return string|table<integer, string[]>|nil why_not
function connection:getpeerverification() end

---Number `index` of the peer's chain.
---@param index? integer
---@return fern.ssl.certificate? certificate
---@return string? message
function connection:getpeercertificate(index) end

---@return fern.ssl.certificate[]? certificates
---@return string? message
function connection:getpeerchain() end

---Number `index` of our own.
---@param index? integer
---@return fern.ssl.certificate? certificate
---@return string? message
function connection:getlocalcertificate(index) end

---@return fern.ssl.certificate[]? certificates
---@return string? message
function connection:getlocalchain() end

---The message that finished our part of the handshake.
---@return string? message
---@return string? why_not
function connection:getfinished() end

---And the peer's part.
---@return string? message
---@return string? why_not
function connection:getpeerfinished() end

---@param label string
---@param length integer
---@param context? string
---@return string? material
---@return string? message
function connection:exportkeyingmaterial(label, length, context) end

---A certificate.
---@class fern.ssl.certificate
local certificate = {}

---@class fern.ssl.part
---@field oid string
---@field name string
---@field value string

---Of a PEM text; nil if it is none.
---@param pem string
---@return fern.ssl.certificate? certificate
function ssl.loadcertificate(pem) end

---In hexadecimal digits.
---@param algorithm? "sha1"|"sha256"|"sha512"
---@return string? digest
---@return string? message
function certificate:digest(algorithm) end

---How texts are given: as they stand ("ai5"), or in UTF-8.
---@param encoding "ai5"|"utf8"
---@return boolean known
function certificate:setencode(encoding) end

---The other names that it is for, by kind: ["2.5.29.17"] = { dNSName = {...}, ... }.
---@return table extensions
function certificate:extensions() end

---@return string name
function certificate:getsignaturename() end

---@return fern.ssl.part[]
function certificate:subject() end

---@return fern.ssl.part[]
function certificate:issuer() end

---@return string
function certificate:notbefore() end

---@return string
function certificate:notafter() end

---@param time integer
---@return boolean
function certificate:validat(time) end

---Has it issued the other one, perhaps by way of more?
---@param other fern.ssl.certificate
---@param ... fern.ssl.certificate
---@return true? issued
---@return string? why_not
function certificate:issued(other, ...) end

---@return string
function certificate:pem() end

---@return string? pem
---@return string? kind
---@return integer? bits
function certificate:pubkey() end

---@return string
function certificate:serial() end

return ssl

---@meta
-- SPDX-License-Identifier: MIT

---@class fern.tls
local tls = {}

---What handshakes are made with. Shared by as many connections as you like.
---@class fern.tls.context
local context = {}

---@class fern.tls.stream : fern.stream
local stream = {}

---@class fern.tls.listener
local listener = {}

---@class fern.tls.identity
---@field certificate string
---@field key? string
---@field password? string|fun(): string?

---Certificates, keys and parameters are paths of PEM files, or PEM itself.
---@class fern.tls.context_options
---@field server? boolean
---@field verify? boolean|"none"|"peer"|"require"  a client: true; a server: false
---@field dane? boolean|"any_host"  a client: for connections with tlsa
---@field lenient? boolean        who is verified is not refused: see stream:flaws
---@field purpose? "client"|"server"|"any"  what the peer's certificate must be good for
---@field depth? integer          of chains of certificates
---@field cafile? string          whom to trust; the system's authorities
---@field capath? string          a folder of them
---@field crl? string             lists of revoked certificates, besides those in the two
---@field crl_check? "none"|"leaf"|"chain"  "chain" if there is crl, else "none"
---@field certificate? string     ours, followed by those that lead to an authority
---@field key? string             its key, if it is not in the same file
---@field password? string|fun(): string?  of the key; a function may park
---@field certificates? fern.tls.identity[]  further ones, with keys of other kinds
---@field ciphers? string         up to TLS 1.2
---@field ciphersuites? string    of TLS 1.3
---@field curves? string
---@field dh? string
---@field min_version? "TLSv1"|"TLSv1.1"|"TLSv1.2"|"TLSv1.3"  TLSv1.2
---@field max_version? "TLSv1"|"TLSv1.1"|"TLSv1.2"|"TLSv1.3"
---@field options? string[]       of OpenSSL's, "no_ticket" for SSL_OP_NO_TICKET
---@field alpn? string[]|fun(offered: string[]): string|string[]|false|nil  protocols, the best first
---@field psk? fun(name: string?, longest: integer, longest_key: integer?): string?, string?  must not wait: a
---server's psk(identity, longest_key) -> key; a client's psk(hint, longest_identity, longest_key) -> identity, key
---@field psk_hint? string        a server's, up to TLS 1.2
---@field handshake_timeout? number  a server: 10
---@field sessions? integer       a client keeps one of so many servers: 128; 0: none at all
---@field sni? table<string, fern.tls.context>|fun(name: string?): fern.tls.context|false|nil

---Those of a context may stand here as well.
---@class fern.tls.options : fern.tls.context_options
---@field context? fern.tls.context
---@field host? string            who the certificate has to be of
---@field any_host? boolean       of anybody
---@field server_name? string     to ask the server for; the host, if that is a name
---@field tlsa? { [1]: integer, [2]: integer, [3]: integer, [4]: string }[]  what the DNS says of the certificate
---@field session? string         whose sessions are resumed; the host's
---@field timeout? number         for all of it
---@field handshake? boolean      false: the first call that reads or writes makes it
---@field connect? table          options of net.connect

---@class fern.tls.certificate
---@field subject string          as of RFC 2253
---@field issuer string
---@field subject_parts { oid: string, name: string, value: string }[]   "2.5.4.3", "commonName", "a.test"
---@field issuer_parts { oid: string, name: string, value: string }[]
---@field names string[]          "DNS:a.test", "IP:192.0.2.1", "email:a@b.test", "URI:..."
---@field not_before integer      as of os.time
---@field not_after integer
---@field serial string           in hex
---@field fingerprint string      SHA-256, in hex
---@field pem string

---Parks.
---@param options fern.tls.context_options
---@return fern.tls.context? context
---@return string? message
---@return string? code
function tls.context(options) end

---Parks. A connection and its handshake.
---@param host string
---@param port integer|string
---@param options? fern.tls.options
---@return fern.tls.stream? stream
---@return string? message
---@return string? code
function tls.connect(host, port, options) end

---Parks. TLS over a stream, which is gone into the one that is returned.
---@param from fern.stream
---@param options? fern.tls.options
---@return fern.tls.stream? stream
---@return string? message
---@return string? code
function tls.wrap(from, options) end

---Parks.
---@param host string
---@param port integer|string
---@param options fern.tls.context_options|fern.tls.context
---@param listening? table        options of net.listen
---@return fern.tls.listener? listener
---@return string? message
---@return string? code
function tls.listen(host, port, options, listening) end

---May park. A listener over another one, which it owns.
---@param plain fern.net.listener
---@param options fern.tls.context_options|fern.tls.context
---@return fern.tls.listener? listener
---@return string? message
---@return string? code
function tls.listener(plain, options) end

---A handler for net.serve: `fn` is called once the handshake has been made.
---@param fn fun(stream: fern.tls.stream, ...)
---@param on_handshake_error? fun(message: string, code: string, ...)
---@return fun(stream: fern.tls.stream, ...)
function tls.handler(fn, on_handshake_error) end

---Parks. As net.serve, with the handshake in the connection's own thread.
---@param from fern.tls.listener
---@param handler fun(stream: fern.tls.stream, ...)
---@param options? table          of net.serve, and on_handshake_error
---@return true? ok
---@return string? message
---@return string? code
function tls.serve(from, handler, options) end

---Parks. Handshakes from now on are made with these options in place of the old ones;
---files are read again. Connections go on as they are.
---@param options? fern.tls.context_options
---@return true? ok
---@return string? message
---@return string? code
function context:reload(options) end

---A server: clients that ask for this name are served by another context; nil: no more.
---@param name string
---@param other? fern.tls.context
---@return true
function context:add(name, other) end

---@return boolean
function context:is_server() end

---Parks. The next connection, before its handshake, which the first call that reads or
---writes makes.
---@param timeout? number
---@return fern.tls.stream? stream
---@return string? message
---@return string? code
function listener:accept(timeout) end

---@return string? host
---@return integer|string port_or_message
---@return string? code
function listener:address() end

---May be called again.
---@return true
function listener:close() end

---Parks. Make the handshake, unless it has been made.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function stream:handshake(timeout) end

---"TLSv1.3"; nil before the handshake, as the following.
---@return string?
function stream:version() end

---Its name, strength in bits, that of its algorithm, and OpenSSL's words for it.
---@return string? name
---@return integer? bits
---@return integer? algorithm_bits
---@return string? details
function stream:cipher() end

---The name that the client has asked for.
---@return string?
function stream:sni() end

---The protocol that was agreed on.
---@return string?
function stream:alpn() end

---@return boolean
function stream:session_reused() end

---Has the peer left without a good-bye?
---@return boolean
function stream:truncated() end

---Is the peer's certificate good? Else false and why not, however the context verifies.
---@return boolean?
---@return string? why_not
function stream:verified() end

---What is wrong with the peer's certificates, of a lenient context; nil before the handshake.
---@return { message: string, index: integer }[]?
function stream:flaws() end

---The peer's; 2 and so on: those that lead to its authority.
---@param index? integer
---@return fern.tls.certificate?
function stream:peer_certificate(index) end

---Keying material (RFC 5705), of 32 bytes unless told.
---@param label string
---@param length? integer
---@param context? string
---@return string? material
---@return string? message
---@return string? code
function stream:export(label, length, context) end

---The finished message of ours, or of the peer's (RFC 5929: "tls-unique" up to TLS 1.2).
---@param peer? boolean
---@return string? message
function stream:finished(peer) end

---What the last call that was out of time waited for.
---@return "read"|"write"|nil
function stream:want() end

---That of the connection below: not to be read or written.
---@return integer? fd
---@return string? message
---@return string? code
function stream:fd() end

---Our end.
---@return string? host
---@return integer|string port_or_message
---@return string? code
function stream:address() end

---Their end.
---@return string? host
---@return integer|string port_or_message
---@return string? code
function stream:peer() end

return tls

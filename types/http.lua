---@meta
-- SPDX-License-Identifier: MIT

---@class fern.http
local http = {}

---Names and values for a query or a form: a table, taken in the order of the
---names, or an array of pairs.
---@alias fern.http.fields table<string, string|number|(string|number)[]>|{ [1]: string|number, [2]: string|number }[]

---A body that comes in pieces: a function that returns the next one (nil at the
---end; nil, message, code to fail), a stream, or a file of io's.
---@alias fern.http.source (fun(): string?, string?, string?)|fern.stream|file*

---@class fern.http.part
---@field name? string in an array of parts
---@field body? string|number|fern.http.source
---@field file? string a file's name, instead of a body
---@field filename? string default: that of the file
---@field type? string
---@field size? integer of a body that comes in pieces

---@class fern.http.options
---@field method? string default "GET", or "POST" with a body
---@field headers? table<string, string|number|(string|number)[]>
---@field query? fern.http.fields appended to the URL
---@field body? string|fern.http.source
---@field body_size? integer of one that comes in pieces; default: nobody knows
---@field form? fern.http.fields instead of a body
---@field multipart? table<string, string|number|fern.http.part>|fern.http.part[] the same, with files
---@field stream? boolean return at the head; the body is read from the response
---@field timeout? number over the whole request, a streamed body too
---@field head_timeout? number with stream: until the head is there
---@field max_redirects? integer default 10; 0: a redirect is an answer too
---@field max_body? integer bytes, unpacked; default: no limit
---@field cookies? fern.http.cookies
---@field cafile? string certificates to trust; default: the system's
---@field verify? boolean default true
---@field proxy? string its URL, or "" for none; default: the environment's
---@field http_version? "1.0"|"1.1"|"2"

---@class fern.http.request.options: fern.http.options
---@field url string

---@class fern.http.response
---@field status integer
---@field headers table<string, string> a name in any case
---@field body string|fern.http.body a stream if it was asked for with `stream`
---@field url string after redirects
local response = {}

---Every value of a header, in the order received.
---@param name string
---@return string[]
function response:header_list(name) end

---@class fern.http.body : fern.stream
local body = {}

---While it comes; nil once it is closed.
---@return fern.http.timings?
function body:timings() end

---@class fern.http.timings
---@field lookup number seconds since the request began: the address was known
---@field connect number there was a connection
---@field tls number it was secure; 0: there was no need
---@field first_byte number of the answer
---@field total number
---@field received integer bytes of bodies, on the wire
---@field sent integer
---@field reused boolean its connection was there already

---@return fern.http.timings
function response:timings() end

---Parks. As a stream's; so are the others up to close. Raise unless the request
---was made with `stream`.
---@param ... "l"|"L"|"a"|"n"|integer|number
---@return string? ...
function response:read(...) end

---Parks.
---@param ... integer|number
---@return string?
---@return string? message
---@return string? code
function response:read_some(...) end

---Parks.
---@param ... string|number
---@return string?
---@return string? message
---@return string? code
function response:read_until(...) end

---@param ... "l"|"L"|integer
---@return fun(): string?
function response:lines(...) end

---Parks.
---@param ... fern.stream|integer|number
---@return integer?
---@return string? message
---@return string? code
function response:copy_to(...) end

---@param ... number?
function response:settimeout(...) end

---What has not been read is not waited for. May be called again.
---@return true
function response:close() end

---Parks. An answer with any status is a success.
---@param url string
---@param options? fern.http.options
---@return fern.http.response? response
---@return string? message "URL: what went wrong"
---@return string? code
function http.get(url, options) end

---Parks. The same with the URL among the options.
---@param options fern.http.request.options
---@return fern.http.response? response
---@return string? message
---@return string? code
function http.request(options) end

---"a=1&b=2"
---@param fields fern.http.fields
---@return string
function http.encode(fields) end

---@class fern.http.client.options: fern.http.options
---@field base? string what URLs are relative to
---@field cookies? true|fern.http.cookies true: a jar of its own
---@field max_connections? integer at once; default: no limit
---@field max_host_connections? integer at once to one host; default: no limit
---@field max_idle? integer kept open for the next requests; default 512

---Connections, cookies and defaults of its own.
---@param options? fern.http.client.options
---@return fern.http.client
function http.client(options) end

---@class fern.http.client
---@field cookies fern.http.cookies?
local client = {}

---Parks.
---@param url string
---@param options? fern.http.options
---@return fern.http.response? response
---@return string? message
---@return string? code
function client:get(url, options) end

---Parks.
---@param options fern.http.request.options
---@return fern.http.response? response
---@return string? message
---@return string? code
function client:request(options) end

---@class fern.http.statistics
---@field running integer requests under way
---@field connections integer open, idle ones too
---@field requests integer begun; each redirect is one more
---@field failed integer
---@field connected integer connections made, or tried
---@field reused integer answers on a connection that was there
---@field received integer bytes of bodies, on the wire
---@field sent integer

---@return fern.http.statistics
function client:statistics() end

---Requests under way fail. May be called again.
---@return true
function client:close() end

---Of all requests that were made without a client.
---@return fern.http.statistics
function http.statistics() end

---A jar of cookies, in memory; with what `text` holds.
---@param text? string what jar:text() gave
---@return fern.http.cookies?
---@return string? message
---@return string? code
function http.cookies(text) end

---@class fern.http.cookies
local jar = {}

---@class fern.http.cookie
---@field domain string
---@field name string
---@field value string
---@field path? string default "/"
---@field subdomains? boolean
---@field secure? boolean only over TLS
---@field http_only? boolean
---@field expires? integer seconds since 1970; default: with the jar

---@return fern.http.cookie[]
function jar:list() end

---@param cookie fern.http.cookie
---@return true
function jar:set(cookie) end

---@return true
function jar:clear() end

---In the format of Netscape's cookie files.
---@return string
function jar:text() end

return http

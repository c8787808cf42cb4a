---@meta
-- SPDX-License-Identifier: MIT

---@class fern.http
local http = {}

---@class fern.http.options
---@field method? string default "GET", or "POST" with a body
---@field headers? table<string, string|number|(string|number)[]>
---@field body? string
---@field timeout? number over the whole request
---@field max_redirects? integer default 10; 0: a redirect is an answer too
---@field max_body? integer bytes, unpacked; default: no limit
---@field cafile? string certificates to trust; default: the system's
---@field verify? boolean default true
---@field proxy? string its URL, or "" for none; default: the environment's
---@field http_version? "1.0"|"1.1"|"2"

---@class fern.http.request.options: fern.http.options
---@field url string

---@class fern.http.response
---@field status integer
---@field headers table<string, string> a name in any case
---@field body string
---@field url string after redirects
local response = {}

---Every value of a header, in the order received.
---@param name string
---@return string[]
function response:header_list(name) end

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

return http

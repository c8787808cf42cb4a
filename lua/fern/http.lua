-- SPDX-License-Identifier: MIT
-- http: fetch pages, and send what there is to send. What the caller passes is
-- checked here; fern.http.core does the rest.
--
--    local response = assert(http.get("https://example.com/", { timeout = 10 }))
--    print(response.status, response.headers["content-type"], #response.body)

require "fern"
local ok, core = pcall(require, "fern.http.core")
if not ok then
  local why = core:find("'fern.http.core' not found", 1, true) and "" or "\n" .. core
  error("fern.http needs a fern built with libcurl"
    .. " (Debian: libcurl4-openssl-dev, Fedora: libcurl-devel, Alpine: curl-dev)" .. why, 0)
end
local cookies = require "fern.http.cookies"
local misuse = require "fern.misuse"
local forms = require "fern.http.forms"
local options = require "fern.http.options"
local sending = require "fern.http.sending"

local http = { cookies = cookies.new }

-- ---- requests ----

local function find_fault(url, given, ignored)
  if type(url) ~= "string" then return ("bad url (string expected, got %s)"):format(type(url)) end
  return options.fault(options.request, given, ignored)
end

local function check_table(position, name, value, level)
  if type(value) == "table" then return end
  error(("bad argument #%d to '%s' (table expected, got %s)"):format(position, name, type(value)), level + 1)
end

local function has_header(headers, wanted)
  for name in pairs(headers or {}) do
    if name:lower() == wanted then return true end
  end
  return false
end

-- What has to be made of the body before it can be sent: into `plain`, or into
-- `feed` for what comes in pieces. Returns true, or nil, message, code.
local function prepare_body(given, plain, feed)
  if given.multipart then
    local message, code
    plain.parts, message, code = forms.parts(given.multipart, feed)
    return plain.parts ~= nil, message, code
  elseif given.form then
    plain.body = forms.encode(given.form)
    if not has_header(given.headers, "content-type") then
      plain.headers = plain.headers or {}
      table.insert(plain.headers, "Content-Type")
      table.insert(plain.headers, "application/x-www-form-urlencoded")
    end
  elseif type(given.body) == "string" then
    plain.body = given.body
  elseif given.body ~= nil then
    plain.upload = feed:add(given.body, nil, given.body_size)
  end
  return true
end

local function request(url, given, client)
  local feed = sending.new()
  local plain = {
    method = given.method and given.method:upper(), headers = options.flatten(given.headers),
    timeout = given.timeout, head_timeout = given.head_timeout, max_redirects = given.max_redirects,
    max_body = given.max_body, cafile = given.cafile, verify = given.verify, proxy = given.proxy,
    http_version = options.version(given.http_version), stream = given.stream,
    jar = given.cookies and given.cookies.core, client = client,
  }
  local done, message, code = prepare_body(given, plain, feed)
  if not done then return nil, url .. ": " .. message, code end
  if given.query then url = forms.append(url, given.query) end
  return feed:send(url, plain)
end

-- request{url=, method=, headers=, body=...} -> response, or nil, message, code.
function http.request(given)
  misuse.check_dot("request", http, given)
  check_table(1, "request", given, 2)
  local fault = find_fault(given.url, given, "url")
  if fault then error(fault, 2) end
  return request(given.url, given)
end

-- get(url [, options]): as request, with the URL in front.
function http.get(url, given)
  misuse.check_dot("get", http, url)
  if given == nil and type(url) == "string" then return core.request(url) end
  if given ~= nil then check_table(2, "get", given, 2) end
  local fault = find_fault(url, given or {})
  if fault then error(fault, 2) end
  return request(url, given or {})
end

-- encode(fields): as a query or a form has them, "a=1&b=2".
function http.encode(fields)
  local fault = forms.fault("fields", fields)
  if fault then error(fault, 2) end
  return forms.encode(fields)
end

-- ---- clients: what many requests have in common ----

local client = { __name = "fern.http.client" }
client.__index = client

local own = { base = true, max_connections = true, max_host_connections = true, max_idle = true }

function http.client(given)
  given = given or {}
  check_table(1, "client", given, 2)
  local fault = options.fault(options.client, given)
  if fault then error(fault, 2) end
  if given.base and not core.join(given.base, "") then
    error(("bad option 'base' (URL expected, got %q)"):format(given.base), 2)
  end
  local self = setmetatable({ base = given.base, defaults = {} }, client)
  for name, value in pairs(given) do
    if not own[name] then self.defaults[name] = value end
  end
  if given.cookies == true then self.defaults.cookies = cookies.new() end
  self.cookies = self.defaults.cookies
  self.core = core.client(given.max_connections, given.max_host_connections, given.max_idle)
  return self
end

-- Headers of the request take the place of the client's, in whatever case.
local function merge_headers(defaults, given)
  local merged = {}
  for name, value in pairs(defaults) do
    if not has_header(given, name:lower()) then merged[name] = value end
  end
  for name, value in pairs(given) do merged[name] = value end
  return merged
end

local function merge(defaults, given)
  local merged = {}
  for name, value in pairs(defaults) do merged[name] = value end
  for name, value in pairs(given) do merged[name] = value end
  if defaults.headers and given.headers then
    merged.headers = merge_headers(defaults.headers, given.headers)
  end
  merged.url = nil
  return merged
end

local function request_by(self, url, given)
  if self.base then
    local joined, _, code = core.join(self.base, url)
    if not joined then return nil, url .. ": not a valid URL", code end
    url = joined
  end
  return request(url, merge(self.defaults, given), self.core)
end

function client:request(given)
  check_table(1, "request", given, 2)
  local fault = find_fault(given.url, given, "url")
  if fault then error(fault, 2) end
  return request_by(self, given.url, given)
end

function client:get(url, given)
  if given ~= nil then check_table(2, "get", given, 2) end
  local fault = find_fault(url, given or {})
  if fault then error(fault, 2) end
  return request_by(self, url, given or {})
end

function client:statistics() return core.statistics(self.core) end

function client:close()
  self.core:close()
  return true
end

client.__close = client.close

misuse.methods(client)

function client:__tostring()
  return self.base and ("%s: %s"):format(client.__name, self.base) or client.__name
end

-- statistics(): of all requests that no client of their own made.
function http.statistics() return core.statistics() end

-- ---- response ----

local response = core.response
local methods = {}
response.__index = methods
response.__name = "fern.http.response"

-- An array of all values of the headers of that name, in the order received.
function methods:header_list(name)
  return misuse.call("header_list", misuse.METHOD, core.headers_list, self.headers, name)
end

local function is_streamed(self) return type(self.body) ~= "string" end

-- The methods of a stream, for a response that was asked for with `stream`.
for _, name in ipairs { "read", "read_some", "read_until", "lines", "copy_to", "settimeout" } do
  methods[name] = function(self, ...)
    if not is_streamed(self) then error("the body is there: it was not asked for with 'stream'", 2) end
    return misuse.call(name, misuse.METHOD, self.body[name], self.body, ...)
  end
end

function methods:close()
  return not is_streamed(self) or self.body:close()
end

response.__close = methods.close

function methods:timings()
  local timings = is_streamed(self) and self.body:timings()
  return timings or core.headers_timings(self.headers)
end

misuse.methods(methods, response)

function response:__tostring()
  local what = is_streamed(self) and "a stream" or #self.body .. " bytes"
  return ("%s: %d, %s from %s"):format(response.__name, self.status, what, self.url)
end

-- For those who hold types/ to what there is.
http._objects = { ["fern.http.response"] = methods, ["fern.http.client"] = client, ["fern.http.cookies"] = cookies.jar }

return http

-- SPDX-License-Identifier: MIT
-- http: fetch pages. What the caller passes is checked here, so that nothing
-- goes out which HTTP would read as something else; fern.http.core does the
-- rest.
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

local http = {}

-- ---- what is wrong with the options: a text, or nil ----

local NOT_TOKEN <const> = "[^%w!#$%%&'*+%-.^_`|~]"      -- of RFC 9110

local function expected(name, what, value)
  return ("bad option '%s' (%s expected, got %s)"):format(name, what, value)
end

local function typed(kind)
  return function(name, value)
    if type(value) ~= kind then return expected(name, kind, type(value)) end
  end
end

local function text(name, value)
  if type(value) ~= "string" then return expected(name, "string", type(value)) end
  if value:find("\0", 1, true) then return ("bad option '%s' (it contains a zero)"):format(name) end
end

local function seconds(name, value)
  if type(value) ~= "number" then return expected(name, "number", type(value)) end
  if value ~= value then return expected(name, "number of seconds", "NaN") end
end

-- A whole number, or math.huge.
local function count(least)
  return function(name, value)
    if type(value) ~= "number" then return expected(name, "number", type(value)) end
    if not (value >= least and (value == math.huge or value % 1 == 0)) then
      return expected(name, ("whole number of %d or more"):format(least), value)
    end
  end
end

local function method(name, value)
  if type(value) ~= "string" then return expected(name, "string", type(value)) end
  if value == "" or value:find(NOT_TOKEN) then return expected(name, "method", ("%q"):format(value)) end
end

local versions = { ["1.0"] = "1.0", ["1.1"] = "1.1", ["2"] = "2", [1.0] = "1.0", [1.1] = "1.1", [2] = "2" }

local function version(name, value)
  if not versions[value] then return expected(name, '"1.0", "1.1" or "2"', tostring(value)) end
end

local function header_fault(name, values)
  if type(name) ~= "string" or name == "" or name:find(NOT_TOKEN) then
    return ("bad header name (%s)"):format(type(name) == "string" and ("%q"):format(name) or type(name))
  end
  for _, value in ipairs(type(values) == "table" and values or { values }) do
    if type(value) ~= "string" and type(value) ~= "number" then
      return ("bad header '%s' (string expected, got %s)"):format(name, type(value))
    end
    if tostring(value):find("[\r\n\0]") then
      return ("bad header '%s' (its value is more than one line)"):format(name)
    end
  end
end

local function headers(name, value)
  if type(value) ~= "table" then return expected(name, "table", type(value)) end
  for header, values in pairs(value) do
    local fault = header_fault(header, values)
    if fault then return fault end
  end
end

local checks = {
  method = method, headers = headers, body = typed "string", timeout = seconds, max_redirects = count(0),
  max_body = count(1), cafile = text, verify = typed "boolean", proxy = text, http_version = version,
}

local function find_fault(url, options, ignored)
  if type(url) ~= "string" then return ("bad url (string expected, got %s)"):format(type(url)) end
  for name, value in pairs(options) do
    local check = checks[name]
    if not check and name ~= ignored then return ("unknown option '%s'"):format(name) end
    local fault = check and check(name, value)
    if fault then return fault end
  end
end

-- ---- requests ----

-- The table of headers as an array: name, value, name, value...
local function flatten(table)
  if not table then return nil end
  local list = {}
  for name, values in pairs(table) do
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      list[#list + 1] = name
      list[#list + 1] = tostring(value)
    end
  end
  return list
end

local function request(url, options)
  return core.request(url, options.method and options.method:upper(), flatten(options.headers), options.body,
    options.timeout, options.max_redirects, options.max_body, options.cafile, options.verify,
    options.proxy, versions[options.http_version])
end

-- request{url=, method=, headers=, body=, timeout=, max_redirects=, max_body=,
-- cafile=, verify=, proxy=, http_version=} -> response, or nil, message, code.
function http.request(options)
  if type(options) ~= "table" then
    error(("bad argument #1 to 'request' (table expected, got %s)"):format(type(options)), 2)
  end
  local fault = find_fault(options.url, options, "url")
  if fault then error(fault, 2) end
  return request(options.url, options)
end

-- get(url [, options]): as request, with the URL in front.
function http.get(url, options)
  if options == nil and type(url) == "string" then return core.request(url) end
  if options ~= nil and type(options) ~= "table" then
    error(("bad argument #2 to 'get' (table expected, got %s)"):format(type(options)), 2)
  end
  local fault = find_fault(url, options or {})
  if fault then error(fault, 2) end
  return request(url, options)
end

-- ---- response ----

local response = core.response
local methods = {}
response.__index = methods
response.__name = "fern.http.response"

-- An array of all values of the headers of that name, in the order received.
function methods:header_list(name)
  return core.headers_list(self.headers, name)
end

function response:__tostring()
  return ("%s: %d, %d bytes from %s"):format(response.__name, self.status, #self.body, self.url)
end

return http

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
  error("fern.http needs a fern built with libcurl"
    .. " (Debian: libcurl4-openssl-dev, Fedora: libcurl-devel, Alpine: curl-dev)\n" .. core, 0)
end

local http = {}

-- Misuse: raised at the line that called `get` or `request`.
local LEVEL <const> = 4

local function fail(text, ...)
  error(text:format(...), LEVEL)
end

local function check_type(name, value, kind)
  if type(value) ~= kind then
    error(("bad option '%s' (%s expected, got %s)"):format(name, kind, type(value)), LEVEL + 1)
  end
end

local function check_string(name, value)
  check_type(name, value, "string")
  if value:find("\0", 1, true) then
    error(("bad option '%s' (it contains a zero)"):format(name), LEVEL + 1)
  end
end

-- A whole number, or math.huge.
local function check_count(name, value, least)
  check_type(name, value, "number")
  if not (value >= least and (value == math.huge or value % 1 == 0)) then
    error(("bad option '%s' (a whole number of %d or more expected)"):format(name, least), LEVEL + 1)
  end
end

local NOT_TOKEN <const> = "[^%w!#$%%&'*+%-.^_`|~]"

local checks = {}

function checks.method(value)
  check_type("method", value, "string")
  if value == "" or value:find(NOT_TOKEN) then fail("bad option 'method' (%q is no method)", value) end
end

function checks.headers(value) check_type("headers", value, "table") end
function checks.body(value) check_type("body", value, "string") end
function checks.max_redirects(value) check_count("max_redirects", value, 0) end
function checks.max_body(value) check_count("max_body", value, 1) end
function checks.cafile(value) check_string("cafile", value) end
function checks.verify(value) check_type("verify", value, "boolean") end
function checks.proxy(value) check_string("proxy", value) end

function checks.timeout(value)
  check_type("timeout", value, "number")
  if value ~= value then fail("bad option 'timeout' (a number of seconds expected, got NaN)") end
end

local versions = { ["1.0"] = "1.0", ["1.1"] = "1.1", ["2"] = "2", [1.0] = "1.0", [1.1] = "1.1", [2] = "2" }

function checks.http_version(value)
  if not versions[value] then
    fail("bad option 'http_version' (\"1.0\", \"1.1\" or \"2\" expected, got %s)", tostring(value))
  end
end

local function check_options(options)
  for name, value in pairs(options) do
    local check = checks[name]
    if not check then fail("unknown option '%s'", tostring(name)) end
    check(value)
  end
end

local function header_value(name, value)
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" then
    fail("bad header '%s' (string expected, got %s)", name, type(value))
  end
  if value:find("[\r\n\0]") then fail("bad header '%s' (its value is more than one line)", name) end
  return value
end

-- The table of names and values as an array: name, value, name, value...
local function flatten(headers)
  if not headers then return nil end
  local list = {}
  for name, values in pairs(headers) do
    if type(name) ~= "string" or name == "" or name:find(NOT_TOKEN) then
      fail("bad header name (%s)", type(name) == "string" and ("%q"):format(name) or type(name))
    end
    if type(values) ~= "table" then values = { values } end
    for i = 1, #values do
      list[#list + 1] = name
      list[#list + 1] = header_value(name, values[i])
    end
  end
  return list
end

local function run(url, options)
  if type(url) ~= "string" then
    error(("bad url (string expected, got %s)"):format(type(url)), 3)
  end
  if not options then return core.request(url) end
  check_options(options)
  local method = options.method
  return core.request(url, method and method:upper(), flatten(options.headers), options.body,
    options.timeout, options.max_redirects, options.max_body, options.cafile, options.verify,
    options.proxy, versions[options.http_version])
end

-- get(url [, options]): as request, with the URL in front.
function http.get(url, options)
  if options ~= nil and type(options) ~= "table" then
    error(("bad argument #2 to 'get' (table expected, got %s)"):format(type(options)), 2)
  end
  local response, message, code = run(url, options)
  return response, message, code
end

-- request{url=, method=, headers=, body=, timeout=, max_redirects=, max_body=,
-- cafile=, verify=, proxy=, http_version=} -> response, or nil, message, code.
function http.request(options)
  if type(options) ~= "table" then
    error(("bad argument #1 to 'request' (table expected, got %s)"):format(type(options)), 2)
  end
  local rest = {}
  for name, value in pairs(options) do
    if name ~= "url" then rest[name] = value end
  end
  local response, message, code = run(options.url, rest)
  return response, message, code
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

-- SPDX-License-Identifier: MIT
-- http.options: what may be in the options of a request, so that nothing goes
-- out which HTTP would read as something else.

local forms = require "fern.http.forms"
local sending = require "fern.http.sending"
local cookies = require "fern.http.cookies"

local options = {}

local NOT_TOKEN <const> = "[^%w!#$%%&'*+%-.^_`|~]"      -- of RFC 9110

-- Each check returns what is wrong with a value: a text, or nil.

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
  if type(name) ~= "string" then
    return ("bad option 'headers' (a table of names and values expected, but '%s' is no name)"):format(tostring(name))
  elseif name == "" or name:find(NOT_TOKEN) then
    return ("bad header name (%q)"):format(name)
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

local function body(name, value)
  if type(value) ~= "string" and not sending.is_source(value) then
    return expected(name, "string, function or stream", type(value))
  end
end

local function jar(name, value)
  if not cookies.is_jar(value) then return expected(name, "jar of cookies", type(value)) end
end

local function fields(name, value) return forms.fault(name, value) end

local function parts(name, value) return forms.parts_fault(name, value) end

-- ---- all of them

options.request = {
  method = method, headers = headers, body = body, body_size = count(0), timeout = seconds,
  head_timeout = seconds, max_redirects = count(0), max_body = count(1), cafile = text,
  verify = typed "boolean", proxy = text, http_version = version, stream = typed "boolean",
  query = fields, form = fields, multipart = parts, cookies = jar,
}

-- What a client may have of its own, beside what it has for each request.
local connections = count(1)
options.client = setmetatable({
  base = text, max_connections = connections, max_host_connections = connections, max_idle = connections,
  cookies = function(name, value)
    if value ~= true then return jar(name, value) end
  end,
}, { __index = options.request })
for _, name in ipairs { "method", "body", "body_size", "form", "multipart" } do
  options.client[name] = function() return ("unknown option '%s'"):format(name) end
end

-- What does not go together.
local function conflict(given)
  local bodies = {}
  for _, name in ipairs { "body", "form", "multipart" } do
    if given[name] ~= nil then bodies[#bodies + 1] = name end
  end
  if #bodies > 1 then return ("options '%s' and '%s' exclude each other"):format(bodies[1], bodies[2]) end
  if given.body_size and not sending.is_source(given.body) then
    return "option 'body_size' goes with a body that is a function or a stream"
  end
  if given.head_timeout and not given.stream then return "option 'head_timeout' goes with 'stream'" end
end

-- The first thing that is wrong, or nil; `ignored` may be there, too.
function options.fault(checks, given, ignored)
  for name, value in pairs(given) do
    local check = checks[name]
    if not check and name ~= ignored then return ("unknown option '%s'"):format(tostring(name)) end
    local fault = check and check(name, value)
    if fault then return fault end
  end
  return conflict(given)
end

-- As fern.http.core wants it.
function options.version(value) return versions[value] end

-- The table of headers as an array: name, value, name, value...
function options.flatten(table)
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

return options

-- SPDX-License-Identifier: MIT
-- http.forms: fields for a query or a form, and the parts of one with files. A
-- table of names to values, which is taken in the order of the names; or an
-- array, in its own order.

local sending = require "fern.http.sending"

local forms = {}

local function is_value(value) return type(value) == "string" or type(value) == "number" end

-- ---- fields: { name = value or array of values }, or { { name, value }... }

local function add(list, name, value) list[#list + 1] = { name, value } end

local function each_field(fields)
  local list, names = {}, {}
  for key, value in pairs(fields) do
    if type(key) == "string" then
      names[#names + 1] = key
    elseif math.type(key) ~= "integer" or type(value) ~= "table" or not is_value(value[1]) then
      return nil, ("bad field (a pair of name and value expected at %s)"):format(tostring(key))
    end
  end
  for _, pair in ipairs(fields) do add(list, pair[1], pair[2]) end
  table.sort(names)
  for _, name in ipairs(names) do
    local values = fields[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do add(list, name, value) end
  end
  for _, field in ipairs(list) do
    if not is_value(field[2]) then
      return nil, ("bad field '%s' (string expected, got %s)"):format(field[1], type(field[2]))
    end
  end
  return list
end

function forms.fault(name, fields)
  if type(fields) ~= "table" then
    return ("bad option '%s' (table expected, got %s)"):format(name, type(fields))
  end
  local _, fault = each_field(fields)
  return fault
end

local function escape(value)
  return (tostring(value):gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- "a=1&b=2"; what is wrong with `fields` is for the caller to have asked.
function forms.encode(fields)
  local texts = {}
  for i, field in ipairs(assert(each_field(fields))) do
    texts[i] = escape(field[1]) .. "=" .. escape(field[2])
  end
  return table.concat(texts, "&")
end

-- The URL with `fields` in its query.
function forms.append(url, fields)
  local text = forms.encode(fields)
  if text == "" then return url end
  local start, fragment = url:match("^([^#]*)(.*)$")
  local between = not start:find("?", 1, true) and "?" or start:find("[?&]$") and "" or "&"
  return start .. between .. text .. fragment
end

-- ---- parts: { name = value or part }, or { part with a name... }

local part_keys = { name = true, body = true, file = true, filename = true, type = true, size = true }

local function part_fault(name, part)
  if is_value(part) then return nil end
  if type(part) ~= "table" then
    return ("bad part '%s' (string or table expected, got %s)"):format(name, type(part))
  end
  for key in pairs(part) do
    if not part_keys[key] then return ("unknown key '%s' in part '%s'"):format(tostring(key), name) end
  end
  if (part.body == nil) == (part.file == nil) then
    return ("bad part '%s' (either 'body' or 'file' expected)"):format(name)
  end
  if part.file == nil and not is_value(part.body) and not sending.is_source(part.body) then
    return ("bad part '%s' (its body is a %s)"):format(name, type(part.body))
  end
  for _, key in ipairs { "file", "filename", "type" } do
    local text = part[key]
    if text ~= nil and (type(text) ~= "string" or text:find("%c")) then
      return ("bad part '%s' (its %s is no text of one line)"):format(name, key)
    end
  end
  if part.size ~= nil and not (math.type(part.size) == "integer" and part.size >= 0) then
    return ("bad part '%s' (its size is no whole number)"):format(name)
  end
end

-- An array of parts, each with its name; or nil and what is wrong.
local function each_part(parts)
  local list, names = {}, {}
  for _, part in ipairs(parts) do
    if type(part) ~= "table" or type(part.name) ~= "string" then return nil, "bad part (it has no name)" end
    list[#list + 1] = { part.name, part }
  end
  for key in pairs(parts) do
    if type(key) == "string" then names[#names + 1] = key end
  end
  table.sort(names)
  for _, name in ipairs(names) do list[#list + 1] = { name, parts[name] } end
  for _, part in ipairs(list) do
    local fault = part[1]:find("%z") and "bad part (its name contains a zero)" or part_fault(part[1], part[2])
    if fault then return nil, fault end
  end
  return list
end

function forms.parts_fault(name, parts)
  if type(parts) ~= "table" then
    return ("bad option '%s' (table expected, got %s)"):format(name, type(parts))
  end
  local list, fault = each_part(parts)
  return fault or #list == 0 and ("bad option '%s' (it has no parts)"):format(name) or nil
end

-- As fern.http.core wants them, with an upload for each that comes in pieces.
-- Returns nil, message, code if a file cannot be opened.
function forms.parts(parts, feed)
  local list = {}
  for i, part in ipairs(assert(each_part(parts))) do
    local name, given = part[1], part[2]
    if is_value(given) then given = { body = given } end
    local filename = given.filename or given.file and given.file:match("[^/]*$") or false
    local content, message, code
    if is_value(given.body) then
      content = tostring(given.body)
    else
      content, message, code = feed:add(given.body, given.file, given.size)
      if not content then return nil, message, code end
    end
    list[i] = { name, filename, given.type or false, content }
  end
  return list
end

return forms

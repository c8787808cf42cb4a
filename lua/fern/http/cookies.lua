-- SPDX-License-Identifier: MIT
-- http.cookies: jars. Their text is that of Netscape's cookie files: a line for
-- each cookie, seven fields with tabs between them.

local core = require "fern.http.core"
local misuse = require "fern.misuse"

local cookies = {}

local jar = { __name = "fern.http.cookies" }
jar.__index = jar

function cookies.is_jar(value) return getmetatable(value) == jar end

-- cookies([text]): a jar, empty or with what jar:text() gave.
function cookies.new(text)
  if text ~= nil and type(text) ~= "string" then
    error(("bad argument #1 to 'cookies' (string expected, got %s)"):format(type(text)), 2)
  end
  local self = setmetatable({ core = core.jar() }, jar)
  for line in (text or ""):gmatch("[^\r\n]+") do
    if not line:find("^#") or line:find("^#HttpOnly_") then
      local ok, message, code = self.core:add(line)
      if not ok then return nil, ("%s: %s"):format(message, line), code end
    end
  end
  return self
end

function jar:text() return self.core:text() end

-- An array of { domain=, subdomains=, path=, secure=, http_only=, expires=, name=, value= }.
function jar:list()
  local list = {}
  for line in self:text():gmatch("[^\n]+") do
    local domain, subdomains, path, secure, expires, name, value =
      line:match("^(.-)\t(.-)\t(.-)\t(.-)\t(.-)\t(.-)\t(.*)$")
    if domain then
      local plain = domain:match("^#HttpOnly_(.*)$")
      list[#list + 1] = {
        domain = (plain or domain):gsub("^%.", ""), subdomains = subdomains == "TRUE", path = path,
        secure = secure == "TRUE", http_only = plain ~= nil, name = name, value = value,
        expires = expires ~= "0" and math.tointeger(tonumber(expires)) or nil,
      }
    end
  end
  return list
end

local FIELDS <const> = {
  domain = true, subdomains = true, path = true, secure = true, http_only = true, expires = true,
  name = true, value = true,
}

-- The value is the last field, and may be empty; a line that begins with "#" is none.
local function is_lost(key, value)
  return value == "" and key ~= "value" or key == "domain" and value:find("^#")
end

local function field(cookie, key, kind, default)
  local value = cookie[key]
  if value == nil then value = default end
  if type(value) ~= kind then
    error(("bad field '%s' of a cookie (%s expected, got %s)"):format(key, kind, type(value)), 3)
  end
  if kind == "string" and value:find("%c") then
    error(("bad field '%s' of a cookie (it has control characters)"):format(key), 3)
  end
  if is_lost(key, value) then error(("bad field '%s' of a cookie (got '%s')"):format(key, value), 3) end
  return kind == "boolean" and tostring(value):upper() or value
end

local function whole(seconds)
  if seconds ~= seconds then error("bad field 'expires' of a cookie (a number of seconds expected)", 3) end
  return math.tointeger(seconds // 1) or seconds > 0 and math.maxinteger or math.mininteger
end

-- set{ domain=, name=, value=, path=, subdomains=, secure=, http_only=, expires= }
function jar:set(cookie)
  if type(cookie) ~= "table" then
    error(("bad argument #1 to 'set' (table expected, got %s)"):format(type(cookie)), 2)
  end
  for key in pairs(cookie) do
    if not FIELDS[key] then error(("unknown field '%s' of a cookie"):format(tostring(key)), 2) end
  end
  local secret = field(cookie, "http_only", "boolean", false) == "TRUE" and "#HttpOnly_" or ""
  local wide = field(cookie, "subdomains", "boolean", false)
  local line = table.concat({
    secret .. (wide == "TRUE" and "." or "") .. field(cookie, "domain", "string"), wide,
    field(cookie, "path", "string", "/"), field(cookie, "secure", "boolean", false),
    ("%d"):format(whole(field(cookie, "expires", "number", 0))), field(cookie, "name", "string"),
    field(cookie, "value", "string"),
  }, "\t")
  return self.core:add(line)
end

function jar:clear() return self.core:add("ALL") end

function jar:__tostring() return ("%s: %d"):format(jar.__name, #self:list()) end

misuse.methods(jar)

cookies.jar = jar
return cookies

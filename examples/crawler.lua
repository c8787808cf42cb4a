-- SPDX-License-Identifier: MIT
-- crawler: follows the links of web pages, politely: few requests at once to a host,
-- not faster than its robots.txt asks for, and nothing that it forbids.
local fern = require "fern"
local http = require "fern.http"

local USAGE <const> = [[
usage: lua5.4 examples/crawler.lua [options] URL...

Fetches the pages and what they link to, on the same hosts, each page once.

  --max N         stop after so many pages (100)
  --per-host N    at most so many requests at once to a host (2)
  --delay S       at least so many seconds between two requests to a host (0)
  --timeout S     for each page (10)
  --help          this text
]]

local AGENT <const> = "fern-crawler"
local PAGE_MAX <const> = 4 * 1024 * 1024        -- bytes

-- ---- URLs

local function split(url)
  local origin, path = url:match("^(https?://[^/?#]+)([^#]*)")
  if not origin then return nil end
  return origin:lower(), path:sub(1, 1) == "/" and path or "/" .. path
end

-- "/a/./b/../c" is "/a/c".
local function without_dots(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then table.remove(parts) elseif part ~= "." then parts[#parts + 1] = part end
  end
  local last = path:find("/%.?%.?$") and #parts > 0 and "/" or ""
  return "/" .. table.concat(parts, "/") .. last
end

-- Where `link`, found on the page `base`, leads to; nil: nowhere that we can go.
local function follow(base, link)
  local origin, path = split(base)
  link = link:gsub("#.*", ""):gsub("&amp;", "&")
  if link:find("^//") then link = origin:match("^%a+:") .. link end
  if link:find("^%a[%w+.-]*:") then
    origin, path = split(link)
    return origin and origin .. path
  end
  local place, query = link:match("^([^?]*)(.*)$")
  if place == "" then
    place = path:match("^[^?]*")
  elseif place:sub(1, 1) ~= "/" then
    place = path:match("^[^?]*/") .. place
  end
  return origin .. without_dots(place) .. query
end

-- ---- robots.txt (RFC 9309)

-- "/private*.html$" as a pattern of Lua.
local function to_pattern(path)
  local pattern = path:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*"):gsub("%%%$$", "$")
  return "^" .. pattern
end

-- The groups for us or, if there is none, for everybody: { { pattern =, length =, allow = }... }
local function parse_robots(text)
  local groups, agents, ruled = { ["*"] = {} }, {}, false
  for line in text:gmatch("[^\r\n]+") do
    local key, value = line:gsub("#.*", ""):match("^%s*([%a-]+)%s*:%s*(.-)%s*$")
    key = key and key:lower()
    if key == "user-agent" then
      if ruled then agents, ruled = {}, false end
      agents[#agents + 1] = value:lower()
      groups[value:lower()] = groups[value:lower()] or {}
    elseif key then
      ruled = true
      for _, agent in ipairs(agents) do
        local group = groups[agent]
        if key == "crawl-delay" then group.delay = tonumber(value) end
        if (key == "allow" or key == "disallow") and value ~= "" then
          group[#group + 1] = { pattern = to_pattern(value), length = #value, allow = key == "allow" }
        end
      end
    end
  end
  return groups[AGENT] or groups["*"]
end

-- The longest rule that fits decides.
local function allows(rules, path)
  local longest, allowed = -1, true
  for _, rule in ipairs(rules) do
    if path:find(rule.pattern) and (rule.length > longest or rule.length == longest and rule.allow) then
      longest, allowed = rule.length, rule.allow
    end
  end
  return allowed
end

local FORBIDDEN <const> = { { pattern = "^", length = 0, allow = false } }

-- ---- hosts

local Host = {}
Host.__index = Host

local function new_host(origin, settings)
  return setmetatable({
    origin = origin, settings = settings, turn = 0,
    slots = fern.semaphore(settings["per-host"]), lock = fern.lock(),
  }, Host)
end

-- A request when it is our turn: those to one host keep their distance.
function Host:get(url)
  local _ <close> = self.slots:hold()
  local now, delay = fern.now(), math.max(self.settings.delay, self.rules and self.rules.delay or 0)
  local turn = math.max(now, self.turn)
  self.turn = turn + delay
  if turn > now then fern.sleep(turn - now) end
  return http.get(url, {
    timeout = self.settings.timeout, max_redirects = 0, max_body = PAGE_MAX,
    headers = { ["User-Agent"] = AGENT },
  })
end

-- No robots.txt is no rule; one that cannot be had forbids all: then why, as well.
function Host:allows(path)
  local _ <close> = self.lock:hold()            -- the first one asks, for all
  if not self.rules then
    local url = self.origin .. "/robots.txt"
    local answer, message = self:get(url)
    local status = answer and answer.status or 500
    if status >= 500 then self.problem = message or ("%s: status %d"):format(url, status) end
    self.rules = status < 300 and parse_robots(answer.body) or status < 500 and {} or FORBIDDEN
  end
  return allows(self.rules, path), self.problem
end

-- ---- the crawl

local Crawl = {}
Crawl.__index = Crawl

local function new_crawl(settings)
  return setmetatable({
    settings = settings, queue = fern.queue(), hosts = {}, seen = {},
    found = 0, fetched = 0, failed = 0, forbidden = 0,
  }, Crawl)
end

function Crawl:add(url)
  if self.seen[url] or self.found >= self.settings.max then return end
  self.seen[url] = true
  self.found = self.found + 1
  self.queue:put(url)
end

function Crawl:fail(problem)
  self.failed = self.failed + 1
  print(problem)
end

function Crawl:start_at(url)
  local origin, path = split(url)
  if not origin then return self:fail(url .. ": not a URL of http") end
  self.hosts[origin] = self.hosts[origin] or new_host(origin, self.settings)
  self:add(origin .. path)
end

-- What the page links to; other hosts are not ours to visit.
function Crawl:add_links(url, answer)
  local function add(link)
    local target = follow(url, link)
    if target and self.hosts[split(target)] then self:add(target) end
  end
  if answer.headers.location then add(answer.headers.location) end
  if not (answer.headers["content-type"] or ""):find("html", 1, true) then return end
  for tag in answer.body:gmatch("<[aA]%s[^>]*>") do
    local link = tag:match("[hH][rR][eE][fF]%s*=%s*[\"']([^\"']*)") or tag:match("[hH][rR][eE][fF]%s*=%s*([^%s>]+)")
    if link then add(link) end
  end
end

function Crawl:visit(url)
  local origin, path = split(url)
  local host = self.hosts[origin]
  local allowed, problem = host:allows(path)
  if problem then return self:fail(problem) end
  if not allowed then
    self.forbidden = self.forbidden + 1
    return
  end
  local answer, message = host:get(url)
  if not answer or answer.status >= 400 then
    return self:fail(message or ("%s: status %d"):format(url, answer.status))
  end
  self.fetched = self.fetched + 1
  print(("%s: %d bytes"):format(url, #answer.body))
  self:add_links(url, answer)
end

-- As many threads as can be busy; they end when the queue is closed.
function Crawl:run()
  local hosts = 0
  for _ in pairs(self.hosts) do hosts = hosts + 1 end
  for _ = 1, math.min(1000, hosts * self.settings["per-host"]) do
    fern.spawn(function()
      for url in self.queue:iter() do
        self:visit(url)
        self.queue:task_done()
      end
    end)
  end
  self.queue:join()
  self.queue:close()
  fern.waitall()
end

-- ---- the command line

local function fail(text)
  io.stderr:write("crawler: ", text, "\n", USAGE)
  os.exit(2)
end

local function read_arguments()
  local settings, urls = { max = 100, ["per-host"] = 2, delay = 0, timeout = 10 }, {}
  local i = 1
  while arg[i] do
    local name = arg[i]:match("^%-%-(.+)$")
    if name == "help" then
      io.write(USAGE)
      os.exit(0)
    elseif name then
      local least = name == "delay" and 0 or 1
      local value = settings[name] and tonumber(arg[i + 1]) or fail("what is " .. arg[i] .. "?")
      if value < least or value ~= value then fail(("--%s must be at least %d"):format(name, least)) end
      settings[name] = (name == "max" or name == "per-host") and math.ceil(value) or value
      i = i + 1
    else
      urls[#urls + 1] = arg[i]
    end
    i = i + 1
  end
  return settings, urls
end

local settings, urls = read_arguments()
if #urls == 0 then fail("no URL") end
local crawl, began = new_crawl(settings), fern.now()
for _, url in ipairs(urls) do crawl:start_at(url) end
crawl:run()
print(("%d pages in %.2f s; %d failed, %d forbidden by robots.txt"):format(
  crawl.fetched, fern.now() - began, crawl.failed, crawl.forbidden))
os.exit(crawl.failed == 0, true)

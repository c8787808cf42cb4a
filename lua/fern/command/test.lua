-- SPDX-License-Identifier: MIT
-- test: `fern test`, busted in this process: specs run in the main green thread, and
-- may park. busted's own options are all its; ours is --timeout.

local run = require "fern.command.run"

-- By the option that is made for code, busted loads what looks after each spec: at
-- the root of all describes, before any helper.
local BEGIN <const> = "require 'fern.command.leftovers'.begin()"

local HELP <const> = [[
`fern test` is busted in a process where specs may park, with one option more:
  --timeout=SECONDS           what a spec may take; then all threads are shown
and these of busted's:
]]

-- Returns the words that are busted's and the seconds, or nil, message.
local function take_timeout(words)
  local rest, seconds, i = {}, nil, 1
  while words[i] do
    local value = words[i]:match("^%-%-timeout=(.*)$")
    if words[i] == "--timeout" then
      i = i + 1
      value = words[i] or ""
    end
    if value then
      seconds = tonumber(value)
      if not seconds or seconds <= 0 then
        return nil, ("--timeout takes a number of seconds above 0, not '%s'"):format(value)
      end
    else
      rest[#rest + 1] = words[i]
    end
    i = i + 1
  end
  return rest, seconds
end

local function has_busted()
  if package.searchpath("busted.runner", package.path) or package.preload["busted.runner"] then return true end
  run.complain("`fern test` needs busted, which this Lua does not find: luarocks --lua-version 5.4 install busted\n"
    .. "(Debian: apt install lua-busted), and, if that is a tree of your own, eval \"$(luarocks path)\"")
  return false
end

local NAME <const> = "fern test"

-- busted calls itself as the file is called that calls it.
local call_busted = load("require 'busted.runner' { standalone = false }", "@" .. NAME)

local function wants_help(words)
  for _, word in ipairs(words) do
    if word == "--help" or word == "-h" then return true end
  end
  return false
end

-- Of busted's part its own runner makes a mistake of whoever has asked.
local function tell_help(words)
  local cli = require "busted.modules.cli" (require "busted.options")
  cli:set_name(NAME)
  local _, text = cli:parse(words)
  io.stdout:write(HELP, (text:gsub("^.-: error: ", ""):gsub("; re%-run with [^;]*$", "")), "\n")
end

-- `words` is the global `arg`, `word` the index of "test" in it. True if all went well;
-- busted ends the process where not.
return function(words, word)
  local rest, seconds = take_timeout(table.move(words, word + 1, #words, 1, {}))
  if not rest then
    run.complain(seconds)
    return false
  end
  if not has_busted() then return false end
  if wants_help(rest) then
    tell_help(rest)
    return true
  end
  require("fern.command.limit").seconds = seconds
  table.insert(rest, 1, "-e")
  table.insert(rest, 2, BEGIN)
  for i, old in pairs(words) do
    if i <= 0 then rest[i] = old end
  end
  rawset(_G, "arg", rest)
  local ok, message = run.call(call_busted)
  if not ok then run.complain(message) end
  return ok
end

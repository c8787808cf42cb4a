-- SPDX-License-Identifier: MIT
-- history: the lines that a person has typed, in a file of their own, for the next
-- time: FERN_HISTORY (empty: none), or fern/history in the folder for state of
-- freedesktop.org. It is a help: what cannot be read or written is let be.

local fs = require "fern.fs"

local MOST <const> = 1000               -- lines that are kept

local history = {}

local path

local function choose_path()
  local own = os.getenv "FERN_HISTORY"
  if own then return own ~= "" and own or nil end
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if state and state:sub(1, 1) == "/" then return state .. "/fern/history" end
  return home and home .. "/.local/state/fern/history"
end

-- Only the last lines, when there are twice as many as are kept.
local function shorten(lines)
  if #lines < 2 * MOST then return lines end
  local last = table.move(lines, #lines - MOST + 1, #lines, 1, {})
  fs.write_file(path, table.concat(last, "\n") .. "\n", { mode = "600", atomic = true })
  return last
end

-- The lines of before, oldest first.
function history.load()
  path = choose_path()
  if not path then return {} end
  fs.mkdir(path:match("^(.*)/") or ".", { parents = true, mode = "700" })
  local lines = {}
  for line in (fs.read_file(path, { max = 1e7 }) or ""):gmatch("[^\n]+") do lines[#lines + 1] = line end
  return shorten(lines)
end

-- At once: a session that crashes loses nothing, and several share the file.
function history.add(line)
  if path then fs.write_file(path, line .. "\n", { append = true, mode = "600" }) end
end

return history

-- SPDX-License-Identifier: MIT
-- reader: where the lines come from. From a terminal they are edited, if fern was
-- built with libedit, and what threads print meanwhile goes above the line. Else they
-- are read as they are. Either way the others run while we wait.

local core = require "fern.core"

local reader = {}

-- ---- a line that is edited

-- fn(...), which writes, with the line out of its way. `text` is what comes last.
local function above(editor, text, fn, ...)
  if not editor:editing() then return fn(...) end
  editor:hide()
  local results = table.pack(pcall(fn, ...))
  editor:show(not tostring(text):find("\n$"))
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- From now on whatever writes to the terminal does so.
local function write_above(editor)
  local plain_print, plain_write, files = print, io.write, getmetatable(io.stdout).__index
  local file_write = files.write
  local shown = { [io.stdout] = true, [io.stderr] = true }
  function _G.print(...) return above(editor, "\n", plain_print, ...) end
  rawset(io, "write", function(...)
    if not shown[io.output()] then return plain_write(...) end
    return above(editor, select(-1, "", ...), plain_write, ...)
  end)
  function files.write(file, ...)
    if not shown[file] or not editor:editing() then return file_write(file, ...) end
    return above(editor, select(-1, "", ...), file_write, file, ...)
  end
end

local function open_editor()
  local ok, line = pcall(require, "fern.command.line")
  if not ok or not core.command.is_terminal(0) or not core.command.is_terminal(1) then return nil end
  local complete = require "fern.command.complete"
  local editor = line.open(function(text)
    local done, insert, shown = pcall(complete, text)
    if done then return insert, shown end
    core.command.rearm()                -- it was a Ctrl-C
  end)
  local history, signal = require "fern.command.history", require "fern.signal"
  for _, old in ipairs(history.load()) do editor:add(old) end
  write_above(editor)
  return {
    edits = true,
    read = function(prompt)
      -- only meanwhile: while somebody listens to a signal there is no deadlock
      local _ <close> = signal.on("CONT", function() editor:resume() end)
      local text, message, code = editor:read(prompt)
      if text and text:find("%S") then
        editor:add(text)
        history.add(text)
      end
      return text, message, code
    end,
  }
end

-- ---- lines as they are

local function open_plain()
  return {
    read = function(prompt)
      io.write(prompt)
      io.flush()
      return io.read "l"
    end,
  }
end

-- What has read(prompt): a line, nil at the end of input, or nil, message, code. After a
-- Ctrl-C the code is "EINTR", or it raises "interrupted!". `edits`: at a terminal. Parks.
-- So does io.read from now on, which takes its lines from the same place.
function reader.open()
  require "fern".patch { "io" }
  return open_editor() or open_plain()
end

return reader

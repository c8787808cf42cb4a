-- SPDX-License-Identifier: MIT
-- What the lints in Lua share.
local lint = {}

local faults = 0

function lint.fault(place, message, ...)
   faults = faults + 1
   io.stderr:write(place, ": ", message:format(...), "\n")
end

-- The files that a shell's pattern names.
function lint.list(pattern)
   local files = {}
   local pipe <close> = assert(io.popen("ls -d " .. pattern .. " 2>/dev/null"))
   for file in pipe:lines() do files[#files + 1] = file end
   return files
end

-- Ends the process if there were faults; else says that all is well.
function lint.finish(well)
   if faults > 0 then os.exit(1) end
   print("lint: " .. well)
end

return lint

-- SPDX-License-Identifier: MIT
-- busted's plain output, which also keeps a note in the file that
-- FERN_SPEC_NOTE names: how many passed, failed and were skipped so far, which
-- test is running, and what failed. A run that crashes or hangs leaves it behind;
-- at the end of one that does not, none is running.
local busted = require "busted"

local path = os.getenv("FERN_SPEC_NOTE")

return function(options)
   local handler = require "busted.outputHandlers.plainTerminal" (options)
   local subscribe = handler.subscribe
   local current = "(loading)"

   local function write_note()
      local note = assert(io.open(path, "w"))
      note:write(("%d %d %d\n%s\n"):format(handler.successesCount,
         handler.failuresCount + handler.errorsCount, handler.pendingsCount, current))
      for _, list in ipairs { handler.failures, handler.errors } do
         for _, failed in ipairs(list) do note:write("FAIL ", failed.name, ": ", tostring(failed.message), "\n") end
      end
      note:close()
      return nil, true
   end

   local function finish()
      current = ""
      return write_note()
   end

   local function begin(element)
      local where = element.trace and element.trace.short_src or "?"
      current = where .. ": " .. handler.getFullName(element)
      return write_note()
   end

   function handler.subscribe(self, ...)
      subscribe(self, ...)
      if path then
         busted.subscribe({"test", "start"}, begin)
         busted.subscribe({"test", "end"}, write_note)
         busted.subscribe({"error"}, write_note)
         busted.subscribe({"suite", "end"}, finish)
      end
   end

   return handler
end

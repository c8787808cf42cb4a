-- SPDX-License-Identifier: MIT
-- socket.unix: Unix sockets with LuaSocket's API. The module itself may be called, as
-- in old versions of LuaSocket, and makes a stream then.

require "fern"

local core = require("fern.core").open_unix()

local unix = { stream = core.stream, dgram = core.dgram, tcp = core.stream, udp = core.dgram }

function unix.__call(self, ...) return self.stream(...) end

return setmetatable(unix, unix)

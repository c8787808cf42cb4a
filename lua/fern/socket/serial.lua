-- SPDX-License-Identifier: MIT
-- socket.serial: a function that opens a serial line with LuaSocket's API.

require "fern"

return require("fern.core").open_serial()

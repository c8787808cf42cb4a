-- SPDX-License-Identifier: MIT
-- busted, run by the Lua that runs this file: the distribution's command runs
-- whichever version is called `lua`.
require "busted.runner" {standalone = false}

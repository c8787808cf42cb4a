-- SPDX-License-Identifier: MIT
-- luacheck's settings: stock Lua 5.4 everywhere, and busted's globals in specs.
std = "lua54"
max_line_length = 132
files["spec"] = {std = "+busted"}
-- A configuration assigns what the program reads.
files["examples/balancer"] = {allow_defined_top = true, ignore = {"131"}}

-- SPDX-License-Identifier: MIT
-- `fern test` of this checkout, by the Lua that runs this file.
table.insert(arg, 1, "test")
rawset(arg, 0, "bin/fern")
dofile(arg[0])

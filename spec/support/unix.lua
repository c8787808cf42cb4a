-- SPDX-License-Identifier: MIT
-- unix: the module that unix.c makes. Also for scripts that a spec starts:
-- they run in the same folder, with the same BUILD.
local library = (os.getenv "BUILD" or "build") .. "/spec/unix.so"
return assert(package.loadlib(library, "luaopen_unix"))()

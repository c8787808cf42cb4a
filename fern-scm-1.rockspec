-- SPDX-License-Identifier: MIT
-- `luarocks make` in a checkout. The Makefile does the work; every variable it
-- takes from luarocks is spelled out, and what it installs stays inside the
-- rock, so that `luarocks remove fern` takes all of it away.
rockspec_format = "3.0"
package = "fern"
version = "scm-1"
source = {url = "file://."}
description = {
   summary = "Green threads for Lua and C: straight-line code that runs thousands of things at once",
   detailed = [[
      Needs libev. With libcurl (and pkg-config) there is fern.http, with OpenSSL 3
      fern.tls and fern.ssl: each is left out, and the build says so, where it is missing.
   ]],
   license = "MIT",
}
supported_platforms = {"linux"}
dependencies = {"lua >= 5.4, < 5.5"}
-- By the library, for its header lies in a folder of its own here and there: the Makefile looks.
external_dependencies = {
   LIBEV = {library = "ev"},
}
build = {
   install = {bin = {fern = "bin/fern"}},
   copy_directories = {"docs", "examples", "types"},
   type = "make",
   build_target = "modules",
   install_target = "install-modules",
   build_variables = {
      BUILD = "build/rock",
      CC = "$(CC)",
      CFLAGS = "$(CFLAGS)",
      LUA_INCDIR = "$(LUA_INCDIR)",
      LIBEV_INCDIR = "$(LIBEV_INCDIR)",
      LIBEV_LIBDIR = "$(LIBEV_LIBDIR)",
   },
   install_variables = {
      BUILD = "build/rock",
      CC = "$(CC)",
      CFLAGS = "$(CFLAGS)",
      LUA_INCDIR = "$(LUA_INCDIR)",
      LIBEV_INCDIR = "$(LIBEV_INCDIR)",
      LIBEV_LIBDIR = "$(LIBEV_LIBDIR)",
      PREFIX = "$(PREFIX)",
      LUADIR = "$(LUADIR)",
      LIBDIR = "$(LIBDIR)",
   },
}

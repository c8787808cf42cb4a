/* SPDX-License-Identifier: MIT
   lsources: fern's own Lua files, inside the program that is linked with it. */
#ifndef LSOURCES_H
#define LSOURCES_H

#include "lfern.h"

/* Into package.preload of this state, whether it has `package` yet or not: a loader for each
   file of lua/fern, and each module in C that is linked ("fern.core", with -DWITH_HTTP
   "fern.http.core", with -DWITH_TLS "fern.tls.openssl"). Nothing is loaded: `require` does that,
   and finds these before any file. Raises for want of memory; calling it again is no harm. */
LFERN_PRIVATE void lsources_preload(lua_State *L);

#endif

/* SPDX-License-Identifier: MIT
   lembed: what the files behind fern_lua.h share. Nothing of it is in the
   module that scripts load by themselves. */
#ifndef LEMBED_H
#define LEMBED_H

#include "fern_lua.h"
#include "lfern.h"

/* Returns 0, with room for `places` on the stack, or -ENOMEM, or -EPERM: see
   fern_lua.h. */
LFERN_PRIVATE int lembed_enter(lua_State *L, int places, lfern **out);

/* What lua_pcall of our own code returned, as 0, -ENOMEM with nothing pushed, or
   FERN_ERAISED. */
LFERN_PRIVATE int lembed_outcome(lua_State *L, int status);

#endif

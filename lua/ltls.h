/* SPDX-License-Identifier: MIT
   ltls: "fern.tls.openssl", under lua/fern/tls.lua: contexts, streams of TLS, and what
   certificates say. */
#ifndef LTLS_H
#define LTLS_H

#include "fern_tls.h"
#include "lfern.h"

#define LTLS_CONTEXT "fern.tls.context"
#define LTLS_STREAM "fern.tls.stream"

/* Its uservalues: its sni function, if it has one; a table of the options that it was
   made with; its alpn and psk functions; the contexts that were added. */
enum { LTLS_SNI = 1, LTLS_OPTIONS, LTLS_ALPN, LTLS_PSK, LTLS_ADDED };

typedef struct ltls_context {
    const void *mark;
    fern_tls_context *core;     /* NULL until it is made */
    bool chooses;               /* has a function that is found by its address */
} ltls_context;

/* The context at `arg`, made. */
LFERN_PRIVATE ltls_context *ltls_context_check(lua_State *L, int arg);

/* Is it a table of a context's options, by their names? Else it raises. */
LFERN_PRIVATE void ltls_options_check(lua_State *L, int arg);

/* Those of the table at 1. Raises for what is none. Leaves what they need on the stack.
   What functions have answered stands in the table at `passwords`. */
LFERN_PRIVATE void ltls_options_take(lua_State *L, fern_tls_options *options, int passwords);

/* Parks, perhaps, and may raise: for the key of that number, ask the function that knows
   its password, and keep that. False: there is none, or it does not say. */
LFERN_PRIVATE bool ltls_options_ask(lua_State *L, int passwords, size_t number);

/* Raises: the option is not what was expected. */
LFERN_PRIVATE _Noreturn void ltls_refuse(lua_State *L, const char *name, const char *expected);

/* ---- functions (ltls_functions.c) ---- */

/* The stream on the top needs those of the context at `index`, as long as it lives. */
LFERN_PRIVATE void ltls_context_keep(lua_State *L, int index);

/* Push those of the table at 1, for the context at `index`; it has them once they are
   kept, which pops them. */
LFERN_PRIVATE void ltls_functions_take(lua_State *L, ltls_context *self, int index,
                                       fern_tls_options *options);
LFERN_PRIVATE void ltls_functions_keep(lua_State *L, int index);

/* Push a table of what the certificate, which is unreferenced, says; nil for NULL. */
LFERN_PRIVATE void ltls_push_certificate(lua_State *L, fern_tls_certificate *certificate);

/* What these files open: they add to the table on the top. */
LFERN_PRIVATE void ltls_context_open(lua_State *L);
LFERN_PRIVATE void ltls_functions_open(lua_State *L);
LFERN_PRIVATE void ltls_x509_open(lua_State *L);

FERN_API int luaopen_fern_tls_openssl(lua_State *L);

#endif

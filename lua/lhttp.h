/* SPDX-License-Identifier: MIT
   lhttp: what the files of "fern.http.core" share. Each object is a box that
   `close` and the collector empty. */
#ifndef LHTTP_H
#define LHTTP_H

#include "fern_http.h"
#include "lfern.h"

/* ---- headers of a response (lhttp_headers.c) ---- */

/* Push a copy of those of `response`, and of its timings. */
LFERN_PRIVATE void lhttp_push_headers(lua_State *L, const fern_http_response *response);

/* Push them as a table, and return 1. */
LFERN_PRIVATE int lhttp_push_timings(lua_State *L, const fern_http_timings *timings);

/* ---- what requests are made with (lhttp_send.c, lhttp_client.c) ---- */

/* The object at `arg`, or NULL for nil. Raises for others, and for what is closed. */
LFERN_PRIVATE fern_http_upload *lhttp_check_upload(lua_State *L, int arg);
LFERN_PRIVATE fern_http_jar *lhttp_check_jar(lua_State *L, int arg);
LFERN_PRIVATE fern_http_client *lhttp_check_client(lua_State *L, int arg);

/* Each adds to the table on the top. */
LFERN_PRIVATE void lhttp_headers_open(lua_State *L);
LFERN_PRIVATE void lhttp_send_open(lua_State *L);
LFERN_PRIVATE void lhttp_client_open(lua_State *L);

FERN_API int luaopen_fern_http_core(lua_State *L);

#endif

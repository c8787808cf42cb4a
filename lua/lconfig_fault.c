/* SPDX-License-Identifier: MIT
   lconfig_fault: what is wrong with a file, for people: where, which key, what was
   expected, what was found. */
#define _GNU_SOURCE             /* strverscmp */
#include "lconfig.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- the key that is read ---- */

static size_t append_path(lconfig *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A name that does not fit is told as far as it does. */
static size_t append_path(lconfig *self, const char *format, ...)
{
    size_t before = self->path_length, room = sizeof self->path - before;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(self->path + before, room, format, arguments);
    va_end(arguments);
    if (length > 0)
        self->path_length += (size_t)length < room ? (size_t)length : room - 1;
    return before;
}

static bool is_name(const char *text)
{
    if (!isalpha((unsigned char)*text) && *text != '_')
        return false;
    while (isalnum((unsigned char)*text) || *text == '_')
        text++;
    return !*text;
}

size_t lconfig_enter_name(lconfig *self, const char *name)
{
    if (is_name(name))
        return append_path(self, "%s%s", self->path_length ? "." : "", name);
    return append_path(self, "[\"%.60s\"]", name);
}

size_t lconfig_enter_index(lconfig *self, long long index)
{
    return append_path(self, "[%lld]", index);
}

void lconfig_leave(lconfig *self, size_t length)
{
    self->path_length = length;
    self->path[length] = '\0';
}

/* ---- what was found ---- */

static void put_string(lua_State *L, char *text, size_t size)
{
    size_t length, n = 0;
    const char *string = lua_tolstring(L, -1, &length);
    text[n++] = '"';
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)string[i];
        if (n > 60 || n + 10 > size) {
            memcpy(text + n, "...", 3);
            n += 3;
            break;
        }
        if (c < ' ' || c == 127)
            n += (size_t)snprintf(text + n, size - n, "\\x%02x", c);
        else
            text[n++] = (char)c;
    }
    text[n++] = '"';
    text[n] = '\0';
}

static void put_table(lua_State *L, char *text, size_t size)
{
    lua_Unsigned length = lua_rawlen(L, -1);
    lua_pushnil(L);
    if (!lua_next(L, -2)) {
        snprintf(text, size, "an empty table");
        return;
    }
    lua_pop(L, 2);
    if (length)
        snprintf(text, size, "a list of %llu", (unsigned long long)length);
    else
        snprintf(text, size, "a table of names");
}

static void put_function(lua_State *L, char *text, size_t size)
{
    lua_Debug ar;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">S", &ar);
    if (ar.linedefined > 0)
        snprintf(text, size, "the function of line %d", ar.linedefined);
    else
        snprintf(text, size, "a function");
}

static void put_number(lua_State *L, char *text, size_t size)
{
    double number = lua_tonumber(L, -1);
    if (lua_isinteger(L, -1))
        snprintf(text, size, LUA_INTEGER_FMT, lua_tointeger(L, -1));
    else if (isnan(number))
        snprintf(text, size, "NaN, which is no number");
    else
        snprintf(text, size, number == floor(number) && fabs(number) < 1e15 ? "%.1f" : "%.14g", number);
}

static void put_found(lua_State *L, char *text, size_t size)
{
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        snprintf(text, size, "%s", lua_toboolean(L, -1) ? "true" : "false");
        break;
    case LUA_TNUMBER:
        put_number(L, text, size);
        break;
    case LUA_TSTRING:
        put_string(L, text, size);
        break;
    case LUA_TTABLE:
        put_table(L, text, size);
        break;
    case LUA_TFUNCTION:
        put_function(L, text, size);
        break;
    default:
        snprintf(text, size, "a %s", lua_typename(L, lua_type(L, -1)));
    }
}

static void put_expected(lua_State *L, const fern_lua_config_key *key, char *text, size_t size)
{
    bool address = key->type == FERN_CONFIG_ADDRESS && lua_type(L, -1) == LUA_TSTRING;
    if (address && lconfig_port_is_too_high(lua_tostring(L, -1)))
        snprintf(text, size, "a port of at most 65535");
    else
        lconfig_expected(key, text, size);
}

void lconfig_mismatch(lua_State *L, lconfig *self, const fern_lua_config_key *key)
{
    char expected[300], found[100];
    put_expected(L, key, expected, sizeof expected);
    luaL_checkstack(L, 4, NULL);
    put_found(L, found, sizeof found);
    lconfig_fault(self, "expected %s, found %s", expected, found);
}

/* ---- all of them ---- */

/* Of the key that is read. */
static int find_line(lconfig *self)
{
    const lconfig_text *text = self->texts;
    while (text && strcmp(text->name, self->file) != 0)
        text = text->next;
    if (!text || (!self->line && !self->returned))
        return self->line;
    size_t before = self->unknown ? lconfig_enter_name(self, self->unknown) : self->path_length;
    int line = self->path_length ? lconfig_line(text, self->path, self->line) : self->line;
    lconfig_leave(self, before);
    return line;
}

/* A line for each fault, and none for what a terminal would heed: names are anything. */
static void plain(char *line)
{
    for (; *line; line++)
        if ((unsigned char)*line < ' ' || *line == 127)
            *line = '?';
}

void lconfig_fault(lconfig *self, const char *format, ...)
{
    char what[512], whole[900], number[16] = "";
    if (self->told == LCONFIG_TOLD) {
        self->untold++;         /* looking for its line takes time */
        return;
    }
    int line = find_line(self);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (line)
        snprintf(number, sizeof number, ":%d", line);
    int length = snprintf(whole, sizeof whole, "%s%s: %s%s%s", self->file, number, self->path,
                          self->path_length ? ": " : "", what);
    plain(whole);
    size_t kept = (size_t)length < sizeof whole ? (size_t)length : sizeof whole - 1;
    char *text = larena_text(&self->scratch, whole, kept);
    if (!text)
        self->exhausted = true;
    else
        self->faults[self->told++] = (struct lconfig_fault){ line, text };
}

/* Those without a line come last; else in their order in the file, for that of a
   table's keys is any. */
static int compare_faults(const void *a, const void *b)
{
    const struct lconfig_fault *left = a, *right = b;
    unsigned before = (unsigned)left->line - 1, after = (unsigned)right->line - 1;
    if (before != after)
        return before < after ? -1 : 1;
    return strverscmp(left->text, right->text);
}

char *lconfig_faults(lconfig *self)
{
    size_t size = 64, length = 0;
    qsort(self->faults, (size_t)self->told, sizeof *self->faults, compare_faults);
    for (int i = 0; i < self->told; i++)
        size += strlen(self->faults[i].text) + 1;
    char *text = malloc(size);
    if (!text)
        return NULL;
    for (int i = 0; i < self->told; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i ? "\n" : "",
                                   self->faults[i].text);
    if (self->untold)
        snprintf(text + length, size - length, "\nand %zu more", self->untold);
    return text;
}

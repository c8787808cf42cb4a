/* SPDX-License-Identifier: MIT
   lconfig_value: single values, from Lua into fields of C. Nothing is converted that
   its writer may not have meant: "8" is no integer, and 8 no string. */
#include "lconfig.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef fern_lua_config_key schema_key;

/* ---- fields ---- */

static void store_integer(const schema_key *key, void *field, int64_t value)
{
    switch (key->size) {
    case 1:
        *(int8_t *)field = (int8_t)value;
        break;
    case 2:
        *(int16_t *)field = (int16_t)value;
        break;
    case 4:
        *(int32_t *)field = (int32_t)value;
        break;
    default:
        *(int64_t *)field = value;
    }
}

static void store_real(const schema_key *key, void *field, double value)
{
    if (key->size == sizeof(float))
        *(float *)field = (float)value;
    else
        *(double *)field = value;
}

static bool within(const schema_key *key, double value)
{
    double least, most;
    lconfig_range(key, &least, &most);
    return value >= least && value <= most;     /* NaN is not */
}

/* The text on the top, if there is no zero in it. */
static const char *plain_text(lua_State *L, size_t *length)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        return NULL;
    const char *text = lua_tolstring(L, -1, length);
    return strlen(text) == *length ? text : NULL;
}

static bool keep_text(lconfig *self, const char *text, size_t length, const char **out)
{
    char *copy = larena_text(&self->anchor->memory, text, length);
    self->exhausted |= !copy;
    *out = copy;
    return true;
}

/* ---- each type: false if the value is no such ---- */

static bool read_boolean(lua_State *L, bool *field)
{
    *field = lua_toboolean(L, -1);
    return lua_isboolean(L, -1);
}

static bool read_integer(lua_State *L, const schema_key *key, void *field)
{
    int whole;
    lua_Integer value = lua_tointegerx(L, -1, &whole);
    if (lua_type(L, -1) != LUA_TNUMBER || !whole || !within(key, (double)value))
        return false;
    store_integer(key, field, value);
    return true;
}

static bool read_real(const schema_key *key, void *field, double value)
{
    if (!within(key, value) || (isinf(value) && !isinf(key->most)))
        return false;
    store_real(key, field, value);
    return true;
}

static bool read_number(lua_State *L, const schema_key *key, void *field)
{
    return lua_type(L, -1) == LUA_TNUMBER && read_real(key, field, lua_tonumber(L, -1));
}

static bool read_seconds(lua_State *L, const schema_key *key, void *field)
{
    double value;
    size_t length;
    const char *text = plain_text(L, &length);
    if (!text)
        return read_number(L, key, field);
    return lconfig_parse_seconds(text, &value) && read_real(key, field, value);
}

static const double LARGEST = 9e18;     /* about an int64_t's */

static bool read_size(lua_State *L, const schema_key *key, void *field)
{
    double value;
    size_t length;
    const char *text = plain_text(L, &length);
    if (!text)
        return read_integer(L, key, field);
    if (!lconfig_parse_size(text, &value) || !within(key, value) || value > LARGEST)
        return false;
    store_integer(key, field, (int64_t)value);
    return true;
}

static bool read_string(lua_State *L, lconfig *self, const schema_key *key, const char **field)
{
    size_t length;
    const char *text = plain_text(L, &length);
    return text && within(key, (double)length) && keep_text(self, text, length, field);
}

static bool read_enum(lua_State *L, const schema_key *key, int *field)
{
    size_t length;
    const char *text = plain_text(L, &length);
    for (int i = 0; text && key->names[i]; i++)
        if (strcmp(text, key->names[i]) == 0) {
            *field = i;
            return true;
        }
    return false;
}

static bool read_address(lua_State *L, lconfig *self, fern_lua_config_address *field)
{
    size_t length;
    const char *text = plain_text(L, &length), *host;
    return text && lconfig_parse_address(text, &host, &length, &field->port) &&
           keep_text(self, host, length, &field->host);
}

static void keep_hook(lua_State *L, lconfig *self, fern_lua_config_hook *field)
{
    *field = (fern_lua_config_hook){ self->anchor, self->anchor->hooks + 1 };
    lua_pushvalue(L, -1);
    lua_rawseti(L, LCONFIG_HOOKS, field->index);
    self->anchor->hooks++;
}

static bool read_function(lua_State *L, lconfig *self, fern_lua_config_hook *field)
{
    if (!lua_isfunction(L, -1)) {
        if (luaL_getmetafield(L, -1, "__call") == LUA_TNIL)
            return false;
        lua_pop(L, 1);
    }
    keep_hook(L, self, field);
    return true;
}

static bool read_any(lua_State *L, lconfig *self, fern_lua_config_hook *field)
{
    keep_hook(L, self, field);
    return true;
}

static bool read_as(lua_State *L, lconfig *self, const schema_key *key, void *field)
{
    switch (key->type) {
    case FERN_CONFIG_BOOLEAN:
        return read_boolean(L, field);
    case FERN_CONFIG_INTEGER:
        return read_integer(L, key, field);
    case FERN_CONFIG_NUMBER:
        return read_number(L, key, field);
    case FERN_CONFIG_STRING:
        return read_string(L, self, key, field);
    case FERN_CONFIG_ENUM:
        return read_enum(L, key, field);
    case FERN_CONFIG_SECONDS:
        return read_seconds(L, key, field);
    case FERN_CONFIG_SIZE:
        return read_size(L, key, field);
    case FERN_CONFIG_ADDRESS:
        return read_address(L, self, field);
    case FERN_CONFIG_FUNCTION:
        return read_function(L, self, field);
    default:
        return read_any(L, self, field);
    }
}

void lconfig_read_plain(lua_State *L, lconfig *self, const schema_key *key, char *base)
{
    luaL_checkstack(L, 4, NULL);
    if (!read_as(L, self, key, base + key->offset))
        lconfig_mismatch(L, self, key);
}

/* SPDX-License-Identifier: MIT
   lconfig_read: tables, from Lua into structs and arrays. They are read as they
   are, without metamethods, so that none of the file's code runs meanwhile; and
   to the end, whatever is wrong, so that all faults are told. */
#include "lconfig.h"

#include <stdlib.h>
#include <string.h>

typedef fern_lua_config_key schema_key;
typedef FERN_CONFIG_ITEMS(char) items;

/* ---- tables within tables ---- */

static bool is_above(const lconfig *self, const void *table)
{
    for (int i = 0; i < self->depth; i++)
        if (self->above[i] == table)
            return true;
    return false;
}

static bool enter_table(lua_State *L, lconfig *self, const schema_key *key)
{
    const void *table = lua_topointer(L, -1);
    luaL_checkstack(L, 10, NULL);
    if (!lua_istable(L, -1))
        lconfig_mismatch(L, self, key);
    else if (is_above(self, table))
        lconfig_fault(self, "this table contains itself");
    else if (self->depth == LCONFIG_DEPTH)
        lconfig_fault(self, "more than %d tables within each other", LCONFIG_DEPTH);
    else {
        self->above[self->depth++] = table;
        return true;
    }
    return false;
}

static bool may_hold(lua_State *L, lconfig *self, const schema_key *key, size_t count)
{
    double least, most;
    lconfig_range(key, &least, &most);
    if ((double)count >= least && (double)count <= most)
        return true;
    lconfig_mismatch(L, self, key);
    return false;
}

/* ---- where it stands ---- */

/* Of the setting whose name is on the top, which is popped. */
static void find_place(lua_State *L, lconfig *self)
{
    self->file = self->source->path ? self->source->path : "configuration";
    self->line = 0;
    if (lua_rawget(L, LCONFIG_LINES) == LUA_TSTRING) {
        const char *place = lua_tostring(L, -1);        /* which the table keeps */
        const char *colon = strchr(place, ':');         /* NULL: by debug.getupvalue */
        self->line = atoi(place);
        self->file = colon ? colon + 1 : place;
    }
    lua_pop(L, 1);
}

/* ---- structs ---- */

static void read_struct(lua_State *L, lconfig *self, const schema_key *keys, char *base);

/* What the text says where the file says nothing: as if it stood there. */
static void push_default(lua_State *L, const schema_key *key)
{
    bool number = key->type == FERN_CONFIG_INTEGER || key->type == FERN_CONFIG_NUMBER;
    if (key->type == FERN_CONFIG_BOOLEAN && strcmp(key->otherwise, "true") == 0)
        lua_pushboolean(L, true);
    else if (key->type == FERN_CONFIG_BOOLEAN && strcmp(key->otherwise, "false") == 0)
        lua_pushboolean(L, false);
    else if (!number || lua_stringtonumber(L, key->otherwise) == 0)
        lua_pushstring(L, key->otherwise);
}

static void read_absent(lua_State *L, lconfig *self, const schema_key *key, char *base)
{
    char expected[300];
    if (key->otherwise) {
        push_default(L, key);
        lconfig_read_value(L, self, key, base);
        lua_pop(L, 1);
    } else if (key->required) {
        lconfig_expected(key, expected, sizeof expected);
        lconfig_fault(self, "missing, expected %s", expected);
    } else if (key->type == FERN_CONFIG_TABLE && !key->pointee) {
        lua_newtable(L);
        lconfig_read_value(L, self, key, base);
        lua_pop(L, 1);
    }
}

static void read_key(lua_State *L, lconfig *self, const schema_key *key, char *base)
{
    size_t before = lconfig_enter_name(self, key->name);
    if (self->depth == 1) {
        lua_pushstring(L, key->name);
        find_place(L, self);
    }
    lua_pushstring(L, key->name);
    if (lua_rawget(L, -2) == LUA_TNIL)
        read_absent(L, self, key, base);
    else
        lconfig_read_value(L, self, key, base);
    lua_pop(L, 1);
    lconfig_leave(self, before);
}

static bool is_known(const schema_key *keys, const char *name)
{
    for (; keys->name; keys++)
        if (strcmp(keys->name, name) == 0)
            return true;
    return false;
}

static void tell_unknown(lconfig *self, const schema_key *keys, const char *name)
{
    self->unknown = name;
    const char *nearest = lconfig_nearest(name, keys);
    bool is_global = self->depth == 1 && (self->line || !self->returned);
    const char *hint = is_global ? " (what is no setting is to be local)" : "";
    if (nearest)
        lconfig_fault(self, "unknown key '%.60s'; did you mean '%s'?", name, nearest);
    else
        lconfig_fault(self, "unknown key '%.60s'%s", name, hint);
    self->unknown = NULL;
}

/* The key on the top as a name, or NULL. */
static const char *name_of(lua_State *L)
{
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    return name && strlen(name) == lua_rawlen(L, -1) ? name : NULL;
}

/* What it is instead. */
static const char *kind_of(lua_State *L)
{
    return lua_type(L, -1) == LUA_TSTRING ? "string with zeros" : luaL_typename(L, -1);
}

/* The key is on the top. */
static void look_at_key(lua_State *L, lconfig *self, const schema_key *keys)
{
    const char *name = name_of(L);
    if (name && is_known(keys, name))
        return;
    if (self->depth == 1) {
        lua_pushvalue(L, -1);
        find_place(L, self);
    }
    if (name)
        tell_unknown(self, keys, name);
    else if (lua_isinteger(L, -1))
        lconfig_fault(self, "unknown key [" LUA_INTEGER_FMT "], expected names", lua_tointeger(L, -1));
    else
        lconfig_fault(self, "a key that is a %s, expected names", kind_of(L));
}

/* Of the table on the top. */
static void read_struct(lua_State *L, lconfig *self, const schema_key *keys, char *base)
{
    for (const schema_key *key = keys; key->name; key++)
        read_key(L, self, key, base);
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pop(L, 1);
        look_at_key(L, self, keys);
    }
}

static void read_table(lua_State *L, lconfig *self, const schema_key *key, char *base)
{
    char *target = base + key->offset;
    if (key->pointee) {
        target = *(char **)(void *)target = larena_alloc(&self->anchor->memory, 1, key->pointee);
        self->exhausted |= !target;
    }
    if (target)
        read_struct(L, self, key->keys, target);
}

/* ---- lists ---- */

/* Every key must be one of 1 to as many as there are. */
static bool count_items(lua_State *L, lconfig *self, size_t *count)
{
    lua_Integer last = 0;
    *count = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        lua_Integer index = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (index < 1) {
            lua_pop(L, 1);
            if (lua_type(L, -1) == LUA_TSTRING)
                lconfig_fault(self, "a list has no key '%.60s'", lua_tostring(L, -1));
            else
                lconfig_fault(self, "the items of a list are numbered from 1");
            lua_pop(L, 1);
            return false;
        }
        last = index > last ? index : last;
        ++*count;
    }
    lua_Integer hole = 1;
    while ((lua_Unsigned)last != *count && lua_rawgeti(L, -1, hole) != LUA_TNIL) {
        lua_pop(L, 1);
        hole++;
    }
    if ((lua_Unsigned)last == *count)
        return true;
    lua_pop(L, 1);
    lconfig_fault(self, "item " LUA_INTEGER_FMT " of the list is nil, but a later one is not", hole);
    return false;
}

static char *new_items(lconfig *self, const schema_key *key, char *base, size_t count)
{
    items *list = (items *)(void *)(base + key->offset);
    char *memory = larena_alloc(&self->anchor->memory, count, key->of->stride);
    self->exhausted |= !memory;
    *list = (items){ memory, memory ? count : 0 };
    return memory;
}

static void read_list(lua_State *L, lconfig *self, const schema_key *key, char *base)
{
    size_t count;
    if (!count_items(L, self, &count) || !may_hold(L, self, key, count))
        return;
    char *item = new_items(self, key, base, count);
    for (size_t i = 1; item && i <= count; i++, item += key->of->stride) {
        size_t before = lconfig_enter_index(self, (long long)i);
        lua_rawgeti(L, -1, (lua_Integer)i);
        lconfig_read_value(L, self, key->of, item);
        lua_pop(L, 1);
        lconfig_leave(self, before);
    }
}

/* ---- maps ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool count_names(lua_State *L, lconfig *self, size_t *count)
{
    *count = 0;
    for (lua_pushnil(L); lua_next(L, -2); ++*count) {
        lua_pop(L, 1);
        if (name_of(L))
            continue;
        lconfig_fault(self, "expected a table of names, found a key that is a %s", kind_of(L));
        lua_pop(L, 1);
        return false;
    }
    return true;
}

static void read_entry(lua_State *L, lconfig *self, const schema_key *of, char *entry)
{
    const char *name = lua_tostring(L, -2);
    size_t before = lconfig_enter_name(self, name);
    char *copy = larena_text(&self->anchor->memory, name, lua_rawlen(L, -2));
    self->exhausted |= !copy;
    *(char **)(void *)entry = copy;
    lconfig_read_value(L, self, of, entry);
    lconfig_leave(self, before);
}

static void read_map(lua_State *L, lconfig *self, const schema_key *key, char *base)
{
    size_t count;
    if (!count_names(L, self, &count) || !may_hold(L, self, key, count))
        return;
    char *entries = new_items(self, key, base, count), *entry = entries;
    if (!entries)
        return;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), entry += key->of->stride)
        read_entry(L, self, key->of, entry);
    if (!self->exhausted)
        qsort(entries, count, key->of->stride, compare_names);
}

/* ---- any value ---- */

void lconfig_read_value(lua_State *L, lconfig *self, const schema_key *key, char *base)
{
    if (++self->count >= LCONFIG_VALUES) {
        if (self->count == LCONFIG_VALUES)
            lconfig_fault(self, "more than %d values", LCONFIG_VALUES);
        return;
    }
    if (!lconfig_fits(key)) {
        lconfig_fault(self, "the program's schema and its struct do not fit");
        return;
    }
    if (key->type != FERN_CONFIG_TABLE && key->type != FERN_CONFIG_LIST && key->type != FERN_CONFIG_MAP) {
        lconfig_read_plain(L, self, key, base);
        return;
    }
    if (!enter_table(L, self, key))
        return;
    if (key->type == FERN_CONFIG_TABLE)
        read_table(L, self, key, base);
    else if (key->type == FERN_CONFIG_LIST)
        read_list(L, self, key, base);
    else
        read_map(L, self, key, base);
    self->depth--;
}

void lconfig_read(lua_State *L, lconfig *self)
{
    const schema_key whole = { .type = FERN_CONFIG_TABLE, .keys = self->schema->keys };
    lua_pushvalue(L, LCONFIG_SETTINGS);
    lconfig_read_value(L, self, &whole, self->values);
    lua_pop(L, 1);
}

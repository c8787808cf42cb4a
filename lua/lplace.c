/* SPDX-License-Identifier: MIT
   lplace: where a thread was spawned. File names are interned once, so that
   a thread keeps a pointer and a line. */
#include "lfern.h"

#include <stdlib.h>
#include <string.h>

typedef struct lfern_place {
    struct lfern_place *next;
    const char *name;           /* as messages show it */
    char key[];
} lfern_place;

enum { BUCKETS = 64, MOST = 4096 };

static unsigned hash(const char *key)
{
    unsigned h = 5381;
    while (*key)
        h = h * 33 + (unsigned char)*key++;
    return h % BUCKETS;
}

static lfern_place *find(const lfern *fern, const char *key)
{
    lfern_place *place = fern->places[hash(key)];
    while (place && strcmp(place->key, key) != 0)
        place = place->next;
    return place;
}

static lfern_place *add(lfern *fern, const char *key, const char *name)
{
    size_t key_size = strlen(key) + 1, name_size = strlen(name) + 1;
    lfern_place *place, **bucket = &fern->places[hash(key)];
    if (fern->places_count >= MOST || !(place = malloc(sizeof *place + key_size + name_size)))
        return NULL;
    memcpy(place->key, key, key_size);
    place->name = memcpy(place->key + key_size, name, name_size);
    place->next = *bucket;
    *bucket = place;
    fern->places_count++;
    return place;
}

/* A chunk that has a name has a short one made of it. That of others is made
   of their text, which may be long. (And to read the short name that Lua has
   just written stalls the processor: 25 ns.) */
static const char *intern(lfern *fern, const lua_Debug *ar)
{
    bool named = (*ar->source == '@' || *ar->source == '=') && ar->srclen < LUA_IDSIZE;
    const char *key = named ? ar->source : ar->short_src;
    lfern_place *place = fern->place;
    if (place && strcmp(place->key, key) == 0)
        return place->name;
    if (!fern->places && !(fern->places = calloc(BUCKETS, sizeof *fern->places)))
        return NULL;
    if (!(place = find(fern, key)) && !(place = add(fern, key, ar->short_src)))
        return NULL;
    fern->place = place;
    return place->name;
}

void lthread_place(lua_State *L, lfern *fern, int level, fern_spawn_options *options)
{
    lua_Debug ar;
    for (; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0) {
            options->file = intern(fern, &ar);
            options->line = ar.currentline;
            return;
        }
    }
}

void lplace_free(lfern *fern)
{
    for (unsigned i = 0; fern->places && i < BUCKETS; i++)
        while (fern->places[i]) {
            lfern_place *place = fern->places[i];
            fern->places[i] = place->next;
            free(place);
        }
    free(fern->places);
    fern->places = NULL;
    fern->place = NULL;
}

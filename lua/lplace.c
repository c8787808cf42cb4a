/* SPDX-License-Identifier: MIT
   lplace: where a thread was spawned. File names are interned once, so that
   a thread keeps a pointer and a line. */
#include "lfern.h"

#include <stdlib.h>
#include <string.h>

typedef struct lfern_place {
    struct lfern_place *next;
    char name[];
} lfern_place;

enum { BUCKETS = 64, MOST = 4096 };

static unsigned hash(const char *name)
{
    unsigned h = 5381;
    while (*name)
        h = h * 33 + (unsigned char)*name++;
    return h % BUCKETS;
}

static const char *intern(lfern *fern, const char *name)
{
    if (fern->place && strcmp(fern->place, name) == 0)
        return fern->place;
    if (!fern->places && !(fern->places = calloc(BUCKETS, sizeof *fern->places)))
        return NULL;
    lfern_place **bucket = &fern->places[hash(name)], *place = *bucket;
    for (; place; place = place->next)
        if (strcmp(place->name, name) == 0)
            return fern->place = place->name;
    size_t size = strlen(name) + 1;
    if (fern->places_count >= MOST || !(place = malloc(sizeof *place + size)))
        return NULL;
    memcpy(place->name, name, size);
    place->next = *bucket;
    *bucket = place;
    fern->places_count++;
    return fern->place = place->name;
}

void lthread_place(lua_State *L, lfern *fern, int level, fern_spawn_options *options)
{
    lua_Debug ar;
    for (; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0) {
            options->file = intern(fern, ar.short_src);
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

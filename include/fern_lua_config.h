/* SPDX-License-Identifier: MIT
   fern_lua_config: a program's configuration is a Lua file, read into a struct of
   the program's. What may stand in it is declared as static data: a key for each
   field, with its type, range, default and a line of help. A file that does not
   keep to that gets all its faults told at once.

   The file assigns globals:

       listen = "0.0.0.0:8080"
       workers = 2 * 4
       function on_connect(client) return client ~= "192.0.2.1" end

   or returns a table of the same. It is Lua: it may compute, require modules, and
   park. See docs/configuration.md. All belongs to the OS thread of the Lua state. */
#ifndef FERN_LUA_CONFIG_H
#define FERN_LUA_CONFIG_H

#include "fern_lua.h"

#include <stdio.h>

#ifdef __cplusplus
#include <type_traits>
extern "C" {
#endif

/* ---- schema --------------------------------------------------------- */

typedef enum fern_lua_config_type {
    FERN_CONFIG_BOOLEAN = 1,    /* bool */
    FERN_CONFIG_INTEGER,        /* any integer type, whose range is kept; 4.0 is 4 */
    FERN_CONFIG_NUMBER,         /* double or float; never NaN, and infinite only if `most`
                                   is INFINITY */
    FERN_CONFIG_STRING,         /* const char *, without zeros; range: of its length */
    FERN_CONFIG_ENUM,           /* int or an enum: an index of `names` */
    FERN_CONFIG_SECONDS,        /* double, 0 or more: 1.5, or "200ms" "30s" "5m" "2h" "1d", or
                                   "1h30m"; infinite as above */
    FERN_CONFIG_SIZE,           /* any integer type, 0 or more: bytes, or "64k" "1.5m" "2g" "1t",
                                   powers of 1024 */
    FERN_CONFIG_ADDRESS,        /* fern_lua_config_address */
    FERN_CONFIG_TABLE,          /* a struct, with its own `keys` */
    FERN_CONFIG_LIST,           /* FERN_CONFIG_ITEMS(T), of `of`; range: how many */
    FERN_CONFIG_MAP,            /* the same from a table of names, sorted by them: T begins with
                                   `const char *name` */
    FERN_CONFIG_FUNCTION,       /* fern_lua_config_hook: what can be called */
    FERN_CONFIG_ANY,            /* the same: any value but nil */
} fern_lua_config_type;

/* From "host:port", "[::1]:80", "*:80" and ":80" (host "": any), or "unix:PATH" and
   "unix:@NAME" (port -1, host is the path). Names are not looked up. */
typedef struct fern_lua_config_address {
    const char *host;
    int port;
} fern_lua_config_address;

/* The field of a list or a map. */
#define FERN_CONFIG_ITEMS(type) struct { type *items; size_t count; }

/* What keeps a configuration alive. */
typedef struct fern_lua_config_anchor fern_lua_config_anchor;

/* A value that stays in Lua; `anchor` is NULL where there is none. */
typedef struct fern_lua_config_hook {
    fern_lua_config_anchor *anchor;
    int index;                  /* ours */
} fern_lua_config_hook;

/* Written by the macros below. A key that a file does not have gets its default;
   without one the field stays as it was, but those of a struct get theirs. */
typedef struct fern_lua_config_key {
    const char *name;           /* NULL ends the keys of a struct */
    fern_lua_config_type type;
    size_t offset, size;        /* of the field */
    char field;                 /* a letter for its type in C */
    size_t stride;              /* of an item of a list or map */
    const char *help;           /* a line for people; or NULL */
    bool required;
    double least, most;         /* if most < least: no most; if both are 0: neither */
    const char *otherwise;      /* the default, as a text: "true", "4", "info", "30s"; or NULL */
    const char *const *names;   /* of ENUM; NULL ends them */
    const struct fern_lua_config_key *keys;     /* of TABLE */
    size_t pointee;             /* of TABLE: not 0: the field is a pointer to a struct of this
                                   size, NULL if the file has none */
    const struct fern_lua_config_key *of;       /* of LIST and MAP */
} fern_lua_config_key;

/* A key called as its field: FERN_CONFIG(struct app, workers, INTEGER, .least = 1,
   .most = 64, .otherwise = "4", .help = "how many work at once"). */
#define FERN_CONFIG(struct_, field_, type_, ...) \
    { .name = #field_, .type = FERN_CONFIG_##type_, FERN_CONFIG_AT(struct_, field_), __VA_ARGS__ }

/* What a list is of: FERN_CONFIG_ITEM(const char *, STRING, .least = 1). */
#define FERN_CONFIG_ITEM(item_, type_, ...) \
    { .type = FERN_CONFIG_##type_, .size = sizeof(item_), .field = FERN_CONFIG_FIELD(*(item_ *)0), \
      .stride = sizeof(item_), __VA_ARGS__ }

/* What a map is of: FERN_CONFIG_ENTRY(struct user, limit, INTEGER, .least = 0), where
   struct user begins with its name. */
#define FERN_CONFIG_ENTRY(struct_, field_, type_, ...) \
    { .type = FERN_CONFIG_##type_, FERN_CONFIG_AT(struct_, field_), .stride = sizeof(struct_), \
      __VA_ARGS__ }

/* After the last key. */
#define FERN_CONFIG_END { .name = 0 }

/* Where a field is, for a key that has another name. */
#define FERN_CONFIG_AT(struct_, field_) \
    .offset = offsetof(struct_, field_), .size = sizeof(((struct_ *)0)->field_), \
    .field = FERN_CONFIG_FIELD(((struct_ *)0)->field_)

typedef struct fern_lua_config_schema {
    const fern_lua_config_key *keys;
    size_t size;                /* of the whole struct */
} fern_lua_config_schema;

/* Write what may stand in a file, for --help-config. */
FERN_API void fern_lua_config_describe(const fern_lua_config_schema *schema, FILE *to);

/* ---- reading -------------------------------------------------------- */

typedef struct fern_lua_config_source {
    const char *path;           /* a regular file of at most 16 MiB */
    const char *text;           /* instead of it; then `path` is its name in messages */
    size_t length;
    double limit;               /* seconds that it may run; 0: 5; FERN_NEVER: no limit */
    bool sandbox;               /* without what reaches out of it: no io, os.execute, require,
                                   include, load, debug, metatables */
    const luaL_Reg *functions;  /* of the program's, which it may call; or NULL */
} fern_lua_config_source;

/* Parks if the file does; it runs on the caller's stack, in `L`, see fern_lua.h. Run it
   and read it into `*out`; then *anchor, to be freed, keeps what strings, lists, maps and hooks
   refer to. On failure both are as they were, and *problem, if not NULL, gets a text for
   people, of a line for each fault, to be freed: "app.lua:3: workers: expected an
   integer from 1 to 64, found 0". Threads that the file has spawned go on.
   Returns 0; -EINVAL: the file is wrong; FERN_ERAISED: it has raised; -ETIMEDOUT: it has run
   for too long, or a deadline around the caller has passed; -errno: it cannot be read;
   or, without a text, -ENOMEM, or -ECANCELED: the caller was killed. */
FERN_API int fern_lua_config(lua_State *L, const fern_lua_config_source *source,
                             const fern_lua_config_schema *schema, void *out,
                             fern_lua_config_anchor **anchor, char **problem);

/* Before or after the Lua state has been closed; NULL: nothing happens. */
FERN_API void fern_lua_config_free(fern_lua_config_anchor *anchor);

/* Push the hook's value onto L, a stack of the same Lua state: true; or false, with
   nothing pushed, where there is none. */
FERN_API bool fern_lua_config_push(lua_State *L, const fern_lua_config_hook *hook);

/* ---- reloading ------------------------------------------------------ */

/* Configurations that follow each other, each in a Lua state of its own, a generation.
   A new one takes over once its file has proved right; what began under the
   old one goes on with that, and holds it, until it is done or its time is up.
   All on one hub, which the program has opened. */
typedef struct fern_lua_generations fern_lua_generations;
typedef struct fern_lua_generation fern_lua_generation;

typedef struct fern_lua_generations_options {
    fern_lua_config_source source;      /* read anew each time */
    const fern_lua_config_schema *schema;       /* of a struct that begins as zeros */
    const fern_lua_options *lua;        /* of the states; NULL: the usual */
    double drain;               /* seconds that old ones have for their work; 0: 30 */
    lua_CFunction prepare;      /* called in each new state with `arg`, a light userdata,
                                   before the file is: register what it requires; or NULL */
    /* The file is right: open what it asks for. May park. Negative: the load fails with that,
       the old one stays, and *problem may be set to a text, malloc'd; or NULL. Then it keeps
       no reference. */
    int (*ready)(fern_lua_generation *generation, void *arg, char **problem);
    void *arg;
} fern_lua_generations_options;

/* There is none yet: load the first. What `options` points to must stay. Returns 0 or -ENOMEM. */
FERN_API int fern_lua_generations_new(const fern_lua_generations_options *options,
                                      fern_lua_generations **out);

/* Parks, in a green thread. Load the file in a new state, which takes over; else the
   one before stays. One at a time: others wait their turn. Returns 0, what fern_lua_config
   returns, with *problem, what `ready` returned, -ESHUTDOWN when they are being freed, -EPERM
   without a hub, -EDEADLK from `ready`, or an error as in fern.h. */
FERN_API int fern_lua_generations_load(fern_lua_generations *generations, char **problem);

/* The one that was loaded last, borrowed until the caller parks; NULL before the first. */
FERN_API fern_lua_generation *fern_lua_generations_current(fern_lua_generations *generations);

/* How many there are: the current one, and those that are not done. */
FERN_API size_t fern_lua_generations_count(const fern_lua_generations *generations);

/* Parks, in a green thread, before the hub is closed. Let all of them finish their work until
   `deadline`, then kill it. Returns 0; how many are left four seconds later, because someone
   keeps a reference: this may be called again; or, with nothing done, -ENOMEM, -EBUSY
   while another thread waits here, or -EPERM without a hub. */
FERN_API int fern_lua_generations_free(fern_lua_generations *generations, double deadline);

/* Whoever works with it holds it. When another has taken over, and the last
   reference is gone, its Lua threads are killed and its Lua state is closed. When its time
   is up they are killed all the same; the closing waits for the last reference. */
FERN_API fern_lua_generation *fern_lua_generation_ref(fern_lua_generation *generation);
FERN_API void fern_lua_generation_unref(fern_lua_generation *generation);

/* The same for as long as `thread` lives, such as fern_current(), which is killed when the
   time is up. Returns 0, -ENOMEM, or -ESHUTDOWN: it is up. */
FERN_API int fern_lua_generation_hold(fern_lua_generation *generation, fern_thread *thread);

/* Its Lua state for the current green thread, see fern_lua_state; NULL when its time is up,
   or for want of memory. */
FERN_API lua_State *fern_lua_generation_state(fern_lua_generation *generation);

/* Its struct. */
FERN_API const void *fern_lua_generation_values(const fern_lua_generation *generation);

#ifdef __cplusplus
}

/* What tells a field's type in C, for the macros above. */
template <class T> constexpr char fern_lua_config_field()
{
    return std::is_same<T, bool>::value ? 'b' : std::is_floating_point<T>::value ? 'r' :
           std::is_enum<T>::value ? 'i' :
           std::is_integral<T>::value ? (std::is_unsigned<T>::value ? 'u' : 'i') :
           std::is_convertible<T, const char *>::value ? 's' : 'o';
}
#define FERN_CONFIG_FIELD(field) \
    fern_lua_config_field<typename std::remove_reference<decltype(field)>::type>()
#else
#define FERN_CONFIG_FIELD(field) \
    _Generic((field), bool: 'b', float: 'r', double: 'r', char *: 's', const char *: 's', \
             char: (char)-1 < 0 ? 'i' : 'u', signed char: 'i', short: 'i', int: 'i', long: 'i', \
             long long: 'i', unsigned char: 'u', unsigned short: 'u', unsigned: 'u', \
             unsigned long: 'u', unsigned long long: 'u', default: 'o')
#endif

#endif

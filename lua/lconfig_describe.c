/* SPDX-License-Identifier: MIT
   lconfig_describe: what a schema expects, in words: for a message, and, key by
   key, for --help-config. */
#include "lconfig.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

typedef fern_lua_config_key schema_key;

/* ---- fields ---- */

static bool is_whole(const schema_key *key)
{
    return key->field == 'i' || key->field == 'u';
}

bool lconfig_fits(const schema_key *key)
{
    switch (key->type) {
    case FERN_CONFIG_BOOLEAN:
        return key->field == 'b';
    case FERN_CONFIG_INTEGER: case FERN_CONFIG_SIZE:
        return is_whole(key);
    case FERN_CONFIG_ENUM:
        return is_whole(key) && key->names && key->size == sizeof(int);
    case FERN_CONFIG_NUMBER: case FERN_CONFIG_SECONDS:
        return key->field == 'r' && key->size <= sizeof(double);
    case FERN_CONFIG_STRING:
        return key->field == 's';
    case FERN_CONFIG_ADDRESS:
        return key->size == sizeof(fern_lua_config_address);
    case FERN_CONFIG_FUNCTION: case FERN_CONFIG_ANY:
        return key->size == sizeof(fern_lua_config_hook);
    case FERN_CONFIG_TABLE:
        return key->keys && (!key->pointee || key->size == sizeof(void *));
    case FERN_CONFIG_LIST: case FERN_CONFIG_MAP:
        return key->of && key->of->stride && key->size == sizeof(FERN_CONFIG_ITEMS(void));
    }
    return false;
}

/* ---- ranges ---- */

static bool is_unlimited(const schema_key *key)
{
    return key->least == 0 && key->most == 0;
}

void lconfig_range(const schema_key *key, double *least, double *most)
{
    bool counts = !is_whole(key) && key->field != 'r', none = is_unlimited(key);
    *least = none ? -HUGE_VAL : key->least;
    *most = none || key->most < key->least ? HUGE_VAL : key->most;
    if ((counts || key->type == FERN_CONFIG_SECONDS || key->type == FERN_CONFIG_SIZE) && *least < 0)
        *least = 0;
    if (!is_whole(key))
        return;
    int bits = (int)key->size * 8 - (key->field == 'i');
    double high = ldexp(1, bits) - 1, low = key->field == 'i' ? -high - 1 : 0;
    *least = *least < low ? low : *least;
    *most = *most > high ? high : *most;
}

/* ---- words ---- */

struct words {
    char *text;
    size_t size, length;
};

static void put(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct words *words, const char *format, ...)
{
    size_t room = words->size - words->length;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(words->text + words->length, room, format, arguments);
    va_end(arguments);
    if (length > 0)
        words->length += (size_t)length < room ? (size_t)length : room - 1;
}

/* Limits that are so far away that nobody asked for them are not told. */
static const double FAR = 9e18;

/* " bytes", but " byte" of one. */
static void put_limit(struct words *words, const char *before, double limit, const char *unit)
{
    int length = (int)strlen(unit) - (limit == 1 && *unit);
    put(words, "%s%.15g%.*s", before, limit, length, unit);
}

/* What there is of a limit, after `of`, or `from` of two; false: none. */
static bool put_range(struct words *words, const schema_key *key, const char *of, const char *from,
                      const char *unit)
{
    double least, most;
    lconfig_range(key, &least, &most);
    bool signs = key->type == FERN_CONFIG_INTEGER || key->type == FERN_CONFIG_NUMBER;
    bool amount = key->type == FERN_CONFIG_SECONDS || key->type == FERN_CONFIG_SIZE;
    bool high = most < FAR, low = least > (signs ? -FAR : 0) || (amount && high);
    if (low && high && least == most) {
        put_limit(words, of, least, unit);
    } else if (low && high) {
        put_limit(words, from, least, "");
        put_limit(words, " to ", most, unit);
    } else if (low || high) {
        put(words, "%s", of);
        put_limit(words, low ? "at least " : "at most ", low ? least : most, unit);
    }
    return low || high;
}

/* "1 to 5 seconds", or "seconds". */
static void put_amount(struct words *words, const schema_key *key, const char *unit, const char *example)
{
    if (!put_range(words, key, "", "", unit))
        put(words, "%s", unit + 1);
    put(words, ", or a text like \"%s\"", example);
}

static void put_names(struct words *words, const schema_key *key)
{
    for (size_t i = 0; key->names[i]; i++)
        put(words, "%s\"%s\"", i == 0 ? "one of " : ", ", key->names[i]);
}

static void put_expected(struct words *words, const schema_key *key)
{
    switch (key->type) {
    case FERN_CONFIG_BOOLEAN:
        put(words, "true or false");
        break;
    case FERN_CONFIG_INTEGER:
        put(words, "an integer");
        put_range(words, key, " of ", " from ", "");
        break;
    case FERN_CONFIG_NUMBER:
        put(words, "a number");
        put_range(words, key, " of ", " from ", "");
        break;
    case FERN_CONFIG_STRING:
        put(words, "a string");
        put_range(words, key, " of ", " of ", " bytes");
        break;
    case FERN_CONFIG_ENUM:
        put_names(words, key);
        break;
    case FERN_CONFIG_SECONDS:
        put_amount(words, key, " seconds", "30s");
        break;
    case FERN_CONFIG_SIZE:
        put_amount(words, key, " bytes", "64k");
        break;
    case FERN_CONFIG_ADDRESS:
        put(words, "an address like \"127.0.0.1:80\"");
        break;
    case FERN_CONFIG_TABLE:
        put(words, "a table");
        break;
    case FERN_CONFIG_LIST:
        put(words, "a list");
        put_range(words, key, " of ", " of ", "");
        break;
    case FERN_CONFIG_MAP:
        put(words, "a table");
        if (!put_range(words, key, " of ", " of ", " names"))
            put(words, " of names");
        break;
    case FERN_CONFIG_FUNCTION:
        put(words, "a function");
        break;
    case FERN_CONFIG_ANY:
        put(words, "a value");
        break;
    }
}

void lconfig_expected(const schema_key *key, char *text, size_t size)
{
    struct words words = { text, size, 0 };
    *text = '\0';
    put_expected(&words, key);
}

/* ---- --help-config ---- */

enum { COLUMN = 20, DEEPEST = 5 };

static void describe_keys(const schema_key *keys, int depth, FILE *to);

/* A list of lists of tables is a list of tables, here. */
static void describe_inside(const schema_key *key, int depth, FILE *to)
{
    while (key->type == FERN_CONFIG_LIST || key->type == FERN_CONFIG_MAP)
        key = key->of;
    if (key->type == FERN_CONFIG_TABLE && depth < DEEPEST)
        describe_keys(key->keys, depth + 1, to);
}

static void describe_items(const schema_key *key, FILE *to)
{
    char text[300];
    for (; key->type == FERN_CONFIG_LIST || key->type == FERN_CONFIG_MAP; key = key->of) {
        lconfig_expected(key->of, text, sizeof text);
        fprintf(to, ", %s %s", key->type == FERN_CONFIG_LIST ? "each item" : "for each name", text);
    }
}

static void describe_key(const schema_key *key, int depth, FILE *to)
{
    char text[300];
    bool quoted = key->type > FERN_CONFIG_NUMBER;
    lconfig_expected(key, text, sizeof text);
    fprintf(to, "%*s%-*s %s", depth * 2, "", COLUMN - depth * 2, key->name, text);
    describe_items(key, to);
    if (key->otherwise)
        fprintf(to, quoted ? "; default \"%s\"" : "; default %s", key->otherwise);
    fprintf(to, "%s\n", key->required ? "; required" : "");
    if (key->help)
        fprintf(to, "%*s%s\n", COLUMN + 1, "", key->help);
    describe_inside(key, depth, to);
}

static void describe_keys(const schema_key *keys, int depth, FILE *to)
{
    for (; keys->name; keys++)
        describe_key(keys, depth, to);
}

void fern_lua_config_describe(const fern_lua_config_schema *schema, FILE *to)
{
    describe_keys(schema->keys, 0, to);
}

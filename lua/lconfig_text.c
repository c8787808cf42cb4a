/* SPDX-License-Identifier: MIT
   lconfig_text: what people write for seconds, bytes and addresses, and what they
   may have meant by a name that there is none of. */
#include "lconfig.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    double factor;
};

/* Digits with at most one point among them: neither sign nor exponent, no locale. */
static bool parse_digits(const char **text, double *out)
{
    const char *p = *text;
    double value = 0, place = 1;
    bool any = false, point = false;
    for (; isdigit((unsigned char)*p) || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        value = value * 10 + (*p - '0');
        place *= point ? 10 : 1;
    }
    *text = p;
    *out = value / place;
    return any && isfinite(value);
}

/* The longest name that it begins with; "" comes last. */
static double parse_unit(const char **text, const struct unit *units)
{
    for (; units->name; units++) {
        size_t length = strlen(units->name);
        if (strncasecmp(*text, units->name, length) == 0) {
            *text += length;
            return units->factor;
        }
    }
    return 0;
}

bool lconfig_parse_seconds(const char *text, double *out)
{
    static const struct unit units[] = {
        { "ms", 1e-3 }, { "us", 1e-6 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 },
        { NULL, 0 },
    };
    double sum = 0, last = HUGE_VAL, value;
    do {                        /* "1h30m": each unit is smaller than the last */
        if (!parse_digits(&text, &value))
            return false;
        if (!*text && last == HUGE_VAL) {
            *out = value;
            return true;
        }
        double factor = parse_unit(&text, units);
        if (factor == 0 || factor >= last)
            return false;
        sum += value * factor;
        last = factor;
    } while (*text);
    *out = sum;
    return true;
}

bool lconfig_parse_size(const char *text, double *out)
{
    static const double K = 1024;
    static const struct unit units[] = {
        { "kib", K }, { "kb", K }, { "k", K },
        { "mib", K * K }, { "mb", K * K }, { "m", K * K },
        { "gib", K * K * K }, { "gb", K * K * K }, { "g", K * K * K },
        { "tib", K * K * K * K }, { "tb", K * K * K * K }, { "t", K * K * K * K },
        { "b", 1 }, { "", 1 }, { NULL, 0 },
    };
    double value;
    if (!parse_digits(&text, &value))
        return false;
    *out = value * parse_unit(&text, units);
    return !*text && *out == floor(*out);
}

/* ---- addresses ---- */

enum { HIGHEST_PORT = 65535 };

#define DIGITS "0123456789"

static bool parse_port(const char *text, int *port)
{
    size_t digits = strspn(text, DIGITS);
    int value = 0;
    for (size_t i = 0; i < digits && value <= HIGHEST_PORT; i++)
        value = value * 10 + (text[i] - '0');
    *port = value;
    return digits > 0 && !text[digits] && value <= HIGHEST_PORT;
}

bool lconfig_port_is_too_high(const char *text)
{
    const char *colon = strrchr(text, ':');
    int port;
    return colon && !parse_port(colon + 1, &port) && port > HIGHEST_PORT && !colon[1 + strspn(colon + 1, DIGITS)];
}

bool lconfig_parse_address(const char *text, const char **host, size_t *length, int *port)
{
    if (strncmp(text, "unix:", 5) == 0) {
        *host = text + 5;
        *length = strlen(text + 5);
        *port = -1;
        return *length > 0 && *length <= 107;
    }
    const char *colon = strrchr(text, ':'), *end = colon;
    if (!colon || !parse_port(colon + 1, port))
        return false;
    if (*text == '[') {
        if (end == text + 1 || *--end != ']')
            return false;
        text++;
    } else if (memchr(text, ':', (size_t)(end - text))) {
        return false;           /* IPv6 wants its brackets */
    }
    *host = text;
    *length = (size_t)(end - text);
    if (*length == 1 && *text == '*')
        *length = 0;
    return *length <= 255 && strcspn(text, " \t\r\n[]/") >= *length;
}

/* ---- names ---- */

enum { LONGEST = 64 };

static size_t least_of(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* How many letters are to be put in, taken out, replaced, or exchanged with their
   neighbour to make one of the other. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST + 1], width = strlen(b);
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= width; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        now[0] = i;
        for (size_t j = 1; j <= width; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            now[j] = least_of(last[j] + 1, now[j - 1] + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[width];
}

const char *lconfig_nearest(const char *name, const fern_lua_config_key *keys)
{
    const char *nearest = NULL;
    size_t length = strlen(name), best = length <= 4 ? 1 : length <= 8 ? 2 : 3;
    if (length > LONGEST)
        return NULL;
    for (; keys->name; keys++) {
        if (strlen(keys->name) > LONGEST)
            continue;
        size_t far = distance(name, keys->name);
        if (far < length && (far < best || (far == best && !nearest))) {
            best = far;
            nearest = keys->name;
        }
    }
    return nearest;
}

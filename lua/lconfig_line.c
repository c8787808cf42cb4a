/* SPDX-License-Identifier: MIT
   lconfig_line: the line of a value inside a table, which Lua does not keep. Where it
   has been written as such, `backends = { { port = 0 } }`, it is found in the text again:
   the assignment that ended on the line that Lua has told, and from there brace by brace.
   What has been computed is not found; then the line is that of what is around it. So it
   is in a long text, for nothing else runs meanwhile. */
#include "lconfig.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 256 * 1024 };

typedef struct scanner {
    const char *next, *end;
    int line;                   /* of `next` */
    const char *token;          /* the last one; at the end of the text none */
    size_t length;
    int token_line;
} scanner;

/* ---- tokens ---- */

static bool at(const scanner *s, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(s->end - s->next) >= length && memcmp(s->next, text, length) == 0;
}

static void skip(scanner *s, size_t count)
{
    for (; count > 0 && s->next < s->end; count--)
        s->line += *s->next++ == '\n';
}

/* The level of the long bracket that begins here, or -1. */
static int long_level(const scanner *s)
{
    const char *p = s->next + 1;
    while (p < s->end && *p == '=')
        p++;
    return *s->next == '[' && p < s->end && *p == '[' ? (int)(p - s->next - 1) : -1;
}

static void skip_long(scanner *s, int level)
{
    for (skip(s, (size_t)level + 2); s->next < s->end; skip(s, 1)) {
        const char *p = s->next + 1;
        while (p < s->end && *p == '=')
            p++;
        if (*s->next == ']' && p < s->end && *p == ']' && p - s->next - 1 == level) {
            skip(s, (size_t)level + 2);
            return;
        }
    }
}

static void skip_comment(scanner *s)
{
    skip(s, 2);
    int level = s->next < s->end ? long_level(s) : -1;
    if (level >= 0)
        skip_long(s, level);
    else
        while (s->next < s->end && *s->next != '\n')
            skip(s, 1);
}

static void skip_quoted(scanner *s)
{
    char quote = *s->next;
    for (skip(s, 1); s->next < s->end && *s->next != quote; skip(s, 1))
        if (*s->next == '\\')
            skip(s, 1);
    skip(s, 1);
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static void skip_token(scanner *s)
{
    static const char *const pairs[] = { "==", "~=", "<=", ">=", "..", "::", NULL };
    int level = long_level(s);
    if (level >= 0) {
        skip_long(s, level);
    } else if (*s->next == '"' || *s->next == '\'') {
        skip_quoted(s);
    } else if (is_word(*s->next)) {
        while (s->next < s->end && is_word(*s->next))
            skip(s, 1);
    } else {
        int i = 0;
        while (pairs[i] && !at(s, pairs[i]))
            i++;
        skip(s, pairs[i] ? 2 : 1);
    }
}

static bool advance(scanner *s)
{
    while (s->next < s->end && (isspace((unsigned char)*s->next) || at(s, "--")))
        at(s, "--") ? skip_comment(s) : skip(s, 1);
    s->token = s->next;
    s->token_line = s->line;
    if (s->next < s->end)
        skip_token(s);
    s->length = (size_t)(s->next - s->token);
    return s->length > 0;
}

static bool is(const scanner *s, const char *text)
{
    return s->length == strlen(text) && memcmp(s->token, text, s->length) == 0;
}

static bool is_one_of(const scanner *s, const char *const *texts)
{
    while (*texts && !is(s, *texts))
        texts++;
    return *texts;
}

/* ---- fields ---- */

/* By how much what follows the token stands deeper than what was before it. */
static int nesting(const scanner *s)
{
    static const char *const opening[] = { "function", "if", "do", "repeat", NULL };
    static const char *const closing[] = { "end", "until", NULL };
    char c = *s->token;
    if (s->length == 1)
        return (c == '{' || c == '(' || c == '[') - (c == '}' || c == ')' || c == ']');
    return islower((unsigned char)c) ? is_one_of(s, opening) - is_one_of(s, closing) : 0;
}

/* Up to what ends the field that the scanner stands in. */
static void skip_field(scanner *s)
{
    int depth = 0;
    if (s->length == 0)
        return;
    do {
        if (depth == 0 && (is(s, ",") || is(s, ";") || is(s, "}")))
            return;
        depth += nesting(s);
    } while (advance(s));
}

/* A step of a path, "name", or 2 for [2], or the name of ["a name"]. */
struct step {
    const char *name;
    size_t length;
    long index;
};

/* The first step of the path, which goes on after it; false: there is none. */
static bool take_step(const char **path, struct step *step)
{
    const char *p = *path + (**path == '.');
    bool quoted = strncmp(p, "[\"", 2) == 0, index = !quoted && *p == '[';
    p += quoted ? 2 : index;
    *step = (struct step){ p, quoted ? strcspn(p, "\"") : strcspn(p, ".[]"), index ? atol(p) : 0 };
    *path = p + step->length;
    *path += quoted ? strspn(*path, "\"]") : **path == ']';
    return step->length > 0;
}

/* Of decimal digits; -1 for anything else. */
static long number_of(const scanner *s)
{
    long number = 0;
    for (size_t i = 0; i < s->length; i++) {
        if (!isdigit((unsigned char)s->token[i]) || number > INT_MAX)
            return -1;
        number = number * 10 + (s->token[i] - '0');
    }
    return number;
}

/* The key that stands here, in brackets or not. */
static bool is_named(const scanner *s, const struct step *step, bool bracket)
{
    size_t quotes = s->length > 0 && (*s->token == '"' || *s->token == '\'');
    if (step->index)
        return bracket && number_of(s) == step->index;
    return bracket == (quotes > 0) && s->length == step->length + 2 * quotes &&
           memcmp(s->token + quotes, step->name, step->length) == 0;
}

/* Does the field that begins here have that key? The scanner is left at its value. */
static bool is_step(scanner *s, const struct step *step, long *position)
{
    scanner before = *s;
    bool bracket = is(s, "[");
    if (bracket)
        advance(s);
    bool named = is_named(s, step, bracket);
    if (bracket)
        advance(s);
    advance(s);
    if (is(s, "=")) {
        advance(s);
        return named;
    }
    *s = before;
    return ++*position == step->index;
}

/* The scanner stands at a value: at that of the rest of the path, as far as it is written
   there. Returns the line of the last key that was. */
static int find_inside(scanner *s, const char *path)
{
    struct step step;
    int line = s->token_line;
    while (is(s, "{") && take_step(&path, &step)) {
        long position = 0;
        bool found = false;
        while (!found && advance(s) && !is(s, "}")) {
            int begin = s->token_line;
            found = is_step(s, &step, &position);
            if (found)
                line = begin;
            else
                skip_field(s);
            if (is(s, "}"))
                break;
        }
        if (!found)
            break;
    }
    return line;
}

/* ---- assignments ---- */

/* Does the statement `name =`, or without a name `return`, begin here? Then the scanner is
   left at its value. */
static bool is_statement(scanner *s, const struct step *name)
{
    if (!name->name)
        return is(s, "return") && advance(s);
    return s->length == name->length && memcmp(s->token, name->name, s->length) == 0 &&
           advance(s) && is(s, "=") && advance(s);
}

/* The last one that begins no later than on line `last`, if that is not 0. */
static bool find_statement(scanner *s, const struct step *name, int last)
{
    scanner found = { 0 };
    int braces = 0;
    bool member = false;        /* of a table: after a dot */
    while (advance(s) && (!last || s->token_line <= last)) {
        scanner here = *s;
        braces += is(s, "{");
        braces -= is(s, "}");
        if (braces == 0 && !member && is_statement(&here, name))
            found = here;
        member = is(s, ".");
    }
    *s = found;
    return found.token;
}

int lconfig_line(const lconfig_text *text, const char *path, int last)
{
    struct step step = { 0 };
    scanner s = { .next = text->text, .end = text->text + text->length, .line = 1 };
    if (text->length > LONGEST || (last && !take_step(&path, &step)) || !find_statement(&s, &step, last))
        return last;
    return find_inside(&s, path);
}

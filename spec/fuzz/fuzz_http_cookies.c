/* SPDX-License-Identifier: MIT
   Cookies: a jar takes lines of seven fields and no others, and what it then says is
   lines again that another jar takes, and says the same. */
#include "fern_http.h"
#include "fuzz.h"

#include <errno.h>

struct lines {
    fern_http_jar *copy;
    size_t count;
};

static bool is_line(const char *line)
{
    int tabs = 0;
    for (; *line; line++) {
        tabs += *line == '\t';
        if ((unsigned char)*line < ' ' && *line != '\t')
            return false;
    }
    return tabs == 6;
}

static void take(const char *line, void *arg)
{
    struct lines *lines = arg;
    lines->count++;
    FUZZ_CHECK(is_line(line));
    if (lines->copy)
        FUZZ_CHECK(fern_http_jar_add(lines->copy, line) == 0);
}

static size_t count_of(fern_http_jar *jar, fern_http_jar *copy)
{
    struct lines lines = { .copy = copy };
    FUZZ_CHECK(fern_http_jar_each(jar, take, &lines) == 0);
    return lines.count;
}

/* A line of the input as it is, or with the first fields that a cookie needs. */
static void add(fern_http_jar *jar, struct fuzz_input *input)
{
    static const char *const heads[] = { "", "a.test\tTRUE\t/\tFALSE\t0\t", "#HttpOnly_.b.test\tTRUE\t" };
    const char *head = heads[fuzz_byte(input) % 3];
    const uint8_t *end = input->size ? memchr(input->data, '\n', input->size) : NULL;
    size_t size = end ? (size_t)(end - input->data) : input->size;
    char *rest = fuzz_text(input->data, size), *line = malloc(size + 64);
    FUZZ_CHECK(line);
    snprintf(line, size + 64, "%s%s", head, rest);
    int rc = fern_http_jar_add(jar, line);
    FUZZ_CHECK((rc == 0) == (is_line(line) || strcmp(line, "ALL") == 0));
    FUZZ_CHECK(rc == 0 || rc == -EINVAL);
    free(line);
    free(rest);
    input->data += size + (end != NULL);
    input->size -= size + (end != NULL);
}

int FUZZ_ONE(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    fern_http_jar *jar, *copy;
    FUZZ_CHECK(fern_http_jar_new(&jar) == 0 && fern_http_jar_new(&copy) == 0);
    while (input.size > 0)
        add(jar, &input);
    size_t count = count_of(jar, copy);
    FUZZ_CHECK(count_of(copy, NULL) == count);
    fern_http_jar_unref(jar);
    fern_http_jar_unref(copy);
    return 0;
}

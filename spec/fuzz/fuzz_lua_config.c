/* SPDX-License-Identifier: MIT
   A configuration of any bytes: the texts of sizes, times and addresses as they come, a
   file that is any text, and the lines that are looked for in it. It is read or refused, with a text; nothing is left on the
   stack, and on failure nothing is changed. */
#include "config.h"
#include "fuzz.h"
#include "lconfig.h"

static void read_as(struct config *config, const char *text, size_t length, bool file)
{
    struct app before = config->app;
    fern_lua_config_anchor *anchor = NULL;
    char *problem = NULL;
    fern_lua_config_source source = {
        .path = "app.lua", .text = text, .length = length, .sandbox = file, .limit = 0.05,
    };
    int rc = fern_lua_config(config->L, &source, &app_schema, &config->app, &anchor, &problem);
    FUZZ_CHECK(rc == 0 || (problem && !anchor && memcmp(&before, &config->app, sizeof before) == 0));
    FUZZ_CHECK(lua_gettop(config->L) == 0);
    FUZZ_CHECK(rc != 0 || (config->app.timeout >= 0 && config->app.buffer >= 1024 && anchor));
    fern_lua_config_free(anchor);
    free(problem);
    config->app = before;
}

/* The bytes as the value of each key that is written as a text. */
static void read_values(struct config *config, const uint8_t *data, size_t size)
{
    static const char *const keys[] = { "listen", "timeout", "buffer", "level", "title" };
    static char text[40 * 1024];
    size_t length = (size_t)snprintf(text, sizeof text, "local bytes = '");
    for (size_t i = 0; i < size && length + 200 < sizeof text; i++)
        length += (size_t)snprintf(text + length, 5, "\\x%02x", data[i]);
    length += (size_t)snprintf(text + length, 3, "' ");
    if (size % 2)
        length += (size_t)snprintf(text + length, 20, "listen = ':1' ");
    length += (size_t)snprintf(text + length, 40, "%s = bytes", keys[size / 2 % 5]);
    read_as(config, text, length, false);
}

/* The bytes as a text in which a line is looked for, with nothing behind it. */
static void find_lines(const uint8_t *data, size_t size)
{
    static const char *const paths[] = { "a", "a.b", "a[1]", "b[2].a[1]", "a[\"b a\"]", "[1]", "a[", "b.a.b.a" };
    int lines = 1;
    char *text = malloc(size + !size);
    FUZZ_CHECK(text);
    for (size_t i = 0; i < size; i++) {
        text[i] = (char)data[i];
        lines += data[i] == '\n';
    }
    const lconfig_text whole = { .name = "app.lua", .text = text, .length = size };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (int last = 0; last <= lines; last += 1 + lines / 3) {
            int line = lconfig_line(&whole, paths[i], last);
            FUZZ_CHECK(line >= 0 && line <= lines);
        }
    free(text);
}

int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static struct config config;
    if (!config.L)
        config = config_open();
    read_values(&config, data, size);
    find_lines(data, size);
    read_as(&config, (const char *)data, size, true);
    return 0;
}

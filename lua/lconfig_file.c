/* SPDX-License-Identifier: MIT
   lconfig_file: the file of a configuration, and those that it includes. Only a
   regular file is read: opening a FIFO would wait for its writer. Bytecode is
   refused: Lua does not check it. */
#include "lconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST = 16 * 1024 * 1024 };

struct content {
    char *text;
    size_t length;
};

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a FIFO" :
           S_ISSOCK(mode) ? "a socket" : "a device";
}

/* Whatever does not fit: another program writes it just now. */
static int read_whole(int fd, char *text, size_t size, size_t *length)
{
    *length = 0;
    while (*length < size) {
        ssize_t n = read(fd, text + *length, size - *length);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            *length += (size_t)n;
    }
    return 0;
}

static int read_open(lconfig *self, int fd, const char **kind, struct content *content)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode)) {
        *kind = kind_of(status.st_mode);
        return -EINVAL;
    }
    if (status.st_size > LARGEST)
        return -EFBIG;
    content->text = larena_alloc(&self->scratch, (size_t)status.st_size + 1, 1);
    if (!content->text)
        return -ENOMEM;
    return read_whole(fd, content->text, (size_t)status.st_size, &content->length);
}

static int read_path(lconfig *self, const char *path, const char **kind, struct content *content)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    int rc = read_open(self, fd, kind, content);
    close(fd);
    return rc;
}

/* What an editor puts before the text, and what a shell reads. Its line stays. */
static void skip_start(struct content *content)
{
    if (content->length >= 3 && memcmp(content->text, "\xef\xbb\xbf", 3) == 0) {
        content->text += 3;
        content->length -= 3;
    }
    while (content->length > 0 && content->text[0] == '#') {
        char *end = memchr(content->text, '\n', content->length);
        size_t skipped = end ? (size_t)(end - content->text) : content->length;
        content->text += skipped;
        content->length -= skipped;
    }
}

static void keep_text(lconfig *self, const struct content *content, const char *path)
{
    lconfig_text *text = larena_alloc(&self->scratch, 1, sizeof *text);
    const char *name = larena_text(&self->scratch, path, strlen(path));
    if (!text || !name)
        return;                 /* then lines are less exact */
    *text = (lconfig_text){ self->texts, name, content->text, content->length };
    self->texts = text;
}

static bool load_text(lua_State *L, lconfig *self, const struct content *content, const char *path)
{
    if (content->length > 0 && content->text[0] == LUA_SIGNATURE[0]) {
        lua_pushfstring(L, "%s: a text expected, found bytecode", path);
        self->rc = -EINVAL;
        return false;
    }
    keep_text(self, content, path);
    const char *name = lua_pushfstring(L, "@%s", path);
    int status = luaL_loadbufferx(L, content->text, content->length, name, "t");
    lua_remove(L, -2);
    if (status == LUA_ERRMEM)
        self->rc = -ENOMEM;
    else if (status != LUA_OK)
        self->rc = -EINVAL;
    return status == LUA_OK;
}

bool lconfig_load_file(lua_State *L, lconfig *self, const char *path)
{
    struct content content = { NULL, 0 };
    const char *kind = NULL;
    self->rc = read_path(self, path, &kind, &content);
    if (self->rc == 0) {
        skip_start(&content);
        return load_text(L, self, &content, path);
    }
    if (kind)
        lua_pushfstring(L, "%s: a file expected, found %s", path, kind);
    else
        lua_pushfstring(L, "%s: %s", path, fern_error_message(self->rc));
    return false;
}

bool lconfig_load(lua_State *L, lconfig *self)
{
    const fern_lua_config_source *source = self->source;
    struct content content = { (char *)(uintptr_t)source->text, source->length };
    if (!source->text)
        return lconfig_load_file(L, self, source->path);
    return load_text(L, self, &content, source->path ? source->path : "configuration");
}

/* ---- include ---- */

/* Beside the file that includes it, unless its path begins at the root. */
static const char *push_beside(lua_State *L, const char *path)
{
    lua_Debug ar;
    const char *slash = NULL;
    if (*path != '/' && lua_getstack(L, 1, &ar) && lua_getinfo(L, "S", &ar) && *ar.source == '@')
        slash = strrchr(ar.source, '/');
    lua_pushlstring(L, slash ? ar.source + 1 : "", slash ? (size_t)(slash - ar.source) : 0);
    lua_pushstring(L, path);
    lua_concat(L, 2);
    return lua_tostring(L, -1);
}

/* Lua's stack would be full first, with a message that names no file. */
static void check_loop(lua_State *L, const char *path)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++)
        if (lua_getinfo(L, "S", &ar) && *ar.what == 'm' && *ar.source == '@' && strcmp(ar.source + 1, path) == 0)
            luaL_error(L, "'%s' includes itself", path);
}

static int include(lua_State *L)
{
    size_t length;
    const char *path = luaL_checklstring(L, 1, &length);
    lua_settop(L, 1);
    luaL_argcheck(L, strlen(path) == length, 1, "a path has no zeros");
    lconfig *self = lconfig_running(L);
    if (!self)
        luaL_error(L, "include works only while a configuration is loaded");
    path = push_beside(L, path);
    check_loop(L, path);
    bool loaded = lconfig_load_file(L, self, path);
    self->rc = 0;               /* that is told by an error */
    if (!loaded)
        lua_error(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setupvalue(L, -2, 1);
    lua_call(L, 0, LUA_MULTRET);
    return lua_gettop(L) - 2;
}

void lconfig_push_include(lua_State *L)
{
    lua_pushcclosure(L, include, 1);
}

/* SPDX-License-Identifier: MIT
   lsocket: see the header. What all classes share: the object, its descriptor,
   its class, its time limits, and LuaSocket's words for what went wrong. */
#include "lsocket.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char lsocket_mark = 0;

/* Of each class: its name, and that of its siblings. Its address is the key of the
   metatable in the registry. */
static const struct names {
    const char *own, *any;
} names[LSOCKET_CLASSES] = {
    [LTCP_MASTER] = { "tcp{master}", "tcp{any}" },
    [LTCP_CLIENT] = { "tcp{client}", "tcp{any}" },
    [LTCP_SERVER] = { "tcp{server}", "tcp{any}" },
    [LUDP_UNCONNECTED] = { "udp{unconnected}", "udp{any}" },
    [LUDP_CONNECTED] = { "udp{connected}", "udp{any}" },
    [LSTREAM_MASTER] = { "unixstream{master}", "unixstream{any}" },
    [LSTREAM_CLIENT] = { "unixstream{client}", "unixstream{any}" },
    [LSTREAM_SERVER] = { "unixstream{server}", "unixstream{any}" },
    [LDGRAM_UNCONNECTED] = { "unixdgram{unconnected}", "unixdgram{any}" },
    [LDGRAM_CONNECTED] = { "unixdgram{connected}", "unixdgram{any}" },
    [LSERIAL_CLIENT] = { "serial{client}", "serial{any}" },
    [LSSL_CONNECTION] = { "SSL connection", "SSL connection" },
};

/* ---- those that are open ---- */

struct open_sockets {
    lsocket *first;
};

static const char open_sockets_key = 0;

static void close_all(void *value)
{
    struct open_sockets *sockets = value;
    while (sockets->first)
        lsocket_drop(sockets->first);
    free(sockets);
}

static struct open_sockets *open_sockets(void)
{
    fern_hub *hub = fern_hub_current();
    return hub ? fern_hub_kept(hub, &open_sockets_key) : NULL;
}

static void see_to_list(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    if (fern_hub_kept(hub, &open_sockets_key))
        return;
    struct open_sockets *sockets = calloc(1, sizeof *sockets);
    int rc = sockets ? fern_hub_keep(hub, &open_sockets_key, sockets, close_all) : -ENOMEM;
    if (rc == 0)
        return;
    free(sockets);
    lfern_raise(L, rc);
}

void lsocket_own(lsocket *self, int fd)
{
    struct open_sockets *sockets = open_sockets();
    self->fd = fd;
    self->closed = fd < 0;
    if (!sockets || fd < 0)
        return;
    self->next = sockets->first;
    self->link = &sockets->first;
    if (self->next)
        self->next->link = &self->next;
    sockets->first = self;
}

void lsocket_forget(lsocket *self)
{
    self->fd = -1;
    self->io = NULL;
    if (!self->link)
        return;
    *self->link = self->next;
    if (self->next)
        self->next->link = self->link;
    self->link = NULL;
}

void lsocket_drop(lsocket *self)
{
    fern_io *io = self->io;
    int fd = self->fd;
    lsocket_forget(self);
    lsocket_over_drop(self);
    if (io) {
        fern_io_close(io);
    } else if (fd >= 0) {
        fern_fd_forget(fd);
        close(fd);
    }
}

int lsocket_descriptor(const lsocket *self, int family, int *out)
{
    int fd = socket(family, self->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int only = 1;
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    lsocket_apply_options(self, fd);
    *out = fd;
    return 0;
}

int lsocket_create(lsocket *self, int family)
{
    int fd = -1, failure = lsocket_descriptor(self, family, &fd);
    if (failure == 0)
        lsocket_own(self, fd);
    return failure;
}

/* ---- objects ---- */

lsocket *lsocket_new(lua_State *L, lsocket_class class, int family, int type)
{
    see_to_list(L);
    lsocket *self = lua_newuserdatauv(L, sizeof *self, class == LSSL_CONNECTION);
    *self = (lsocket){ .mark = &lsocket_mark, .class = class, .family = family, .type = type,
                       .fd = -1, .racing = -1, .block = -1, .total = -1, .birthday = lsocket_now() };
    lua_rawgetp(L, LUA_REGISTRYINDEX, &names[class]);
    lua_setmetatable(L, -2);
    return self;
}

void lsocket_become(lua_State *L, int index, lsocket *self, lsocket_class class)
{
    lua_pushvalue(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &names[class]);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    self->class = class;
}

void lsocket_push_class(lua_State *L, lsocket_class class)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &names[class]);
}

lsocket *lsocket_test(lua_State *L)
{
    return lfern_marked(L, 1, sizeof(lsocket), &lsocket_mark);
}

lsocket *lsocket_check(lua_State *L, lsocket_class class)
{
    lsocket *self = lsocket_test(L);
    if (!self || self->class != class)
        luaL_argerror(L, 1, lua_pushfstring(L, "%s expected", names[class].own));
    return self;
}

lsocket *lsocket_check_any(lua_State *L, lsocket_class class)
{
    lsocket *self = lsocket_test(L);
    if (!self || strcmp(names[self->class].any, names[class].any) != 0)
        luaL_argerror(L, 1, lua_pushfstring(L, "%s expected", names[class].any));
    return self;
}

/* Any of ours: for methods that all classes have. */
static lsocket *check_socket(lua_State *L)
{
    lsocket *self = lsocket_test(L);
    if (!self)
        luaL_argerror(L, 1, "socket expected");
    return self;
}

void lsocket_class_open(lua_State *L, lsocket_class class, const luaL_Reg *methods)
{
    lua_createtable(L, 0, 6);
    lua_createtable(L, 0, 32);
    for (; methods->name; methods++) {
        lua_pushcfunction(L, methods->func);
        lua_setfield(L, strncmp(methods->name, "__", 2) == 0 ? -3 : -2, methods->name);
    }
    lua_pushstring(L, names[class].own);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "__name");
    lua_setfield(L, -2, "class");
    lua_setfield(L, -2, "__index");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &names[class]);
}

/* ---- what went wrong ---- */

static const struct {
    int failure;
    const char *message;
} words[] = {
    { LSOCKET_CLOSED, "closed" },
    { LSOCKET_TIMEOUT, "timeout" },
    { LSOCKET_LONG_PATH, "path too long" },
    { LSOCKET_WANT_READ, "wantread" },
    { LSOCKET_WANT_WRITE, "wantwrite" },
    { EPIPE, "closed" },
    { ECONNABORTED, "closed" },
    { ECONNRESET, "closed" },
    { ETIMEDOUT, "timeout" },
    { EADDRINUSE, "address already in use" },
    { EISCONN, "already connected" },
    { EACCES, "permission denied" },
    { ECONNREFUSED, "connection refused" },
};

static const struct {
    int eai;
    const char *message;
} name_words[] = {
    { EAI_AGAIN, "temporary failure in name resolution" },
    { EAI_BADFLAGS, "invalid value for ai_flags" },
    { EAI_FAIL, "non-recoverable failure in name resolution" },
    { EAI_FAMILY, "ai_family not supported" },
    { EAI_MEMORY, "memory allocation failure" },
    { EAI_NONAME, "host or service not provided, or not known" },
    { EAI_OVERFLOW, "argument buffer overflow" },
    { EAI_SERVICE, "service not supported for socket type" },
    { EAI_SOCKTYPE, "ai_socktype not supported" },
};

const char *lsocket_eai_message(int eai)
{
    for (size_t i = 0; i < sizeof name_words / sizeof *name_words; i++)
        if (abs(name_words[i].eai) == abs(eai))
            return name_words[i].message;
    return gai_strerror(EAI_NONAME < 0 ? -abs(eai) : abs(eai));
}

const char *lsocket_message(int failure)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].failure == failure)
            return words[i].message;
    return failure > LSOCKET_EAI ? lsocket_eai_message(failure - LSOCKET_EAI) : strerror(failure);
}

int lsocket_fail_of(lua_State *L, const lsocket *self, int failure)
{
    if (failure < 0)
        lfern_raise(L, failure);
    lua_pushnil(L);
    lua_pushstring(L, failure == LSOCKET_TLS ? lsocket_over_words(self) : lsocket_message(failure));
    return 2;
}

int lsocket_fail(lua_State *L, int failure)
{
    return lsocket_fail_of(L, NULL, failure);
}

int lsocket_result(lua_State *L, int failure)
{
    if (failure)
        return lsocket_fail(L, failure);
    lua_pushinteger(L, 1);
    return 1;
}

/* ---- time ---- */

double lsocket_start(const lsocket *self)
{
    return self->block < 0 && self->total < 0 ? 0 : fern_now();
}

/* As LuaSocket's: one limit counts from the start of the call, of whichever mode it
   is; of both, the first is for each wait. */
double lsocket_deadline(const lsocket *self, double start)
{
    if (self->block < 0 && self->total < 0)
        return FERN_NEVER;
    if (self->total < 0)
        return start + self->block;
    return self->block < 0 ? start + self->total
                           : fmin(fern_now() + self->block, start + self->total);
}

double lsocket_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int lsocket_settimeout(lua_State *L)
{
    lsocket *self = check_socket(L);
    double seconds = luaL_optnumber(L, 2, -1);
    const char *mode = luaL_optstring(L, 3, "b");
    luaL_argcheck(L, !isnan(seconds), 2, "a number of seconds expected, got NaN");
    luaL_argcheck(L, *mode && strchr("brt", *mode), 3, "invalid timeout mode");
    *(*mode == 'b' ? &self->block : &self->total) = seconds;
    lua_pushinteger(L, 1);
    return 1;
}

int lsocket_gettimeout(lua_State *L)
{
    const lsocket *self = check_socket(L);
    lua_pushnumber(L, self->block);
    lua_pushnumber(L, self->total);
    return 2;
}

/* ---- what all objects can ---- */

int lsocket_close(lua_State *L)
{
    lsocket *self = check_socket(L);
    lsocket_drop(self);
    self->closed = true;
    fern_fd_forget(self->racing);       /* wakes who connects it */
    lua_pushinteger(L, 1);
    return 1;
}

int lsocket_gc(lua_State *L)
{
    lsocket *self = check_socket(L);
    lsocket_drop(self);
    lsocket_free_options(self);
    free(self->data);
    self->data = NULL;
    self->first = self->last = self->size = 0;
    return 0;
}

int lsocket_tostring(lua_State *L)
{
    const lsocket *self = check_socket(L);
    bool gone = self->class == LSSL_CONNECTION && lsocket_over_fd(self) < 0;
    lua_pushfstring(L, "%s: %p%s", names[self->class].own, (const void *)self, gone ? " (closed)" : "");
    return 1;
}

int lsocket_getfd(lua_State *L)
{
    const lsocket *self = check_socket(L);
    lua_pushinteger(L, self->over ? lsocket_over_fd(self) : self->fd);
    return 1;
}

/* From a supervisor it may be one that blocks, and would block us all. */
static void set_nonblocking(int fd)
{
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* What it had stays open, and is somebody else's: with -1, LuaSec's. */
int lsocket_setfd(lua_State *L)
{
    lsocket *self = check_socket(L);
    double number = luaL_checknumber(L, 2);
    int fd = number >= 0 && number <= 0x7fffffff ? (int)number : -1;
    fern_io *io = self->io;
    see_to_list(L);
    lsocket_forget(self);
    if (io)
        fern_io_release(io);
    set_nonblocking(fd);
    lsocket_own(self, fd);
    return 0;
}

int lsocket_dirty(lua_State *L)
{
    const lsocket *self = check_socket(L);
    lua_pushboolean(L, self->first < self->last || lsocket_over_dirty(self));
    return 1;
}

/* ---- functions ---- */

static int socket_gettime(lua_State *L)
{
    lua_pushnumber(L, lsocket_now());
    return 1;
}

static int socket_sleep(lua_State *L)
{
    luaL_checknumber(L, 1);
    double until = lfern_deadline(L, 1);
    lfern_enter(L);
    int rc = fern_sleep(until);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

static int socket_unload(lua_State *L)
{
    (void)L;
    return 0;
}

static int descriptors_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > 0x7fffffff)
        return 0x7fffffff;
    return (int)limit.rlim_cur;
}

static void set_constants(lua_State *L)
{
    lua_pushliteral(L, "LuaSocket 3.1.0");
    lua_setfield(L, -2, "_VERSION");
    lua_pushinteger(L, 8192);
    lua_setfield(L, -2, "_DATAGRAMSIZE");
    lua_pushinteger(L, descriptors_max());
    lua_setfield(L, -2, "_SETSIZE");
    lua_pushinteger(L, -1);
    lua_setfield(L, -2, "_SOCKETINVALID");
}

static int socket_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "gettime", socket_gettime }, { "sleep", socket_sleep }, { "__unload", socket_unload },
        { NULL, NULL },
    };
    luaL_newlib(L, functions);
    set_constants(L);
    lsocket_tcp_open(L);
    lsocket_udp_open(L);
    lsocket_dns_open(L);
    lsocket_select_open(L);
    return 1;
}

/* On first use: fern.socket and what stands below it call them. */
void lsocket_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "open_socket", socket_open }, { "open_unix", lsocket_open_unix },
        { "open_serial", lsocket_open_serial }, { "open_ssl", lsocket_open_ssl }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
}

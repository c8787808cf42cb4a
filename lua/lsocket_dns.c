/* SPDX-License-Identifier: MIT
   lsocket_dns: the table socket.dns. What asks the system's resolver does so on the
   offload pool; who gives up leaves it there. */
#include "lsocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- by the old functions, which tell names and aliases, of IPv4 only ---- */

enum { FIRST_SIZE = 1024, LAST_SIZE = 1024 * 1024 };

struct entry_job {
    struct hostent entry, *found;
    int error;                  /* an errno, negative, or one of h_errno's */
    char *buffer;               /* of the entry */
    char host[];
};

static void free_entry(void *job)
{
    struct entry_job *entry = job;
    free(entry->buffer);
    free(entry);
}

static int ask(struct entry_job *job, size_t size)
{
    struct in_addr number;
    if (inet_aton(job->host, &number))
        return gethostbyaddr_r(&number, sizeof number, AF_INET, &job->entry, job->buffer, size,
                               &job->found, &job->error);
    return gethostbyname_r(job->host, &job->entry, job->buffer, size, &job->found, &job->error);
}

static void run_entry(void *arg)
{
    struct entry_job *job = arg;
    int rc = ERANGE;
    for (size_t size = FIRST_SIZE; rc == ERANGE && size <= LAST_SIZE; size *= 2) {
        free(job->buffer);
        job->buffer = malloc(size);
        rc = job->buffer ? ask(job, size) : ENOMEM;
    }
    if (rc && (rc == ENOMEM || rc == ERANGE || job->error == NETDB_INTERNAL))
        job->error = -rc;
}

/* Parks. The job, which is the caller's then, or raises. */
static struct entry_job *find_entry(lua_State *L)
{
    const char *host = luaL_checkstring(L, 1);
    size_t size = strlen(host) + 1;
    struct entry_job *job = calloc(1, sizeof *job + size);
    if (!job)
        lfern_raise(L, -ENOMEM);
    memcpy(job->host, host, size);
    lfern_enter(L);
    int rc = fern_offload(run_entry, job, free_entry, FERN_NEVER);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        lfern_raise(L, rc);
    return job;
}

static void push_texts(lua_State *L, char **texts)
{
    lua_newtable(L);
    for (int i = 0; texts && texts[i]; i++) {
        lua_pushstring(L, texts[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

static void push_ip(lua_State *L, const void *number)
{
    char text[INET_ADDRSTRLEN];
    lua_pushstring(L, inet_ntop(AF_INET, number, text, sizeof text));
}

static void push_entry(lua_State *L, const struct hostent *entry)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, entry->h_name);
    lua_setfield(L, -2, "name");
    push_texts(L, entry->h_aliases);
    lua_setfield(L, -2, "alias");
    lua_newtable(L);
    for (int i = 0; entry->h_addr_list && entry->h_addr_list[i]; i++) {
        push_ip(L, entry->h_addr_list[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "ip");
}

static const char *entry_message(int error)
{
    if (error < 0)
        return strerror(-error);
    return error == HOST_NOT_FOUND ? "host not found" : hstrerror(error);
}

/* Called by pcall, with the job at 1 and whether the name comes first at 2: what it
   makes may fail for want of memory. */
static int give_entry(lua_State *L)
{
    const struct entry_job *job = lua_touserdata(L, 1);
    if (!job->found) {
        lua_pushnil(L);
        lua_pushstring(L, entry_message(job->error));
        return 2;
    }
    if (lua_toboolean(L, 2))
        lua_pushstring(L, job->found->h_name);
    else
        push_ip(L, job->found->h_addr_list[0]);
    push_entry(L, job->found);
    return 2;
}

static int give(lua_State *L, lua_CFunction fn, void *job, void (*drop)(void *job), bool flag)
{
    int top = lua_gettop(L);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, job);
    lua_pushboolean(L, flag);
    int status = lua_pcall(L, 2, LUA_MULTRET, 0);
    drop(job);
    return status == LUA_OK ? lua_gettop(L) - top : lua_error(L);
}

static int dns_toip(lua_State *L)
{
    return give(L, give_entry, find_entry(L), free_entry, false);
}

static int dns_tohostname(lua_State *L)
{
    return give(L, give_entry, find_entry(L), free_entry, true);
}

/* ---- by the new ones ---- */

static int fail_eai(lua_State *L, int eai)
{
    lua_pushnil(L);
    lua_pushstring(L, lsocket_eai_message(eai));
    return 2;
}

static void free_addresses(void *found)
{
    freeaddrinfo(found);
}

static int give_addresses(lua_State *L)
{
    int count = 0;
    lua_newtable(L);
    for (const struct addrinfo *one = lua_touserdata(L, 1); one; one = one->ai_next) {
        char host[NI_MAXHOST];
        int eai = getnameinfo(one->ai_addr, one->ai_addrlen, host, sizeof host, NULL, 0,
                              NI_NUMERICHOST);
        if (eai)
            return fail_eai(L, eai);
        lua_createtable(L, 0, 2);
        lua_pushstring(L, one->ai_family == AF_INET6 ? "inet6" : one->ai_family == AF_INET
                                                                 ? "inet" : "unknown");
        lua_setfield(L, -2, "family");
        lua_pushstring(L, host);
        lua_setfield(L, -2, "addr");
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static int dns_getaddrinfo(lua_State *L)
{
    struct addrinfo *found;
    const char *host = luaL_checkstring(L, 1);
    lfern_enter(L);
    int failure = lsocket_resolve(host, NULL, AF_UNSPEC, SOCK_STREAM, 0, FERN_NEVER, &found);
    lfern_left(L, lfern_of(L));
    if (failure)
        return lsocket_fail(L, failure);
    return give(L, give_addresses, found, free_addresses, false);
}

struct names_job {
    char *host, *service;       /* or NULL */
    int eai;
    size_t count;
    char (*hosts)[NI_MAXHOST];
    char found[NI_MAXSERV];
    char text[];
};

static void free_names(void *job)
{
    struct names_job *names = job;
    free(names->hosts);
    free(names);
}

static int find_names(struct names_job *job, const struct addrinfo *found)
{
    size_t count = 0;
    for (const struct addrinfo *one = found; one; one = one->ai_next)
        count++;
    job->hosts = calloc(count, sizeof *job->hosts);
    if (!job->hosts)
        return EAI_MEMORY;
    for (const struct addrinfo *one = found; one; one = one->ai_next)
        (void)getnameinfo(one->ai_addr, one->ai_addrlen, job->hosts[job->count++], NI_MAXHOST,
                          job->found, sizeof job->found, 0);
    return 0;
}

static void run_names(void *arg)
{
    struct names_job *job = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    job->eai = getaddrinfo(job->host, job->service, &hints, &found);
    if (job->eai)
        return;
    job->eai = find_names(job, found);
    freeaddrinfo(found);
}

static int give_names(lua_State *L)
{
    const struct names_job *job = lua_touserdata(L, 1);
    if (job->eai)
        return fail_eai(L, job->eai);
    lua_newtable(L);
    for (size_t i = 0; job->host && i < job->count; i++) {
        lua_pushstring(L, job->hosts[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    if (!job->service)
        return 1;
    lua_pushstring(L, job->found);
    return 2;
}

static struct names_job *new_names(lua_State *L, const char *host, const char *service)
{
    size_t host_size = host ? strlen(host) + 1 : 0, service_size = service ? strlen(service) + 1 : 0;
    struct names_job *job = calloc(1, sizeof *job + host_size + service_size);
    if (!job)
        lfern_raise(L, -ENOMEM);
    if (host)
        job->host = memcpy(job->text, host, host_size);
    if (service)
        job->service = memcpy(job->text + host_size, service, service_size);
    return job;
}

static int dns_getnameinfo(lua_State *L)
{
    const char *host = luaL_optstring(L, 1, NULL), *service = luaL_optstring(L, 2, NULL);
    if (!host && !service)
        luaL_error(L, "host and serv cannot be both nil");
    struct names_job *job = new_names(L, host, service);
    lfern_enter(L);
    int rc = fern_offload(run_names, job, free_names, FERN_NEVER);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        lfern_raise(L, rc);
    return give(L, give_names, job, free_names, false);
}

static int dns_gethostname(lua_State *L)
{
    char name[257] = "";
    if (gethostname(name, sizeof name - 1) < 0)
        return lsocket_fail(L, errno);
    lua_pushstring(L, name);
    return 1;
}

void lsocket_dns_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "toip", dns_toip }, { "tohostname", dns_tohostname },
        { "getaddrinfo", dns_getaddrinfo }, { "getnameinfo", dns_getnameinfo },
        { "gethostname", dns_gethostname }, { NULL, NULL },
    };
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "dns");
}

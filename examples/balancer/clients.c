/* SPDX-License-Identifier: MIT
   clients: how many connections each address has. A table with chains, in which only
   those are that have any. Who comes by a Unix socket has no address, and no limit. */
#include "balancer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096 };

struct entry {
    struct entry *next;
    unsigned char key[16];
    size_t count;
};

static struct entry *buckets[BUCKETS];

/* IPv4 within IPv6 is the same client. False: it has no address. */
static bool key_of(const fern_address *address, unsigned char key[16])
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    if (address->storage.ss_family == AF_INET6) {
        memcpy(key, &((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_addr, 16);
        return true;
    }
    if (address->storage.ss_family != AF_INET)
        return false;
    memcpy(key, mapped, sizeof mapped);
    memcpy(key + 12, &((const struct sockaddr_in *)(const void *)&address->storage)->sin_addr, 4);
    return true;
}

/* Where the entry of this key hangs, or would. */
static struct entry **find(const unsigned char key[16])
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ key[i]) * 16777619u;
    struct entry **at = &buckets[(hash ^ hash >> 16) % BUCKETS];
    while (*at && memcmp((*at)->key, key, 16) != 0)
        at = &(*at)->next;
    return at;
}

int client_enter(const fern_address *address, size_t most)
{
    unsigned char key[16];
    if (!key_of(address, key))
        return 0;
    struct entry **at = find(key), *entry = *at;
    if (entry && entry->count >= most)
        return -EACCES;
    if (!entry) {
        entry = calloc(1, sizeof *entry);
        if (!entry)
            return -ENOMEM;
        memcpy(entry->key, key, sizeof entry->key);
        *at = entry;
    }
    entry->count++;
    return 0;
}

void client_leave(const fern_address *address)
{
    unsigned char key[16];
    if (!key_of(address, key))
        return;
    struct entry **at = find(key), *entry = *at;
    if (--entry->count > 0)
        return;
    *at = entry->next;
    free(entry);
}

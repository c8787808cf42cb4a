/* SPDX-License-Identifier: MIT
   lookup: a getaddrinfo for specs, preloaded into a script. Of names that end
   in .test it knows the address (ours), those in .missing do not exist, those
   in .again are to be asked for again, and those in .slow are never answered.
   Each look-up of such a name adds a line to the file FERN_TEST_LOOKUPS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note(const char *host)
{
    const char *path = getenv("FERN_TEST_LOOKUPS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    fprintf(file, "%s\n", host);
    fclose(file);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    const char *ending = host ? strrchr(host, '.') : NULL;
    if (!ending || (hints && (hints->ai_flags & AI_NUMERICHOST)))
        return real(host, service, hints, out);
    if (strcmp(ending, ".test") == 0) {
        note(host);
        return real("127.0.0.1", service, hints, out);
    }
    if (strcmp(ending, ".missing") == 0)
        return EAI_NONAME;
    if (strcmp(ending, ".again") == 0)
        return EAI_AGAIN;
    if (strcmp(ending, ".slow") == 0) {
        note(host);
        for (;;)
            pause();
    }
    return real(host, service, hints, out);
}

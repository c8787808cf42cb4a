/* SPDX-License-Identifier: MIT
   inherited: sockets from whoever started the process, by the protocol of systemd:
   the first is number 3, and LISTEN_PID says whether they are meant for us or were
   for a parent that forgot to take the variables away. */
#include "fern_net.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 3 };

/* The number in the variable: -ENOENT if there is none, -EINVAL if it is no number. */
static long number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    if (!text || !*text)
        return -ENOENT;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno || *end || number < 0 || number > INT_MAX ? -EINVAL : number;
}

/* How many there are for this process, or an error. */
static int count_ours(void)
{
    long pid = number_of("LISTEN_PID"), count = number_of("LISTEN_FDS");
    if (pid == -ENOENT || count == -ENOENT)
        return 0;
    if (pid < 0 || count < 0 || count > INT_MAX - FIRST)
        return -EINVAL;
    return pid == getpid() ? (int)count : 0;
}

/* None of the numbers is closed, or somebody has made them up. */
static int keep_to_ourselves(int count)
{
    for (int fd = FIRST; fd < FIRST + count; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0)
            return -EINVAL;
        if (fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
            return -errno;
    }
    return 0;
}

/* The names stand behind the array, one after the other. */
static fern_inherited *make_array(int count)
{
    const char *names = getenv("LISTEN_FDNAMES");
    size_t size = names ? strlen(names) + 1 : 1;
    fern_inherited *array = malloc((size_t)count * sizeof *array + size);
    if (!array)
        return NULL;
    char *name = memcpy(array + count, names ? names : "", size);
    for (int i = 0; i < count; i++) {
        char *colon = strchr(name, ':');
        array[i] = (fern_inherited){ .fd = FIRST + i, .name = name };
        if (colon)
            *colon = '\0';
        name = colon ? colon + 1 : name + strlen(name);
    }
    return array;
}

int fern_inherited_take(fern_inherited **out)
{
    int count = count_ours();
    if (count > 0) {
        int rc = keep_to_ourselves(count);
        fern_inherited *array = rc == 0 ? make_array(count) : NULL;
        if (!array)
            return rc < 0 ? rc : -ENOMEM;
        *out = array;
    }
    if (count >= 0) {
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
    }
    return count;
}

/* SPDX-License-Identifier: MIT
   signal_names: from numbers to names and back. */
#include "fern_signal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(name) { name, #name }

static const struct { int number; const char *name; } names[] = {
    S(SIGHUP), S(SIGINT), S(SIGQUIT), S(SIGILL), S(SIGTRAP), S(SIGABRT), S(SIGBUS), S(SIGFPE),
    S(SIGKILL), S(SIGUSR1), S(SIGSEGV), S(SIGUSR2), S(SIGPIPE), S(SIGALRM), S(SIGTERM),
    S(SIGCHLD), S(SIGCONT), S(SIGSTOP), S(SIGTSTP), S(SIGTTIN), S(SIGTTOU), S(SIGURG),
    S(SIGXCPU), S(SIGXFSZ), S(SIGVTALRM), S(SIGPROF), S(SIGWINCH), S(SIGSYS),
#ifdef SIGIO
    S(SIGIO),
#endif
#ifdef SIGPWR
    S(SIGPWR),
#endif
#ifdef SIGSTKFLT
    S(SIGSTKFLT),
#endif
};

enum { COUNT = sizeof names / sizeof *names };

const char *fern_signal_name(int number)
{
    static __thread char realtime[32];
    for (int i = 0; i < COUNT; i++)
        if (names[i].number == number)
            return names[i].name;
    if (number < SIGRTMIN || number > SIGRTMAX)
        return NULL;
    snprintf(realtime, sizeof realtime, "SIGRTMIN+%d", number - SIGRTMIN);
    return realtime;
}

/* "RTMIN" or "RTMIN+3". */
static int realtime_number(const char *name)
{
    char *end = NULL;
    if (strcmp(name, "RTMIN") == 0)
        return SIGRTMIN;
    if (strncmp(name, "RTMIN+", 6) != 0)
        return 0;
    long more = strtol(name + 6, &end, 10);
    return end > name + 6 && !*end && more >= 0 && more <= SIGRTMAX - SIGRTMIN ?
        SIGRTMIN + (int)more : 0;
}

int fern_signal_number(const char *name)
{
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (int i = 0; i < COUNT; i++)
        if (strcmp(names[i].name + 3, name) == 0)
            return names[i].number;
    return realtime_number(name);
}

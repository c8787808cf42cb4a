/* SPDX-License-Identifier: MIT
   watchdog: see the header. What a hub has counted when a thread got it tells
   one hold from the next. The first signal asks the thread's host to be called
   back where it can be looked at, a moment later if the thread runs its own
   language. If nothing comes, a native function holds it, and the next
   signal's handler may look itself, for nothing moves there. The signal is one
   that is ignored by default, and restarts system calls where that can be. */
#include "watchdog.h"
#include "debug.h"
#include "fork.h"
#include "hub.h"
#include "offload.h"
#include "report.h"
#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOOKS = 4, PLACES = 256 };
static const double MOMENT = 0.01;      /* between two signals, seconds */
static const int ALARM = SIGURG;

/* Two are equal only if the same thread has run in between. */
struct stamp {
    const fern_thread *thread;
    uint64_t polls, switches;
    int budget;
};

typedef struct fern_watchdog {
    fern_hub *hub;
    double seconds;
    pthread_t id, hubs;         /* our OS thread; the hub's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    atomic_bool sent;           /* the next signal is ours */
    atomic_flag taken;          /* the hold is somebody's: taken, or left for later */
    struct hold {
        struct stamp stamp;
        double since;
        int looks, asked;       /* how often we looked, and sent a signal */
        bool told;
    } hold;
    uint64_t places[PLACES];    /* told of, hashed; the oldest is forgotten */
    unsigned count;             /* this and the rest is the hub's OS thread's */
    char trace[4096], text[5120];
} watchdog;

/* ---- looking ---- */

/* On our OS thread it may see a switch half done, which is a switch. */
__attribute__((no_sanitize("thread")))
static struct stamp look(const fern_hub *hub)
{
    const volatile fern_hub *now = hub;
    return (struct stamp){ now->current, now->polls, now->switches, now->budget };
}

static bool same(const struct stamp *a, const struct stamp *b)
{
    return a->thread == b->thread && a->polls == b->polls &&
           a->switches == b->switches && a->budget == b->budget;
}

/* By the clock, and by looks: a process that was stopped is not at fault.
   Returns when to look again. */
static double inspect(watchdog *self)
{
    double now = fern_now(), pause = self->seconds / LOOKS;
    struct stamp stamp = look(self->hub);
    struct hold *hold = &self->hold;
    if (atomic_flag_test_and_set(&self->taken))
        return now + MOMENT;
    if (!stamp.thread || !same(&stamp, &hold->stamp))
        *hold = (struct hold){ .stamp = stamp, .since = now };
    bool ask = ++hold->looks > LOOKS && now - hold->since >= self->seconds && !hold->told;
    hold->asked += ask;
    atomic_flag_clear(&self->taken);
    if (ask) {
        atomic_store(&self->sent, true);
        pthread_kill(self->hubs, ALARM);
    }
    return now + (ask ? MOMENT : pause);
}

static void *watch(void *arg)
{
    watchdog *self = arg;
    double at = fern_now() + self->seconds / LOOKS;
    pthread_mutex_lock(&self->lock);
    while (!self->stop) {
        struct timespec until = { .tv_sec = (time_t)at };
        until.tv_nsec = (long)((at - (double)until.tv_sec) * 1e9);
        pthread_cond_timedwait(&self->changed, &self->lock, &until);
        if (!self->stop && fern_now() >= at)
            at = inspect(self);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* ---- telling, on the hub's OS thread, perhaps in a signal handler ---- */

/* The place is told by the first line that is no native function's. */
static uint64_t hash_place(const char *trace)
{
    uint64_t hash = 0xcbf29ce484222325u;        /* FNV-1a */
    const char *end = strchr(trace, '\n');
    while (end && strncmp(trace, "    [C]", 7) == 0) {
        trace = end + 1;
        end = strchr(trace, '\n');
    }
    while (*trace && *trace != '\n')
        hash = (hash ^ (unsigned char)*trace++) * 0x100000001b3u;
    return hash;
}

static bool is_known(watchdog *self, uint64_t place)
{
    unsigned count = self->count < PLACES ? self->count : PLACES;
    for (unsigned i = 0; i < count; i++)
        if (self->places[i] == place)
            return true;
    self->places[self->count++ % PLACES] = place;
    return false;
}

static uint64_t spawned_at(const fern_thread *thread)
{
    return (uint64_t)(uintptr_t)thread->file * 31 + (unsigned)thread->line;
}

static void write_all(const char *text, size_t length)
{
    int error = errno;
    ssize_t written = write(STDERR_FILENO, text, length);
    (void)written;
    errno = error;
}

/* The hold is ours meanwhile. */
static void tell(watchdog *self, fern_thread *thread, bool native)
{
    char name[128], place[256] = "";
    double held = fern_now() - self->hold.since;
    self->trace[0] = 0;
    if (thread->host && thread->host->traceback)
        thread->host->traceback(thread, self->trace, sizeof self->trace);
    if (!is_known(self, self->trace[0] ? hash_place(self->trace) : spawned_at(thread))) {
        fern_report_name(thread, name, sizeof name);
        if (thread->file)
            snprintf(place, sizeof place, ", spawned at %s:%d,", thread->file, thread->line);
        int length = snprintf(self->text, sizeof self->text,
            "fern: green thread %s%s has held the hub for %.*f s%s%s\n%s%s",
            name, place, held < 0.1 ? 3 : 1, held,
            native && thread->host ? ", in a native function" : "", self->trace[0] ? ":" : "",
            self->trace, self->trace[0] ? "\n" : "");
        write_all(self->text, (size_t)length < sizeof self->text ? (size_t)length :
                                                                   sizeof self->text - 1);
    }
    self->hold.told = true;
}

/* Is the thread that we were asked about still at it? The hold is ours. */
static bool still_held(watchdog *self)
{
    struct stamp now = look(self->hub);
    return self->hold.asked && !self->hold.told && same(&now, &self->hold.stamp);
}

void fern_watchdog_poked(fern_hub *hub)
{
    watchdog *self = hub->watchdog;
    if (!self || atomic_flag_test_and_set(&self->taken))
        return;
    if (still_held(self))
        tell(self, hub->current, false);
    atomic_flag_clear(&self->taken);
}

/* ---- the signal ---- */

static pthread_mutex_t signal_lock = PTHREAD_MUTEX_INITIALIZER;
static int signal_users;
static struct sigaction before;

static void pass_on(int number, siginfo_t *info, void *context)
{
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
}

static void ask(watchdog *self, fern_thread *thread)
{
    const fern_host *host = thread->host;
    if (!host || !host->traceback || !host->poke || !host->poke(thread, self->hold.asked > 1))
        tell(self, thread, true);
}

static void on_alarm(int number, siginfo_t *info, void *context)
{
    fern_hub *hub = fern_hub_here;
    watchdog *self = hub ? hub->watchdog : NULL;
    if (!self || !atomic_exchange(&self->sent, false)) {
        pass_on(number, info, context);
        return;
    }
    if (atomic_flag_test_and_set(&self->taken))
        return;                 /* then it is being looked at */
    if (still_held(self))
        ask(self, hub->current);
    atomic_flag_clear(&self->taken);
}

static void take_signal(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_alarm;
    action.sa_flags = SA_RESTART | SA_ONSTACK | SA_SIGINFO;
    pthread_mutex_lock(&signal_lock);
    if (signal_users++ == 0)
        sigaction(ALARM, &action, &before);
    pthread_mutex_unlock(&signal_lock);
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, ALARM);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
}

static void leave_signal(void)
{
    pthread_mutex_lock(&signal_lock);
    if (--signal_users == 0)
        sigaction(ALARM, &before, NULL);
    pthread_mutex_unlock(&signal_lock);
}

/* ---- on and off ---- */

static void free_watchdog(watchdog *self)
{
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static void stop(fern_hub *hub)
{
    watchdog *self = hub->watchdog;
    hub->watchdog = NULL;
    pthread_mutex_lock(&self->lock);
    self->stop = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->id, NULL);
    leave_signal();
    free_watchdog(self);
}

static int launch(watchdog *self)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    self->hubs = pthread_self();
    return fern_offload_thread(&self->id, watch, self);
}

static int start(fern_hub *hub, double seconds)
{
    watchdog *self = calloc(1, sizeof *self);
    if (!self)
        return -ENOMEM;
    self->hub = hub;
    self->seconds = seconds;
    int rc = launch(self);
    if (rc < 0) {
        free_watchdog(self);
        return rc;
    }
    take_signal();
    hub->watchdog = self;
    return 0;
}

/* The lock may have been anybody's: it is made anew where it was. */
void fern_watchdog_forked(fern_hub *hub)
{
    watchdog *self = hub->watchdog;
    if (!self)
        return;
    self->hold = (struct hold){ 0 };
    atomic_flag_clear(&self->taken);
    atomic_store(&self->sent, false);
    if (launch(self) == 0)
        return;
    hub->watchdog = NULL;       /* no OS thread to be had */
    leave_signal();
    free_watchdog(self);
}

int fern_debug_blocking(fern_hub *hub, double seconds)
{
    int rc = fern_fork_check(hub);
    if (rc < 0)
        return rc;
    if (hub->watchdog)
        stop(hub);
    return seconds > 0 ? start(hub, seconds) : 0;
}

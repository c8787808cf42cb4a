/* SPDX-License-Identifier: MIT
   signal: see the header. A handler may run on any OS thread, and at any moment:
   also while a hub closes. So what it touches, a seat for each hub that listens, is
   never freed, but used again. There it counts, and writes a byte for the hub. */
#define _GNU_SOURCE             /* pipe2 */
#include "fern_signal.h"
#include "hub.h"
#include "source.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAST = 64 };

struct seat {
    struct seat *next;          /* set once */
    atomic_bool taken;
    atomic_int bell;            /* where a byte wakes the hub; -1 */
    int ear;                    /* the hub's end */
    atomic_uint counts[LAST + 1];
    atomic_bool wanted[LAST + 1];
};

static _Atomic(struct seat *) seats;

/* What the process did before. */
static struct {
    struct sigaction before;
    bool known;
    unsigned users;             /* subscriptions */
} kinds[LAST + 1];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;        /* of kinds */

/* Of one hub. */
struct signals {
    fern_hub *hub;
    struct seat *seat;
    fern_watch *watch;
    fern_list subscriptions;
};

struct fern_signal {
    fern_list node;
    fern_list waiters;
    struct signals *all;        /* NULL once it is closed */
    void (*fn)(void *arg);
    void *arg;
    int number;
    size_t count;
    uint32_t refs;              /* the owner, threads that wait */
    bool watched;
};

static const char key;

static void describe(const void *object, char *buffer, size_t size)
{
    snprintf(buffer, size, "signal %s", fern_signal_name(((const fern_signal *)object)->number));
}

static const fern_wait_kind coming = {
    .name = "a signal", .hands_over = true, .describe = describe,
};

/* ---- in the handler ---- */

static bool is_shared(int number)
{
    return number == SIGCHLD || number == SIGURG || number == SIGWINCH;
}

static void pass_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *before = &kinds[number].before;
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(number, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(number);
}

static void handle(int number, siginfo_t *info, void *context)
{
    int error = errno;
    for (struct seat *seat = atomic_load(&seats); seat; seat = seat->next) {
        if (!atomic_load(&seat->wanted[number]))
            continue;
        int bell = atomic_load(&seat->bell);
        if (atomic_fetch_add(&seat->counts[number], 1) == 0 && bell >= 0)
            (void)!write(bell, "", 1);
    }
    if (is_shared(number))
        pass_on(number, info, context);
    errno = error;
}

/* ---- the process ---- */

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handle;
}

/* With the lock. */
static int note(int number)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) < 0)
        return -EINVAL;
    if (kinds[number].known || is_ours(&now))
        return 0;
    kinds[number].before = now;
    kinds[number].known = true;
    return 0;
}

static int install(int number)
{
    struct sigaction action;
    sigset_t one;
    int rc = note(number);
    if (rc < 0)
        return rc;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    if (sigaction(number, &action, NULL) < 0)
        return -EINVAL;
    sigemptyset(&one);
    sigaddset(&one, number);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    return 0;
}

/* Unless somebody has put another handler in the place of ours. */
static void restore(int number)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) == 0 && is_ours(&now))
        sigaction(number, &kinds[number].before, NULL);
    kinds[number].known = false;
}

static bool is_fault(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

static int use(int number)
{
    if (number < 1 || number > LAST || is_fault(number))
        return -EINVAL;
    pthread_mutex_lock(&lock);
    int rc = kinds[number].users ? 0 : install(number);
    kinds[number].users += rc == 0;
    pthread_mutex_unlock(&lock);
    return rc;
}

static void leave(int number)
{
    pthread_mutex_lock(&lock);
    if (--kinds[number].users == 0)
        restore(number);
    pthread_mutex_unlock(&lock);
}

int fern_signal_ignore(int number)
{
    struct sigaction action;
    if (number < 1 || number > LAST || is_fault(number))
        return -EINVAL;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_IGN;
    pthread_mutex_lock(&lock);
    int rc = kinds[number].users ? -EBUSY : note(number);
    if (rc == 0 && sigaction(number, &action, NULL) < 0)
        rc = -EINVAL;
    pthread_mutex_unlock(&lock);
    return rc;
}

int fern_signal_restore(int number)
{
    if (number < 1 || number > LAST)
        return -EINVAL;
    pthread_mutex_lock(&lock);
    int rc = kinds[number].users ? -EBUSY : 0;
    if (rc == 0 && kinds[number].known && sigaction(number, &kinds[number].before, NULL) < 0)
        rc = -EINVAL;
    if (rc == 0)
        kinds[number].known = false;
    pthread_mutex_unlock(&lock);
    return rc;
}

/* ---- seats ---- */

static struct seat *take_seat(void)
{
    struct seat *seat = atomic_load(&seats);
    for (; seat; seat = seat->next)
        if (!atomic_exchange(&seat->taken, true))
            return seat;
    seat = calloc(1, sizeof *seat);
    if (!seat)
        return NULL;
    atomic_store(&seat->taken, true);
    atomic_store(&seat->bell, -1);
    seat->ear = -1;
    seat->next = atomic_load(&seats);
    while (!atomic_compare_exchange_weak(&seats, &seat->next, seat))
        ;
    return seat;
}

/* Its pipe stays: a handler may be about to write. */
static void leave_seat(struct seat *seat)
{
    for (int number = 1; number <= LAST; number++) {
        atomic_store(&seat->wanted[number], false);
        atomic_store(&seat->counts[number], 0);
    }
    atomic_store(&seat->taken, false);
}

static int open_pipe(struct seat *seat)
{
    int ends[2];
    if (seat->ear >= 0)
        return 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    seat->ear = ends[0];
    atomic_store(&seat->bell, ends[1]);
    return 0;
}

/* ---- of a hub ---- */

static void tell(fern_signal *signal, unsigned count)
{
    if (signal->fn) {
        signal->fn(signal->arg);
        return;
    }
    while (count && fern_wake_first(&signal->waiters, 0))
        count--;
    signal->count += count;
    if (signal->count)
        fern_source_tell(signal, signal->watched);
}

static void tell_all(struct signals *all, int number, unsigned count)
{
    fern_list *node = all->subscriptions.next, *next;
    for (; node != &all->subscriptions; node = next) {
        fern_signal *signal = fern_list_entry(node, fern_signal, node);
        next = node->next;
        if (signal->number == number)
            tell(signal, count);
    }
}

static void on_bell(int fd, int events, void *arg)
{
    struct signals *all = arg;
    char bytes[64];
    (void)events;
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
    for (int number = 1; number <= LAST; number++) {
        unsigned count = atomic_exchange(&all->seat->counts[number], 0);
        if (count)
            tell_all(all, number, count);
    }
}

/* Closed for whoever still has it. */
static void detach(fern_signal *signal)
{
    struct signals *all = signal->all;
    signal->all = NULL;
    fern_list_remove(&signal->node);
    fern_wake_all(&signal->waiters, -EBADF);
    bool wanted = false;
    for (fern_list *node = all->subscriptions.next; node != &all->subscriptions; node = node->next)
        wanted |= fern_list_entry(node, fern_signal, node)->number == signal->number;
    if (!wanted)
        atomic_store(&all->seat->wanted[signal->number], false);
    leave(signal->number);
}

static void close_all(void *arg)
{
    struct signals *all = arg;
    while (!fern_list_empty(&all->subscriptions))
        detach(fern_list_entry(all->subscriptions.next, fern_signal, node));
    fern_watch_close(all->watch);
    leave_seat(all->seat);
    free(all);
}

/* In a forked child: nobody is left who waits, the other hubs are gone, and the pipe
   is the parent's. */
static void forget_all(void *arg)
{
    struct signals *all = arg;
    fern_hub *hub = all->hub;
    struct seat *own = all->seat;
    pthread_mutex_init(&lock, NULL);
    for (struct seat *seat = atomic_load(&seats); seat; seat = seat->next)
        if (seat != own)
            leave_seat(seat);
    for (int number = 1; number <= LAST; number++)
        if (kinds[number].users && !atomic_load(&own->wanted[number])) {
            kinds[number].users = 0;
            restore(number);
        }
    close_all(all);
    close(atomic_exchange(&own->bell, -1));
    close(own->ear);
    own->ear = -1;
    (void)fern_hub_keep(hub, &key, NULL, NULL);
}

static int open_signals(fern_hub *hub, struct signals **out)
{
    struct signals *all = calloc(1, sizeof *all);
    if (!all)
        return -ENOMEM;
    fern_list_init(&all->subscriptions);
    all->hub = hub;
    all->seat = take_seat();
    int rc = all->seat ? open_pipe(all->seat) : -ENOMEM;
    if (rc == 0)
        rc = fern_watch_open(all->seat->ear, FERN_READ, on_bell, all, &all->watch);
    if (rc < 0)
        goto free_signals;
    rc = fern_hub_keep(hub, &key, all, close_all);
    if (rc < 0)
        goto close_watch;
    (void)fern_hub_on_fork(hub, &key, forget_all);
    fern_watch_about(all->watch, "signals", NULL);
    *out = all;
    return 0;

close_watch:
    fern_watch_close(all->watch);
free_signals:
    if (all->seat)
        leave_seat(all->seat);
    free(all);
    return rc;
}

static int get_signals(struct signals **out)
{
    fern_hub *hub = fern_hub_here;
    int rc = hub ? fern_hub_renew(hub) : -EDEADLK;
    if (rc < 0)
        return rc;
    *out = fern_hub_kept(hub, &key);
    return *out ? 0 : open_signals(hub, out);
}

/* ---- subscriptions ---- */

int fern_signal_call(int number, void (*fn)(void *arg), void *arg, fern_signal **out)
{
    struct signals *all;
    int rc = get_signals(&all);
    if (rc < 0)
        return rc;
    fern_signal *signal = calloc(1, sizeof *signal);
    if (!signal)
        return -ENOMEM;
    rc = use(number);
    if (rc < 0) {
        free(signal);
        return rc;
    }
    *signal = (fern_signal){ .all = all, .fn = fn, .arg = arg, .number = number, .refs = 1 };
    fern_list_init(&signal->waiters);
    fern_list_init(&signal->node);
    fern_list_append(&all->subscriptions, &signal->node);
    atomic_store(&all->seat->wanted[number], true);
    *out = signal;
    return 0;
}

int fern_signal_open(int number, fern_signal **out)
{
    return fern_signal_call(number, NULL, NULL, out);
}

static void unref(fern_signal *signal)
{
    if (--signal->refs == 0)
        free(signal);
}

void fern_signal_close(fern_signal *signal)
{
    if (signal->all)
        detach(signal);
    unref(signal);
}

static int wait_held(fern_signal *signal, double deadline)
{
    fern_hub_hold(signal->all->hub);
    signal->refs++;
    int rc = fern_wait(&signal->waiters, &coming, signal, deadline);
    unref(signal);
    fern_hub_unhold(fern_hub_here);
    return rc;
}

int fern_signal_wait(fern_signal *signal, double deadline)
{
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    if (!signal->all)
        return -EBADF;
    if (!signal->count)
        return wait_held(signal, deadline);
    signal->count--;
    return 0;
}

int fern_signal_rest(fern_signal *signal)
{
    fern_thread *self = fern_current();
    bool idle = self && self != fern_hub_here->main && !signal->count;
    if (idle)
        fern_thread_set_idle(self, true);
    int rc = fern_signal_wait(signal, FERN_NEVER);
    if (idle)
        fern_thread_set_idle(self, false);
    return rc;
}

bool fern_signal_opened(const fern_signal *signal)
{
    return signal->all;
}

size_t fern_signal_count(const fern_signal *signal)
{
    return signal->count;
}

static bool has_come(const void *object)
{
    const fern_signal *signal = object;
    return signal->count > 0 || !signal->all;
}

fern_source fern_signal_source(fern_signal *signal)
{
    static const struct fern_source_kind kind = {
        .ready = has_come, .watched = offsetof(fern_signal, watched),
    };
    return (fern_source){ &kind, signal };
}

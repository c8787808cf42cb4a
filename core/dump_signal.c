/* SPDX-License-Identifier: MIT
   dump_signal: the signal that has everything told. The hub does it when next it
   runs; or the thread that runs and may hold it, if its host can have that look
   up: whichever comes first. */
#include "debug.h"
#include "hub.h"
#include "thread.h"
#include "watchdog.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* One hub of the process. */
static struct {
    fern_hub *_Atomic hub;
    int number;
    struct sigaction before;
    fern_post post;
    atomic_bool posted;         /* the hub will call us */
    atomic_bool wanted;         /* nobody has dumped yet */
} on_signal;

static void dump_wanted(fern_hub *hub)
{
    if (atomic_exchange(&on_signal.wanted, false))
        fern_debug_dump(hub, STDERR_FILENO);
}

static void run_post(void *hub)
{
    atomic_store(&on_signal.posted, false);
    if (atomic_load(&on_signal.hub) == hub)
        dump_wanted(hub);
}

static void handle(int number)
{
    fern_hub *hub = atomic_load(&on_signal.hub);
    int error = errno;
    (void)number;
    if (!hub || hub->forked)
        return;
    atomic_store(&on_signal.wanted, true);
    if (!atomic_exchange(&on_signal.posted, true))
        fern_hub_post(hub, &on_signal.post);
    fern_thread *thread = hub == fern_hub_here ? hub->current : NULL;
    if (thread && thread->host && thread->host->poke)
        thread->host->poke(thread, false);
    errno = error;
}

void fern_debug_poked(void)
{
    fern_hub *hub = fern_hub_here;
    if (!hub || !hub->current)
        return;
    fern_watchdog_poked(hub);
    if (atomic_load(&on_signal.hub) == hub)
        dump_wanted(hub);
}

/* Nobody will call what was posted. */
void fern_dump_forked(void)
{
    atomic_store(&on_signal.posted, false);
    atomic_store(&on_signal.wanted, false);
}

static void leave(void)
{
    struct sigaction now;
    if (sigaction(on_signal.number, NULL, &now) == 0 && now.sa_handler == handle)
        sigaction(on_signal.number, &on_signal.before, NULL);
    atomic_store(&on_signal.hub, NULL);
    atomic_store(&on_signal.wanted, false);
}

static int take(fern_hub *hub, int number)
{
    struct sigaction action;
    if (atomic_load(&on_signal.hub))
        return -EBUSY;
    if (sigaction(number, NULL, &on_signal.before) < 0)
        return -EINVAL;
    if ((on_signal.before.sa_flags & SA_SIGINFO) || on_signal.before.sa_handler != SIG_DFL)
        return -EBUSY;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    on_signal.number = number;
    on_signal.post = (fern_post){ .fn = run_post, .arg = hub };
    atomic_store(&on_signal.posted, false);
    atomic_store(&on_signal.hub, hub);
    if (sigaction(number, &action, NULL) == 0)
        return 0;
    atomic_store(&on_signal.hub, NULL);
    return -EINVAL;
}

int fern_debug_signal(fern_hub *hub, int number)
{
    if (atomic_load(&on_signal.hub) == hub)
        leave();
    return number ? take(hub, number) : 0;
}

/* SPDX-License-Identifier: MIT
   step: a hub that a foreign loop steps. It never waits; what it would wait for is
   told by a descriptor and a time, and nothing may fall between the two. What
   comes from outside (descriptors, other OS threads, calls between two steps) shows
   on the descriptor; what is left from inside when a step returns (threads that
   are ready, timers) is in the time, which is asked for after each step. */
#include "step.h"
#include "fork.h"
#include "hub.h"
#include "list.h"
#include "loop.h"
#include "timer.h"

#include <errno.h>
#include <math.h>
#include <poll.h>

static const double DAY = 86400;

/* By its address alone: the hub may be closed. */
static int check(fern_hub *hub)
{
    if (!hub || hub != fern_hub_here || !hub->stepped)
        return -EINVAL;
    if (hub->current || hub->turning)
        return -EDEADLK;
    return fern_fork_check(hub);
}

/* Is there something to do that the descriptor need not tell? */
static bool is_due(const fern_hub *hub)
{
    return !fern_list_empty(&hub->ready) || atomic_load(&hub->posts) || fern_loop_pending(hub->loop);
}

/* The last look is for libev, which tells the system only then what the threads have
   begun to wait for. If others are ready, there will be another step at once. */
int fern_hub_step(fern_hub *hub)
{
    int rc = check(hub);
    if (rc < 0)
        return rc;
    hub->turning = true;
    if (!fern_hub_may_skip_poll(hub))
        fern_hub_look(hub);
    fern_hub_run_turn(hub);
    if (fern_list_empty(&hub->ready) && fern_loop_pending(hub->loop))
        fern_hub_look(hub);
    hub->turning = false;
    return is_due(hub) || fern_hub_waits(hub);
}

int fern_hub_descriptor(fern_hub *hub)
{
    int rc = check(hub);
    return rc < 0 && rc != -EDEADLK ? rc : fern_loop_descriptor(hub->loop);
}

double fern_hub_timeout(fern_hub *hub)
{
    int rc = check(hub);
    if (rc == -EINVAL)
        return FERN_NEVER;
    if (rc < 0 || is_due(hub))
        return 0;
    hub->told = fern_timers_next(&hub->timers);
    if (hub->told == FERN_NEVER)
        return FERN_NEVER;
    double left = hub->told - fern_now();
    return left < 0 ? 0 : left > DAY ? DAY : left;
}

void fern_step_until(fern_hub *hub, double deadline)
{
    struct pollfd one = { .fd = fern_loop_descriptor(hub->loop), .events = POLLIN };
    double timeout = fern_hub_timeout(hub), left = deadline - fern_now();
    if (timeout > left)
        timeout = left > 0 ? left : 0;
    if (timeout > DAY)
        timeout = DAY;
    poll(&one, 1, (int)ceil(timeout * 1000));
    (void)fern_hub_step(hub);
}

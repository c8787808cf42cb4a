/* SPDX-License-Identifier: MIT
   periodic: see the header. The next run is planned from the moment when the
   last one really began or ended, so that one which is late never makes
   others follow in a burst. */
#include "fern.h"
#include "list.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <math.h>

static const double JITTER = 0.05;      /* of the spacing */

static const fern_wait_kind resting = { .name = "the next run of periodic work" };

static fern_list *sleeper(fern_periodic *periodic)
{
    return (fern_list *)&periodic->sleeper;
}

void fern_periodic_init(fern_periodic *periodic, double spacing,
                        int (*run)(void *arg), void *arg)
{
    *periodic = (fern_periodic){
        .spacing = spacing, .run = run, .arg = arg, .slot = -FERN_NEVER,
        .seed = (uint64_t)(fern_now() * 1e9) ^ (uintptr_t)periodic,
    };
    fern_list_init(sleeper(periodic));
}

/* ---- when ---- */

/* Above 0, so that it may be multiplied by any spacing, and at most 1. Steps
   by the golden ratio spread evenly, however few they are. */
static double draw(fern_periodic *periodic)
{
    periodic->seed += 0x9e3779b97f4a7c15u;
    return (double)((periodic->seed >> 11) + 1) * 0x1p-53;
}

/* A timer never fires early; but a multiple is rounded, and the run that it
   was for must not get a second one. */
static double next_multiple(fern_periodic *periodic, double now)
{
    double next = now - fmod(now, periodic->spacing) + periodic->spacing;
    if (next - periodic->slot < periodic->spacing / 2)
        next += periodic->spacing;
    periodic->slot = next;
    return next;
}

static double plan(fern_periodic *periodic, double started, double ended)
{
    double due = ended + periodic->spacing;
    if (periodic->strategy == FERN_LAST_STARTED)
        due = started + periodic->spacing;
    else if (periodic->strategy == FERN_ALIGNED_LAST_FINISHED)
        due = next_multiple(periodic, ended);
    return periodic->jitter ? due + JITTER * periodic->spacing * draw(periodic) : due;
}

static double plan_first(fern_periodic *periodic)
{
    double now = fern_now();
    return periodic->immediately ? now : plan(periodic, now, now);
}

/* ---- the series ---- */

/* Parks. A run that is late lets the others go first. */
static int rest(fern_periodic *periodic, double due)
{
    if (due <= fern_now())
        return fern_yield();
    int rc = fern_wait(sleeper(periodic), &resting, periodic, due);
    return rc == -ETIMEDOUT && !fern_thread_interrupted() ? 0 : rc;
}

/* Parks. Returns what the run returns; and when the next one is due. One that
   its thread's kill has ended is no failure, and counts for nothing. */
static int run_once(fern_periodic *periodic, double *due)
{
    double started = fern_now();
    int rc = periodic->run(periodic->arg);
    double ended = fern_now();
    if (rc < 0 && fern_thread_killed(fern_current()))
        return -ECANCELED;
    periodic->runs++;
    periodic->failures += rc < 0;
    periodic->elapsed += ended - started;
    periodic->elapsed_waiting += started - *due;
    *due = plan(periodic, started, ended);
    return rc;
}

/* A run that swallows the kill of its thread ends the series all the same. */
static int run_series(fern_periodic *periodic)
{
    double due = plan_first(periodic);
    while (!periodic->stopped) {
        int rc = rest(periodic, due);
        if (rc < 0)
            return rc;
        if (periodic->stopped)
            break;
        rc = run_once(periodic, &due);
        if (fern_thread_killed(fern_current()))
            return rc < 0 ? rc : 0;
    }
    return 0;
}

int fern_periodic_run(fern_periodic *periodic)
{
    if (!(periodic->spacing > 0))
        return -EINVAL;
    if (periodic->begun)
        return -EBUSY;
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    periodic->begun = true;
    return run_series(periodic);
}

void fern_periodic_stop(fern_periodic *periodic)
{
    periodic->stopped = true;
    fern_wake_all(sleeper(periodic), 0);
}

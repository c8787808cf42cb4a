/* SPDX-License-Identifier: MIT
   threads: what the tests of the hub and its threads share: a hub, short
   words to spawn and join, and a trace of what happened in which order. */
#ifndef FERN_TEST_THREADS_H
#define FERN_TEST_THREADS_H

#include "fern.h"
#include "test.h"

/* As many threads as the tests make at most; TSan knows 8,000. */
#if defined(__SANITIZE_THREAD__)
enum { MANY = 2000 };
#else
enum { MANY = 10000 };
#endif

static fern_hub *hub;
static char trace[8192];
static size_t traced;

static inline void note(const void *what)
{
    size_t length = strlen(what);
    if (traced + length < sizeof trace) {
        memcpy(trace + traced, what, length + 1);
        traced += length;
    }
}

static inline void forget_trace(void)
{
    traced = 0;
    trace[0] = 0;
}

static inline void open_hub(void)
{
    forget_trace();
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
}

static inline void close_hub(void)
{
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

static inline fern_thread *spawn_with(fern_body *body, const void *arg,
                                      const fern_spawn_options *options)
{
    fern_thread *thread = NULL;
    CHECK_EQUAL(fern_spawn(body, (void *)arg, options, &thread), 0);
    return thread;
}

static inline fern_thread *start(fern_body *body, const void *arg)
{
    return spawn_with(body, arg, NULL);
}

static inline void spawn(fern_body *body, const void *arg)
{
    CHECK_EQUAL(fern_spawn(body, (void *)arg, NULL, NULL), 0);
}

static inline void spawn_named(const char *name, fern_body *body, const void *arg)
{
    fern_spawn_options options = { .name = name };
    CHECK_EQUAL(fern_spawn(body, (void *)arg, &options, NULL), 0);
}

static inline void join(fern_thread *thread)
{
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    fern_thread_unref(thread);
}

/* Join `thread`, which is ours no more, and tell its result. */
static inline int result_of(fern_thread *thread)
{
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    int rc = fern_thread_result(thread);
    fern_thread_unref(thread);
    return rc;
}

static inline void waitall(void)
{
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
}

/* Let everybody who is ready run until it parks. */
static inline void let_run(void)
{
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(fern_yield(), 0);
}

/* Burn time on this stack, so that nobody else runs. */
static inline void spin(double seconds)
{
    for (double end = fern_now() + seconds; fern_now() < end;)
        ;
}

/* Bodies: what they note is their argument. */
static inline int quick(void *arg)
{
    note(arg);
    return 0;
}

static inline int forever(void *arg)
{
    (void)arg;
    return fern_sleep(FERN_NEVER);
}

#endif

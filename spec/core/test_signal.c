/* SPDX-License-Identifier: MIT */
#include "fern_signal.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static fern_hub *hub;

static void open_hub(void)
{
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
}

static void close_hub(void)
{
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 2), 0);
}

static double soon(void)
{
    return fern_now() + 20;
}

/* ---- hubs on OS threads of their own, which come and go meanwhile ---- */

/* First: Valgrind would still use the signal stack that a hub has given back. */

enum { HUBS = 4, ROUNDS = 50 };

static pthread_barrier_t ready;
static atomic_int got;

static void *listen_once(void *arg)
{
    fern_hub *own;
    fern_signal *one;
    (void)arg;
    CHECK_EQUAL(fern_hub_open(NULL, &own), 0);
    CHECK_EQUAL(fern_signal_open(SIGUSR1, &one), 0);
    pthread_barrier_wait(&ready);
    if (fern_signal_wait(one, soon()) == 0)
        atomic_fetch_add(&got, 1);
    fern_signal_close(one);
    CHECK_EQUAL(fern_hub_close(own, soon()), 0);
    return NULL;
}

TEST(every_hub_hears_every_signal)
{
    pthread_t ids[HUBS];
    signal(SIGUSR1, SIG_IGN);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_init(&ready, NULL, HUBS + 1);
        for (int i = 0; i < HUBS; i++)
            CHECK_EQUAL(pthread_create(&ids[i], NULL, listen_once, NULL), 0);
        pthread_barrier_wait(&ready);
        kill(getpid(), SIGUSR1);
        for (int i = 0; i < HUBS; i++)
            pthread_join(ids[i], NULL);
        pthread_barrier_destroy(&ready);
    }
    CHECK_EQUAL(atomic_load(&got), HUBS * ROUNDS);
    signal(SIGUSR1, SIG_DFL);
}

/* ---- one hub ---- */

static volatile sig_atomic_t heard;

static void hear(int number)
{
    (void)number;
    heard = heard + 1;
}

TEST(counts_what_comes_between_two_waits)
{
    fern_signal *one;
    signal(SIGUSR1, hear);
    open_hub();
    CHECK_EQUAL(fern_signal_open(SIGUSR1, &one), 0);
    CHECK_EQUAL(fern_signal_wait(one, 0), -ETIMEDOUT);
    raise(SIGUSR1);
    raise(SIGUSR1);
    CHECK_EQUAL(fern_signal_wait(one, soon()), 0);
    CHECK_EQUAL(fern_signal_wait(one, soon()), 0);
    CHECK_EQUAL(fern_signal_wait(one, fern_now() + 0.001), -ETIMEDOUT);
    CHECK_EQUAL(heard, 0);
    fern_signal_close(one);
    raise(SIGUSR1);
    CHECK_EQUAL(heard, 1);              /* as before */
    close_hub();
}

static int take(void *one)
{
    return fern_signal_wait(one, FERN_NEVER);
}

TEST(closing_wakes_who_waits_and_so_does_the_hubs_end)
{
    fern_signal *one, *left;
    fern_thread *thread;
    open_hub();
    CHECK_EQUAL(fern_signal_open(SIGUSR1, &one), 0);
    CHECK_EQUAL(fern_spawn(take, one, NULL, &thread), 0);
    fern_thread_observe(thread);
    fern_yield();
    fern_signal_close(one);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_result(thread), -EBADF);
    fern_thread_unref(thread);
    CHECK_EQUAL(fern_signal_open(SIGUSR1, &left), 0);
    close_hub();
    CHECK(!fern_signal_opened(left));
    fern_signal_close(left);
}

TEST(what_others_have_put_in_our_place_stays)
{
    fern_signal *one;
    struct sigaction now;
    open_hub();
    CHECK_EQUAL(fern_signal_open(SIGUSR2, &one), 0);
    signal(SIGUSR2, hear);
    fern_signal_close(one);
    CHECK_EQUAL(sigaction(SIGUSR2, NULL, &now), 0);
    CHECK(now.sa_handler == hear);
    signal(SIGUSR2, SIG_DFL);
    close_hub();
}

TEST(a_blocked_signal_is_unblocked)
{
    fern_signal *one;
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    open_hub();
    CHECK_EQUAL(fern_signal_open(SIGUSR1, &one), 0);
    raise(SIGUSR1);
    CHECK_EQUAL(fern_signal_wait(one, soon()), 0);
    fern_signal_close(one);
    close_hub();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

TEST(what_cannot_be_caught_is_refused)
{
    fern_signal *one = NULL;
    open_hub();
    const int numbers[] = { 0, -1, 65, SIGKILL, SIGSTOP, SIGSEGV };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        CHECK_EQUAL(fern_signal_open(numbers[i], &one), -EINVAL);
    CHECK(one == NULL);
    CHECK_EQUAL(fern_signal_number("HUP"), SIGHUP);
    CHECK_STRING(fern_signal_name(SIGHUP), "SIGHUP");
    close_hub();
}

static void ring(void *count)
{
    ++*(int *)count;
}

TEST(a_callback_is_called_on_the_hubs_stack)
{
    fern_signal *one;
    int count = 0;
    open_hub();
    CHECK_EQUAL(fern_signal_call(SIGUSR1, ring, &count, &one), 0);
    raise(SIGUSR1);
    CHECK_EQUAL(count, 0);
    for (double until = soon(); !count && fern_now() < until;)
        fern_sleep(fern_now() + 0.001);
    CHECK_EQUAL(count, 1);
    fern_signal_close(one);
    close_hub();
}

TEST_MAIN

/* SPDX-License-Identifier: MIT
   test_hubs: several OS threads, each with a hub of its own, side by side:
   what one does is none of the others' business, and posts are the only way
   between them. Run it under ThreadSanitizer. */
#include "fern.h"
#include "test.h"

#include <pthread.h>
#include <time.h>

#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif

enum { HUBS = 4, CROWD = 50, ROUNDS = 20, LETTERS = 300 };

/* All that one OS thread has; nothing here is shared. */
struct world {
    int number;
    fern_hub *hub;
    fern_pool *pool;
    int order[CROWD * ROUNDS], count;
    int in_pool, most_in_pool, killed, timed_out, jobs, bytes;
    int ends[2];
    int received[HUBS], letters, disorder;
    pthread_t os_thread;
};

static struct world worlds[HUBS];

static __thread struct world *here;     /* set by each OS thread itself */

static void in_every_world(void *(*run)(void *))
{
    memset(worlds, 0, sizeof worlds);
    for (int i = 0; i < HUBS; i++) {
        worlds[i].number = i;
        CHECK_EQUAL(pthread_create(&worlds[i].os_thread, NULL, run, &worlds[i]), 0);
    }
    for (int i = 0; i < HUBS; i++)
        pthread_join(worlds[i].os_thread, NULL);
}

static void enter(void *world)
{
    here = world;
    CHECK(fern_hub_current() == NULL);
    CHECK_EQUAL(fern_hub_open(NULL, &here->hub), 0);
    CHECK(fern_hub_current() == here->hub);
}

static void leave(void)
{
    CHECK_EQUAL(fern_hub_close(here->hub, fern_now() + 20), 0);
    CHECK(fern_hub_current() == NULL);
}

static void spawn(fern_body *body, intptr_t arg)
{
    CHECK_EQUAL(fern_spawn(body, (void *)arg, NULL, NULL), 0);
}

static void waitall(void)
{
    CHECK_EQUAL(fern_hub_waitall(here->hub, FERN_NEVER), 0);
}

/* ---- switches, sleeps, kills, pools, descriptors, offload ---- */

static int takes_turns(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        here->order[here->count++] = (int)(intptr_t)arg;
        fern_yield();
    }
    return 0;
}

static int in_the_pool(void *arg)
{
    (void)arg;
    if (++here->in_pool > here->most_in_pool)
        here->most_in_pool = here->in_pool;
    fern_sleep(fern_now() + 0.001);
    here->in_pool--;
    return 0;
}

static int is_killed(void *arg)
{
    (void)arg;
    here->killed += fern_sleep(FERN_NEVER) == -ECANCELED;
    return -ECANCELED;
}

static int times_out(void *arg)
{
    fern_deadline deadline;
    (void)arg;
    fern_deadline_open(&deadline, fern_now() + 0.002, NULL);
    here->timed_out += fern_sleep(FERN_NEVER) == -ETIMEDOUT;
    fern_deadline_close(&deadline);
    return 0;
}

static void add_one(void *job)
{
    ++*(int *)job;
}

static void drop_job(void *job)
{
    (void)job;
}

static int offloads(void *arg)
{
    int job = 0;
    (void)arg;
    CHECK_EQUAL(fern_offload(add_one, &job, drop_job, FERN_NEVER), 0);
    here->jobs += job;
    return 0;
}

static int reads(void *arg)
{
    char byte;
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQUAL(fern_fd_wait(here->ends[0], FERN_READ, FERN_NEVER), 0);
        here->bytes += (int)read(here->ends[0], &byte, 1);
    }
    return 0;
}

static int writes(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQUAL(write(here->ends[1], "x", 1), 1);
        fern_sleep(fern_now() + 0.0005);
    }
    return 0;
}

static void take_turns(void)
{
    for (int i = 0; i < CROWD; i++)
        spawn(takes_turns, i);
    waitall();
    CHECK_EQUAL(here->count, CROWD * ROUNDS);
    for (int i = 0; i < here->count; i++)
        if (!CHECK_EQUAL(here->order[i], i % CROWD))
            return;
}

static void fill_a_pool(void)
{
    CHECK_EQUAL(fern_pool_new(3, &here->pool), 0);
    for (int i = 0; i < 20; i++)
        CHECK_EQUAL(fern_pool_spawn(here->pool, in_the_pool, NULL, NULL, FERN_NEVER, NULL), 0);
    CHECK_EQUAL(fern_pool_waitall(here->pool, FERN_NEVER), 0);
    CHECK_EQUAL(here->most_in_pool, 3);
    fern_pool_unref(here->pool);
}

static void kill_a_crowd(void)
{
    fern_thread *threads[CROWD];
    for (int i = 0; i < CROWD; i++)
        CHECK_EQUAL(fern_spawn(is_killed, NULL, NULL, &threads[i]), 0);
    fern_yield();
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQUAL(fern_thread_kill(threads[i]), 1);
        fern_thread_unref(threads[i]);
    }
    waitall();
    CHECK_EQUAL(here->killed, CROWD);
}

static void do_the_rest(void)
{
    CHECK_EQUAL(pipe(here->ends), 0);
    for (int i = 0; i < 10; i++) {
        spawn(times_out, 0);
        spawn(offloads, 0);
    }
    spawn(reads, 0);
    spawn(writes, 0);
    waitall();
    CHECK_EQUAL(here->timed_out, 10);
    CHECK_EQUAL(here->jobs, 10);
    CHECK_EQUAL(here->bytes, ROUNDS);
    close(here->ends[0]);
    close(here->ends[1]);
}

static void be_busy(void)
{
    take_turns();
    fill_a_pool();
    kill_a_crowd();
    do_the_rest();
}

static void *do_everything(void *world)
{
    enter(world);
    be_busy();
    leave();
    return NULL;
}

TEST(four_hubs_do_everything_side_by_side)
{
    in_every_world(do_everything);
}

static void *open_and_close(void *world)
{
    for (int i = 0; i < 20; i++) {
        enter(world);
        spawn(in_the_pool, 0);
        spawn(is_killed, 0);
        fern_yield();
        leave();
    }
    return NULL;
}

TEST(hubs_open_and_close_side_by_side)
{
    in_every_world(open_and_close);
}

/* ---- a deadlock is a hub's own affair ---- */

static void *deadlocks(void *world)
{
    enter(world);
    if (here->number == 0) {
        CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    } else {
        spawn(in_the_pool, 0);
        waitall();
    }
    leave();
    return NULL;
}

TEST(a_deadlock_in_one_hub_is_none_in_the_others)
{
    in_every_world(deadlocks);
}

/* ---- posts between hubs: a token that goes round ---- */

enum { LAPS = 200 };

struct token {
    fern_post post;
    atomic_int laps;
};

static struct token token;
static pthread_barrier_t all_open, all_done;

static void pass_on(void *arg);

static void pass_to(int number)
{
    token.post = (fern_post){ .fn = pass_on, .arg = &worlds[number] };
    fern_hub_post(worlds[number].hub, &token.post);
}

static void finish(void *arg)
{
    struct world *world = arg;
    fern_unpark(fern_hub_main(world->hub), 0);
}

static fern_post finish_posts[HUBS];

static void pass_on(void *arg)
{
    struct world *world = arg;
    CHECK(here == world);
    CHECK(fern_current() == NULL);
    if (atomic_fetch_add(&token.laps, 1) < LAPS * HUBS) {
        pass_to((world->number + 1) % HUBS);
        return;
    }
    for (int i = 0; i < HUBS; i++) {
        finish_posts[i] = (fern_post){ .fn = finish, .arg = &worlds[i] };
        fern_hub_post(worlds[i].hub, &finish_posts[i]);
    }
}

static void *passes_the_token(void *world)
{
    enter(world);
    fern_hub_hold(here->hub);
    pthread_barrier_wait(&all_open);
    if (here->number == 0)
        pass_to(1);
    CHECK_EQUAL(fern_park("the token", FERN_NEVER), 0);
    fern_hub_unhold(here->hub);
    pthread_barrier_wait(&all_done);    /* nobody posts to a closed hub */
    leave();
    return NULL;
}

TEST(a_token_goes_round_four_hubs)
{
    atomic_store(&token.laps, 0);
    pthread_barrier_init(&all_open, NULL, HUBS);
    pthread_barrier_init(&all_done, NULL, HUBS);
    in_every_world(passes_the_token);
    CHECK_EQUAL(atomic_load(&token.laps), LAPS * HUBS + 1);
    pthread_barrier_destroy(&all_open);
    pthread_barrier_destroy(&all_done);
}

/* ---- posts from every hub to every other, and from their offload pools,
   while all are busy ---- */

struct letter {
    fern_post post;
    int from, to, number;
};

static struct letter letters[HUBS][HUBS][LETTERS];

static void arrives(void *arg)
{
    struct letter *letter = arg;
    CHECK(here == &worlds[letter->to]);
    here->disorder += here->received[letter->from]++ != letter->number;
    if (++here->letters == (HUBS - 1) * LETTERS)
        fern_unpark(fern_hub_main(here->hub), 0);
}

static void send(void *arg)
{
    struct letter *letter = arg;
    letter->post = (fern_post){ .fn = arrives, .arg = letter };
    fern_hub_post(worlds[letter->to].hub, &letter->post);
}

static int sends_letters(void *arg)
{
    int to = (int)(intptr_t)arg, from = here->number;
    for (int i = 0; i < LETTERS; i++) {
        struct letter *letter = &letters[from][to][i];
        *letter = (struct letter){ .from = from, .to = to, .number = i };
        if (i % 10 == 0)
            CHECK_EQUAL(fern_offload(send, letter, drop_job, FERN_NEVER), 0);
        else
            send(letter);
        if (i % 3 == 0)
            fern_yield();
    }
    return 0;
}

static void *sends_and_is_busy(void *world)
{
    enter(world);
    fern_hub_hold(here->hub);
    pthread_barrier_wait(&all_open);
    for (int to = 0; to < HUBS; to++)
        if (to != here->number)
            spawn(sends_letters, to);
    be_busy();
    while (here->letters < (HUBS - 1) * LETTERS)
        CHECK_EQUAL(fern_park("letters", FERN_NEVER), 0);
    CHECK_EQUAL(here->disorder, 0);
    fern_hub_unhold(here->hub);
    pthread_barrier_wait(&all_done);
    leave();
    return NULL;
}

TEST(posts_between_busy_hubs_arrive_once_and_in_order)
{
    pthread_barrier_init(&all_open, NULL, HUBS);
    pthread_barrier_init(&all_done, NULL, HUBS);
    in_every_world(sends_and_is_busy);
    for (int i = 0; i < HUBS; i++)
        CHECK_EQUAL(worlds[i].letters, (HUBS - 1) * LETTERS);
    pthread_barrier_destroy(&all_open);
    pthread_barrier_destroy(&all_done);
}

/* ---- hosts' loops and our own, mixed ---- */

static void *runs_on_a_host(void *arg)
{
    struct world *world = arg;
    if (world->number % 2)
        return do_everything(world);
    struct ev_loop *host = ev_loop_new(EVFLAG_AUTO);
    fern_hub_options options = { .loop = host };
    here = world;
    CHECK_EQUAL(fern_hub_open(&options, &here->hub), 0);
    for (int i = 0; i < CROWD; i++)
        spawn(takes_turns, i);
    spawn(times_out, 0);
    spawn(offloads, 0);
    ev_run(host, 0);
    CHECK_EQUAL(here->count, CROWD * ROUNDS);
    CHECK_EQUAL(here->timed_out, 1);
    CHECK_EQUAL(here->jobs, 1);
    leave();
    ev_loop_destroy(host);
    return NULL;
}

TEST(hosts_loops_and_our_own_stand_side_by_side)
{
    in_every_world(runs_on_a_host);
}

/* ---- what belongs to an OS thread stays there ---- */

static fern_error_fn count_error;
static atomic_int errors[HUBS];

static void count_error(fern_thread *thread, void *arg)
{
    struct world *world = arg;
    CHECK(here == world);
    CHECK(fern_current() != thread);
    atomic_fetch_add(&errors[world->number], 1);
}

static int fails(void *arg)
{
    (void)arg;
    return -EIO;
}

static void *fails_alone(void *world)
{
    enter(world);
    fern_hub_on_error(here->hub, count_error, here);
    for (int i = 0; i <= here->number; i++)
        spawn(fails, 0);
    waitall();
    leave();
    return NULL;
}

TEST(errors_are_told_to_the_hub_they_happened_in)
{
    for (int i = 0; i < HUBS; i++)
        atomic_store(&errors[i], 0);
    in_every_world(fails_alone);
    for (int i = 0; i < HUBS; i++)
        CHECK_EQUAL(atomic_load(&errors[i]), i + 1);
}

TEST_MAIN

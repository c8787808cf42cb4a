/* SPDX-License-Identifier: MIT
   offload and name look-up: blocking calls go elsewhere, and whoever waits
   for one may leave at any time. Jobs block on a gate that the test opens, so
   nothing here depends on the clock. getaddrinfo is our own for two endings. */
#define _GNU_SOURCE
#include "fern.h"
#include "offload.h"
#include "test.h"

#include <dirent.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool gate_open;
static int inside, most_inside, ran, dropped;

static void set_gate(bool open)
{
    pthread_mutex_lock(&lock);
    gate_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void reset(void)
{
    gate_open = false;
    inside = most_inside = ran = dropped = 0;
}

static void pass_gate(void)
{
    pthread_mutex_lock(&lock);
    if (++inside > most_inside)
        most_inside = inside;
    pthread_cond_broadcast(&changed);
    while (!gate_open)
        pthread_cond_wait(&changed, &lock);
    inside--;
    ran++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Block this OS thread until `*count` is `wanted`. */
static void await(const int *count, int wanted)
{
    pthread_mutex_lock(&lock);
    while (*count != wanted)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static int look(const int *count)
{
    pthread_mutex_lock(&lock);
    int value = *count;
    pthread_mutex_unlock(&lock);
    return value;
}

/* "x.slow" waits at the gate, "x.missing" does not exist. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    bool numeric = hints && (hints->ai_flags & AI_NUMERICHOST);
    const char *ending = host ? strrchr(host, '.') : NULL;
    if (ending && !numeric && strcmp(ending, ".slow") == 0) {
        pass_gate();
        return real("127.0.0.1", service, hints, out);
    }
    if (ending && strcmp(ending, ".missing") == 0)
        return EAI_NONAME;
    return real(host, service, hints, out);
}

static size_t count_os_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* Those of this process when nothing is going on: a sanitizer has one of its
   own once there was another. One that was let go of may take a moment to
   end. */
static size_t await_quiet(void)
{
    static size_t quiet;
    pthread_t once;
    if (!quiet) {
        pthread_create(&once, NULL, do_nothing, NULL);
        pthread_join(once, NULL);
        usleep(10000);          /* the kernel lists it a little longer */
        quiet = count_os_threads();
    }
    while (count_os_threads() > quiet)
        usleep(1000);
    return quiet;
}

/* ---- jobs ---- */

struct job {
    pthread_t by;
    sigset_t mask;
};

static struct job *new_job(void)
{
    return calloc(1, sizeof(struct job));
}

static void note(void *arg)
{
    struct job *job = arg;
    job->by = pthread_self();
    pthread_sigmask(SIG_BLOCK, NULL, &job->mask);
}

static void wait_at_gate(void *arg)
{
    (void)arg;
    pass_gate();
}

static void drop(void *arg)
{
    free(arg);
    pthread_mutex_lock(&lock);
    dropped++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int offload_gate(void *arg)
{
    (void)arg;
    struct job *job = new_job();
    int rc = fern_offload(wait_at_gate, job, drop, FERN_NEVER);
    if (rc == 0)
        free(job);
    return rc;
}

static fern_hub *open_hub(void)
{
    fern_hub *hub = NULL;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    reset();
    return hub;
}

static void close_hub(fern_hub *hub)
{
    CHECK_EQUAL(fern_hub_close(hub, FERN_NEVER), 0);
}

static fern_thread *spawn(fern_body *body, void *arg)
{
    fern_thread *thread = NULL;
    fern_spawn_options options = { .quiet = true };
    CHECK_EQUAL(fern_spawn(body, arg, &options, &thread), 0);
    return thread;
}

static int join(fern_thread *thread)
{
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    int rc = fern_thread_result(thread);
    fern_thread_unref(thread);
    return rc;
}

/* ---- tests ---- */

TEST(runs_on_another_os_thread_that_hears_no_signals)
{
    await_quiet();
    fern_hub *hub = open_hub();
    struct job *job = new_job();
    CHECK_EQUAL(fern_offload(note, job, drop, FERN_NEVER), 0);
    CHECK(!pthread_equal(job->by, pthread_self()));
    CHECK(sigismember(&job->mask, SIGINT) && sigismember(&job->mask, SIGCHLD));
    CHECK_EQUAL(look(&dropped), 0);
    free(job);
    close_hub(hub);
}

TEST(other_threads_run_while_a_call_blocks)
{
    fern_hub *hub = open_hub();
    fern_thread *thread = spawn(offload_gate, NULL);
    while (look(&inside) < 1)
        fern_yield();
    for (int i = 0; i < 100; i++)
        CHECK_EQUAL(fern_yield(), 0);
    CHECK(!fern_thread_done(thread));
    set_gate(true);
    CHECK_EQUAL(join(thread), 0);
    close_hub(hub);
}

TEST(is_bounded_and_serves_all)
{
    enum { COUNT = 3 * FERN_OFFLOAD_THREADS };
    fern_hub *hub = open_hub();
    fern_thread *threads[COUNT];
    for (int i = 0; i < COUNT; i++)
        threads[i] = spawn(offload_gate, NULL);
    while (look(&inside) < FERN_OFFLOAD_THREADS)
        fern_yield();
    set_gate(true);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQUAL(join(threads[i]), 0);
    CHECK_EQUAL(ran, COUNT);
    CHECK_EQUAL(most_inside, FERN_OFFLOAD_THREADS);
    close_hub(hub);
}

TEST(uses_an_idle_os_thread_again)
{
    fern_hub *hub = open_hub();
    for (int i = 0; i < 50; i++) {
        struct job *job = new_job();
        CHECK_EQUAL(fern_offload(note, job, drop, FERN_NEVER), 0);
        free(job);
    }
    CHECK(count_os_threads() <= 1 + FERN_OFFLOAD_THREADS);
    close_hub(hub);
}

TEST(a_killed_caller_returns_while_its_call_is_stuck)
{
    fern_hub *hub = open_hub();
    fern_thread *thread = spawn(offload_gate, NULL);
    while (look(&inside) < 1)
        fern_yield();
    fern_thread_kill(thread);
    CHECK_EQUAL(join(thread), -ECANCELED);
    CHECK_EQUAL(look(&ran), 0);
    CHECK_EQUAL(look(&dropped), 0);
    set_gate(true);
    await(&dropped, 1);
    close_hub(hub);
}

TEST(a_deadline_returns_while_the_call_is_stuck)
{
    fern_hub *hub = open_hub();
    CHECK_EQUAL(fern_offload(wait_at_gate, new_job(), drop, fern_now() + 0.02), -ETIMEDOUT);
    CHECK_EQUAL(look(&ran), 0);
    set_gate(true);
    await(&dropped, 1);
    close_hub(hub);
}

TEST(a_call_in_the_queue_goes_with_its_killed_caller)
{
    fern_hub *hub = open_hub();
    fern_thread *threads[FERN_OFFLOAD_THREADS];
    for (int i = 0; i < FERN_OFFLOAD_THREADS; i++)
        threads[i] = spawn(offload_gate, NULL);
    while (look(&inside) < FERN_OFFLOAD_THREADS)
        fern_yield();
    fern_thread *late = spawn(offload_gate, NULL);
    fern_yield();
    fern_thread_kill(late);
    CHECK_EQUAL(join(late), -ECANCELED);
    CHECK_EQUAL(look(&dropped), 1);
    set_gate(true);
    for (int i = 0; i < FERN_OFFLOAD_THREADS; i++)
        CHECK_EQUAL(join(threads[i]), 0);
    CHECK_EQUAL(ran, FERN_OFFLOAD_THREADS);
    close_hub(hub);
}

/* Killed in the very turn in which its answer came. */
TEST(a_kill_between_the_answer_and_the_caller_frees_the_job)
{
    fern_hub *hub = open_hub();
    set_gate(true);
    for (int i = 0; i < 200; i++) {
        int before = look(&ran), lost = look(&dropped);
        fern_thread *thread = spawn(offload_gate, NULL);
        fern_yield();
        await(&ran, before + 1);
        if (i % 2)
            fern_yield();
        fern_thread_kill(thread);
        if (join(thread) == -ECANCELED)
            await(&dropped, lost + 1);
    }
    close_hub(hub);
}

TEST(closing_the_hub_does_not_wait_for_a_stuck_call)
{
    fern_hub *hub = open_hub();
    fern_thread *thread = spawn(offload_gate, NULL);
    while (look(&inside) < 1)
        fern_yield();
    fern_thread_unref(thread);
    close_hub(hub);
    CHECK_EQUAL(look(&dropped), 0);
    set_gate(true);
    await(&dropped, 1);
}

TEST(closing_the_hub_drops_what_is_queued_and_joins_the_idle)
{
    size_t before = await_quiet();
    fern_hub *hub = open_hub();
    struct job *job = new_job();
    CHECK_EQUAL(fern_offload(note, job, drop, FERN_NEVER), 0);
    free(job);
    close_hub(hub);
    CHECK_EQUAL(count_os_threads(), before);

    hub = open_hub();
    for (int i = 0; i < FERN_OFFLOAD_THREADS + 5; i++)
        fern_thread_unref(spawn(offload_gate, NULL));
    while (look(&inside) < FERN_OFFLOAD_THREADS)
        fern_yield();
    close_hub(hub);
    CHECK_EQUAL(look(&dropped), 5);
    set_gate(true);
    await(&dropped, FERN_OFFLOAD_THREADS + 5);
}

static int offload_file(void *arg)
{
    static const fern_wait_kind kind = { .name = "a file" };
    fern_offload_call call = {
        .lane = FERN_OFFLOAD_FILES, .kind = &kind, .fn = wait_at_gate, .drop = drop,
        .waiters = arg,
    };
    struct job *job = new_job();
    int rc = fern_offload_in(&call, job, FERN_NEVER);
    if (rc == 0)
        free(job);
    return rc;
}

TEST(stuck_files_hold_up_no_other_call)
{
    enum { COUNT = FERN_OFFLOAD_THREADS + 2 };
    fern_hub *hub = open_hub();
    fern_thread *threads[COUNT];
    for (int i = 0; i < COUNT; i++)
        threads[i] = spawn(offload_file, NULL);
    while (look(&inside) < FERN_OFFLOAD_THREADS)
        fern_yield();
    struct job *job = new_job();
    CHECK_EQUAL(fern_offload(note, job, drop, FERN_NEVER), 0);
    free(job);
    CHECK_EQUAL(look(&inside), FERN_OFFLOAD_THREADS);
    set_gate(true);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQUAL(join(threads[i]), 0);
    close_hub(hub);
}

TEST(a_caller_whose_object_is_closed_leaves_its_call)
{
    fern_hub *hub = open_hub();
    fern_list *waiters = NULL;
    fern_thread *thread = spawn(offload_file, &waiters);
    while (look(&inside) < 1)
        fern_yield();
    if (!CHECK(waiters))
        return;
    fern_wake_all(waiters, -EBADF);
    CHECK_EQUAL(join(thread), -EBADF);
    CHECK(!waiters);
    CHECK_EQUAL(look(&dropped), 0);
    set_gate(true);
    await(&dropped, 1);
    close_hub(hub);
}

static int stubborn(void *arg)
{
    (void)arg;
    fern_shield_open();         /* a kill does not end it */
    return offload_gate(NULL);
}

TEST(closing_the_hub_abandons_a_caller_that_does_not_leave)
{
    fern_hub *hub = open_hub();
    fern_thread_unref(spawn(stubborn, NULL));
    while (look(&inside) < 1)
        fern_yield();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.05), 1);
    set_gate(true);
    await(&dropped, 1);
}

static void call_on_the_hubs_stack(void *arg)
{
    *(int *)arg = fern_offload(note, new_job(), drop, FERN_NEVER);
}

TEST(is_refused_on_the_hubs_stack)
{
    fern_hub *hub = open_hub();
    int rc = 0;
    fern_post post = { .fn = call_on_the_hubs_stack, .arg = &rc };
    fern_hub_post(hub, &post);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK_EQUAL(rc, -EDEADLK);
    CHECK_EQUAL(look(&dropped), 1);
    close_hub(hub);
}

static void call_in_a_forked_child(void *arg)
{
    (void)arg;
    struct job *job = new_job();
    CHECK_EQUAL(fern_offload(note, job, drop, FERN_NEVER), 0);
    free(job);
    CHECK_EQUAL(dropped, 0);
    CHECK_EQUAL(fern_hub_close(fern_hub_current(), FERN_NEVER), 0);
}

TEST(a_forked_child_has_os_threads_of_its_own)
{
    if (test_no_threads_after_fork())
        SKIP("no OS thread can be made in a forked child here");
    fern_hub *hub = open_hub();
    struct job *job = new_job();
    CHECK_EQUAL(fern_offload(note, job, drop, FERN_NEVER), 0);
    free(job);
    struct test_child child;
    test_in_child(call_in_a_forked_child, NULL, &child);
    CHECK(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0);
    close_hub(hub);
}

/* ---- names ---- */

static const struct addrinfo stream = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };

static bool is_loopback(const struct addrinfo *found)
{
    char digits[64];
    return found && getnameinfo(found->ai_addr, found->ai_addrlen, digits, sizeof digits,
                                NULL, 0, NI_NUMERICHOST) == 0 &&
           strcmp(digits, "127.0.0.1") == 0;
}

static int resolve_slow(void *arg)
{
    struct addrinfo *found = NULL;
    int rc = fern_resolve(arg, "80", &stream, FERN_NEVER, &found);
    if (rc == 0) {
        CHECK(is_loopback(found));
        fern_resolve_free(found);
    }
    return rc;
}

TEST(numbers_take_no_detour)
{
    size_t before = await_quiet();
    fern_hub *hub = open_hub();
    struct addrinfo *found = NULL;
    CHECK_EQUAL(fern_resolve("127.0.0.1", "80", &stream, FERN_NEVER, &found), 0);
    CHECK(is_loopback(found));
    fern_resolve_free(found);
    CHECK_EQUAL(count_os_threads(), before);
    close_hub(hub);
}

TEST(a_name_is_looked_up_elsewhere)
{
    fern_hub *hub = open_hub();
    set_gate(true);
    char name[] = "a.slow";
    CHECK_EQUAL(resolve_slow(name), 0);
    CHECK_EQUAL(ran, 1);
    close_hub(hub);
}

TEST(a_killed_caller_leaves_a_slow_look_up)
{
    fern_hub *hub = open_hub();
    char a[] = "a.slow", b[] = "b.slow";
    fern_thread *killed = spawn(resolve_slow, a);
    fern_thread *stays = spawn(resolve_slow, b);
    while (look(&inside) < 2)
        fern_yield();
    char what[64];
    fern_thread_describe(stays, what, sizeof what);
    CHECK_STRING(what, "look-up of b.slow");
    fern_thread_kill(killed);
    CHECK_EQUAL(join(killed), -ECANCELED);
    CHECK_EQUAL(look(&ran), 0);
    set_gate(true);
    CHECK_EQUAL(join(stays), 0);
    await(&ran, 2);
    close_hub(hub);
}

TEST(what_getaddrinfo_says_is_told)
{
    fern_hub *hub = open_hub();
    struct addrinfo *found = NULL;
    int noname = FERN_EAI - abs(EAI_NONAME);
    CHECK_EQUAL(fern_resolve("a.missing", "80", &stream, FERN_NEVER, &found), noname);
    CHECK_EQUAL(fern_resolve(NULL, NULL, &stream, FERN_NEVER, &found), noname);
    CHECK_STRING(fern_error_name(noname), "EAI_NONAME");
    struct addrinfo wrong = { .ai_family = AF_INET, .ai_socktype = 77 };
    CHECK_EQUAL(fern_resolve("127.0.0.1", "80", &wrong, FERN_NEVER, &found),
                FERN_EAI - abs(EAI_SOCKTYPE));
    CHECK(!found);
    close_hub(hub);
}

TEST_MAIN

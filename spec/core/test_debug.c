/* SPDX-License-Identifier: MIT
   test_debug: what there is on a hub is told as it is, who made it too, and
   who holds it; the signals disturb nobody. */
#include "threads.h"

#include <time.h>

static void let_park(void)
{
    CHECK_EQUAL(fern_sleep(fern_now() + 1e-3), 0);
}

/* ---- threads ---- */

static fern_thread_info inspected(const fern_thread *thread)
{
    fern_thread_info info;
    fern_thread_inspect(thread, &info);
    return info;
}

static int spawns_one(void *arg)
{
    *(fern_thread **)arg = start(forever, NULL);
    return fern_sleep(FERN_NEVER);
}

TEST(a_thread_knows_who_spawned_it)
{
    fern_thread *child = NULL;
    open_hub();
    fern_thread *thread = start(spawns_one, &child);
    let_park();
    CHECK_EQUAL(inspected(fern_hub_main(hub)).parent, UINT64_MAX);
    CHECK_EQUAL(inspected(thread).parent, 0);
    CHECK_EQUAL(inspected(child).parent, fern_thread_id(thread));
    fern_thread_kill(child);
    join(child);
    fern_thread_kill(thread);
    join(thread);
    close_hub();
}

TEST(a_wait_tells_since_when)
{
    open_hub();
    fern_debug_dates(hub, true);
    spin(0.02);
    double before = fern_now();
    fern_thread *thread = start(forever, NULL);
    CHECK_EQUAL(inspected(thread).since, 0);
    CHECK_EQUAL(fern_yield(), 0);
    double since = inspected(thread).since;
    CHECK(since >= before && since <= fern_now());
    fern_thread_kill(thread);
    join(thread);
    close_hub();
}

static int stands_on_stack(void *arg)
{
    volatile char much[20000];
    memset((char *)much, 1, sizeof much);
    int rc = fern_sleep(FERN_NEVER);
    return rc + (much[*(int *)arg] != 1);
}

TEST(what_a_parked_thread_uses_of_its_stack)
{
    int zero = 0;
    open_hub();
    fern_thread *thread = start(stands_on_stack, &zero);
    CHECK_EQUAL(inspected(thread).stack_used, 0);
    let_park();
    CHECK(inspected(thread).stack_used > 20000);
    CHECK(inspected(thread).stack_used < 100000);
    fern_thread_kill(thread);
    join(thread);
    close_hub();
}

/* On the OS thread's own clock: others may want the processor, too. */
static void compute(double seconds)
{
    clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
    while (clock() < end)
        ;
}

static int computes(void *arg)
{
    compute(0.02);
    for (int i = 0; i < 9; i++)
        CHECK_EQUAL(fern_yield(), 0);
    return arg ? fern_sleep(FERN_NEVER) : 0;
}

TEST(cpu_time_and_switches_are_counted_on_demand)
{
    open_hub();
    fern_debug_accounting(hub, true);
    fern_debug_accounting(hub, true);
    CHECK(fern_debug_accounts(hub));
    fern_thread *busy = start(computes, hub), *lazy = start(forever, NULL);
    spawn(computes, NULL);         /* its end is counted, and hurts nobody */
    let_park();
    for (int i = 0; i < 20; i++)
        CHECK_EQUAL(fern_yield(), 0);
    CHECK(inspected(busy).cpu_time > 0.01);
    CHECK_EQUAL(inspected(busy).switches, 10);
    CHECK(inspected(lazy).cpu_time < inspected(busy).cpu_time);
    CHECK_EQUAL(inspected(lazy).switches, 1);
    fern_debug_accounting(hub, false);
    CHECK_EQUAL(inspected(busy).switches, 0);
    fern_thread_kill(busy);
    fern_thread_kill(lazy);
    join(busy);
    join(lazy);
    close_hub();
}

TEST(the_hub_counts_switches)
{
    fern_hub_stats before, after;
    open_hub();
    fern_hub_inspect(hub, &before);
    for (int i = 0; i < 1000; i++)
        CHECK_EQUAL(fern_yield(), 0);
    fern_hub_inspect(hub, &after);
    CHECK_EQUAL(after.switches - before.switches, 1000);
    close_hub();
}

/* ---- timers and listeners ---- */

static bool note_timer(const fern_timer_info *info, void *arg)
{
    (void)arg;
    note(info->thread ? fern_thread_name(info->thread) : info->what);
    note(info->stack ? "!" : ",");
    return strcmp(trace, "early,") != 0;
}

static void never(fern_timer *timer)
{
    (void)timer;
}

static int for_a_while(void *arg)
{
    return fern_sleep(fern_now() + *(double *)arg);
}

TEST(timers_are_told_in_the_order_of_time)
{
    static double hour = 3600, minute = 60;
    fern_timer timer = { .fn = never }, idle = { .fn = never };
    fern_spawn_options late = { .name = "late", .at = fern_now() + 1800 };
    open_hub();
    fern_timer_name(never, "ours");
    spawn_named("hour", for_a_while, &hour);
    spawn_named("minute", for_a_while, &minute);
    CHECK_EQUAL(fern_spawn(quick, "", &late, NULL), 0);
    let_park();
    CHECK_EQUAL(fern_timer_start(&timer, fern_now() + 120), 0);
    CHECK_EQUAL(fern_timer_start(&idle, FERN_NEVER), 0);
    CHECK_EQUAL(fern_debug_timers(hub, note_timer, NULL), 0);
    CHECK_STRING(trace, "minute,ours,late,hour,");
    fern_timer_stop(&timer);
    fern_timer_stop(&idle);
    close_hub();
}

TEST(a_walk_ends_when_it_is_told_to)
{
    static double hour = 3600, minute = 60;
    open_hub();
    spawn_named("late", for_a_while, &hour);
    spawn_named("early", for_a_while, &minute);
    let_park();
    CHECK_EQUAL(fern_debug_timers(hub, note_timer, NULL), 0);
    CHECK_STRING(trace, "early,");
    close_hub();
}

/* A host whose tracebacks are its threads' names. */
static void name_traceback(fern_thread *thread, char *buffer, size_t size)
{
    snprintf(buffer, size, "    at %s", fern_thread_name(thread));
}

static const fern_host named = { .traceback = name_traceback };
static fern_timer ours = { .fn = never };
static char stacks[1024];

static bool note_stack(const char *stack)
{
    strncat(stacks, stack ? stack : "-", sizeof stacks - strlen(stacks) - 1);
    return true;
}

static bool note_timer_stack(const fern_timer_info *info, void *arg)
{
    (void)arg;
    return note_stack(info->stack);
}

static bool note_listener_stack(const fern_listener_info *info, void *arg)
{
    (void)arg;
    return note_stack(info->stack);
}

static int starts_timers(void *arg)
{
    fern_spawn_options late = { .name = "late", .at = fern_now() + 1800, .host = &named };
    CHECK_EQUAL(fern_spawn(quick, "", &late, NULL), 0);
    CHECK_EQUAL(fern_timer_start(&ours, fern_now() + 120), 0);
    return for_a_while(arg);
}

TEST(who_started_a_timer_is_recorded_on_demand)
{
    static double minute = 60;
    fern_spawn_options options = { .name = "maker", .host = &named };
    stacks[0] = 0;
    open_hub();
    fern_debug_timer_stacks(hub, true);
    CHECK_EQUAL(fern_spawn(starts_timers, &minute, &options, NULL), 0);
    let_park();
    CHECK_EQUAL(fern_debug_timers(hub, note_timer_stack, NULL), 0);
    CHECK_STRING(stacks, "    at maker    at maker    at maker");
    stacks[0] = 0;
    fern_debug_timer_stacks(hub, false);
    CHECK_EQUAL(fern_debug_timers(hub, note_timer_stack, NULL), 0);
    CHECK_STRING(stacks, "---");
    fern_timer_stop(&ours);
    close_hub();
}

static void on_watch(int fd, int events, void *arg)
{
    (void)fd;
    (void)events;
    (void)arg;
}

static int reads(void *arg)
{
    return fern_fd_wait(*(int *)arg, FERN_READ, FERN_NEVER);
}

TEST(listeners_are_told_with_those_of_libraries)
{
    int ends[2], others[2];
    fern_watch *watch;
    fern_hub_stats stats;
    fern_spawn_options options = { .name = "reader", .host = &named };
    open_hub();
    CHECK_EQUAL(pipe(ends) + pipe(others), 0);
    CHECK_EQUAL(fern_spawn(reads, &ends[0], &options, NULL), 0);
    CHECK_EQUAL(fern_watch_open(others[0], FERN_READ | FERN_WRITE, on_watch, NULL, &watch), 0);
    let_park();
    stacks[0] = 0;
    fern_debug_listeners(hub, FERN_READ, note_listener_stack, NULL);
    CHECK_STRING(stacks, "--");
    fern_thread *reader = NULL;
    fern_debug_listener_stacks(hub, true);
    CHECK_EQUAL(fern_spawn(forever, NULL, &options, &reader), 0);
    let_park();
    fern_watch_about(watch, "a test", reader);
    stacks[0] = 0;
    fern_debug_listeners(hub, FERN_READ, note_listener_stack, NULL);
    fern_debug_listeners(hub, FERN_WRITE, note_listener_stack, NULL);
    CHECK_STRING(stacks, "    at reader    at reader    at reader");
    fern_thread_unref(reader);
    char *text = fern_debug_text(hub, FERN_DEBUG_LISTENERS), expected[256];
    snprintf(expected, sizeof expected,
             "READERS:\n  descriptor %d: thread #1 'reader'\n      at reader\n"
             "  descriptor %d: a test, for thread #2 'reader'\n      at reader\n"
             "WRITERS:\n  descriptor %d: a test, for thread #2 'reader'\n      at reader\n",
             ends[0], others[0], others[0]);
    CHECK_STRING(text, expected);
    free(text);
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.watches, 1);
    fern_watch_set(watch, 0);
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.watches, 0);
    fern_watch_close(watch);
    close_hub();
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(others[i]);
    }
}

/* ---- the text ---- */

static int spawns_down(void *arg)
{
    int depth = *(int *)arg;
    if (depth > 0) {
        depth--;
        spawn_named("child", spawns_down, &depth);
        return fern_sleep(FERN_NEVER);
    }
    return fern_sleep(FERN_NEVER);
}

static int ends_before_its_child(void *arg)
{
    spawn_named("orphan", forever, NULL);
    (void)arg;
    return 0;
}

TEST(the_tree_of_threads_shows_who_spawned_whom)
{
    int depth = 2;
    open_hub();
    spawn_named("root", spawns_down, &depth);
    spawn_named("gone", ends_before_its_child, NULL);
    spawn_named("last", forever, NULL);
    let_park();
    char *text = fern_debug_text(hub, FERN_DEBUG_THREADS), order[1024] = "";
    CHECK(text);
    for (const char *line = text; line && *line; line = strchr(line, '\n') + 1) {
        const char *quote = strchr(line, '\'');
        if (line != text && quote) {
            snprintf(order + strlen(order), sizeof order - strlen(order), "%d%.*s ",
                     (int)strspn(line, " "), (int)strcspn(quote + 1, "'"), quote + 1);
        }
    }
    CHECK_STRING(order, "2main 4root 6child 8child 4last 2orphan ");
    free(text);
    close_hub();
}

TEST(many_threads_are_told_of_at_once)
{
    open_hub();
    for (int i = 0; i < MANY; i++)
        spawn(forever, NULL);
    let_park();
    double before = fern_now();
    char *text = fern_debug_text(hub, FERN_DEBUG_ALL);
    CHECK(text && strlen(text) > MANY * 30u);
    CHECK(fern_now() - before < 10);
    free(text);
    close_hub();
}

/* Each spawns the next: a tree as deep as it has threads. */
static int chain(void *arg)
{
    int *left = arg;
    if (--*left > 0)
        spawn(chain, arg);
    return fern_sleep(FERN_NEVER);
}

TEST(a_deep_tree_needs_no_deep_stack)
{
    int left = MANY;
    open_hub();
    spawn(chain, &left);
    while (left > 0)
        let_park();
    char *text = fern_debug_text(hub, FERN_DEBUG_THREADS);
    CHECK(text != NULL);
    free(text);
    close_hub();
}

/* ---- errors ---- */

static int fails(void *arg)
{
    (void)arg;
    return -EIO;
}

static void on_error(fern_thread *thread, void *arg)
{
    (void)thread;
    note(arg);
}

static int joins(void *arg)
{
    fern_thread *thread = arg;
    note(result_of(thread) == -EIO ? "joined " : "?");
    return 0;
}

TEST(errors_are_told_at_once_and_only_once)
{
    open_hub();
    fern_hub_on_error(hub, on_error, "told ");
    fern_debug_exceptions(hub, true);
    fern_thread *thread = start(fails, NULL);
    spawn(joins, thread);
    let_run();
    CHECK_STRING(trace, "told joined ");
    spawn(fails, NULL);
    let_run();
    CHECK_STRING(trace, "told joined told ");
    fern_debug_exceptions(hub, false);
    spawn(fails, NULL);
    let_run();
    CHECK_STRING(trace, "told joined told ");
    close_hub();
    CHECK_STRING(trace, "told joined told told ");
}

/* ---- who holds the hub ---- */

static int holds(void *arg)
{
    spin(*(double *)arg);
    return 0;
}

static double long_time = 0.3;

static void hold_twice(void *arg)
{
    fern_spawn_options options = { .name = "hog", .host = arg, .file = "here", .line = 7 };
    open_hub();
    CHECK_EQUAL(fern_debug_blocking(hub, 0.05), 0);
    for (int i = 0; i < 2; i++) {
        fern_thread *thread;
        CHECK_EQUAL(fern_spawn(holds, &long_time, &options, &thread), 0);
        join(thread);
    }
    CHECK_EQUAL(fern_debug_blocking(hub, 0), 0);
    options.line = 8;
    CHECK_EQUAL(fern_spawn(holds, &long_time, &options, NULL), 0);
    let_run();
    close_hub();
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    while ((text = strstr(text, part))) {
        text++;
        count++;
    }
    return count;
}

TEST(who_holds_the_hub_is_told_once_for_each_place)
{
    struct test_child child;
    test_in_child(hold_twice, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    const char *line = "green thread #1 'hog', spawned at here:7, has held the hub for 0.";
    CHECK(strstr(child.text, line));
    CHECK_EQUAL(count_of(child.text, "has held"), 1);
}

/* Hosts: of one that is called back where it asked, and of one that never is. */
static atomic_int pokes;

static bool poke_late(fern_thread *thread, bool again)
{
    (void)thread;
    (void)again;
    atomic_fetch_add(&pokes, 1);
    return true;
}

static bool poke_in_vain(fern_thread *thread, bool again)
{
    (void)thread;
    return !again;
}

static int holds_and_looks(void *arg)
{
    (void)arg;
    while (!atomic_load(&pokes))
        spin(0.001);
    fern_debug_poked();
    return 0;
}

static void hold_and_look(void *arg)
{
    fern_host polite = { .traceback = name_traceback, .poke = poke_late };
    fern_spawn_options options = { .name = "polite", .host = &polite };
    (void)arg;
    open_hub();
    CHECK_EQUAL(fern_debug_blocking(hub, 0.05), 0);
    fern_thread *thread;
    CHECK_EQUAL(fern_spawn(holds_and_looks, NULL, &options, &thread), 0);
    join(thread);
    close_hub();
}

TEST(a_host_is_called_back_for_the_place)
{
    struct test_child child;
    test_in_child(hold_and_look, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK(strstr(child.text, "s:\n    at polite\n"));
    CHECK_EQUAL(count_of(child.text, "has held"), 1);
}

TEST(a_native_function_is_told_of_while_it_holds_the_hub)
{
    struct test_child child;
    fern_host deaf = { .traceback = name_traceback, .poke = poke_in_vain };
    test_in_child(hold_twice, &deaf, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK(strstr(child.text, "in a native function:\n    at hog\n"));
    CHECK_EQUAL(count_of(child.text, "has held"), 1);
}

static void sit_idle(void *arg)
{
    (void)arg;
    open_hub();
    CHECK_EQUAL(fern_debug_blocking(hub, 0.2), 0);
    CHECK_EQUAL(fern_debug_blocking(hub, 0.2), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.6), 0);
    close_hub();                /* takes the OS thread along */
}

TEST(a_hub_that_waits_is_held_by_nobody)
{
    struct test_child child;
    test_in_child(sit_idle, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "");
}

static volatile sig_atomic_t urged;

static void on_urgent(int number)
{
    (void)number;
    urged++;
}

TEST(the_signal_of_somebody_else_gets_there)
{
    void (*old)(int) = signal(SIGURG, on_urgent);
    open_hub();
    CHECK_EQUAL(fern_debug_blocking(hub, 60), 0);
    raise(SIGURG);
    CHECK_EQUAL(urged, 1);
    CHECK_EQUAL(fern_debug_blocking(hub, 0), 0);
    raise(SIGURG);
    CHECK_EQUAL(urged, 2);
    close_hub();
    signal(SIGURG, old);
}

static void fork_and_close(void *arg)
{
    (void)arg;
    open_hub();
    CHECK_EQUAL(fern_debug_blocking(hub, 60), 0);
    pid_t pid = fork();
    if (pid == 0) {
        fern_hub_close(hub, 0);
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(pid, &status, 0), pid);
    CHECK_EQUAL(status, 0);
    close_hub();
}

TEST(a_forked_child_may_close_a_hub_with_a_watchdog)
{
    if (test_no_threads_after_fork())
        SKIP("no OS thread can be made in a forked child here");
    struct test_child child;
    test_in_child(fork_and_close, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "");
}

/* ---- the dump ---- */

static void dump_on_signal(void *arg)
{
    (void)arg;
    open_hub();
    spawn_named("sleeper", forever, NULL);
    let_park();
    CHECK_EQUAL(fern_debug_signal(hub, SIGUSR1), 0);
    raise(SIGUSR1);
    raise(SIGUSR1);
    let_park();
    close_hub();
}

TEST(a_signal_has_everything_told)
{
    struct test_child child;
    test_in_child(dump_on_signal, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_EQUAL(count_of(child.text, "THREADS:"), 1);
    CHECK(strstr(child.text, "thread #1 'sleeper': waits "));
    CHECK(strstr(child.text, "TIMERS:\n"));
    CHECK(strstr(child.text, "READERS:\nWRITERS:\nSTATS:\n  threads 1, "));
}

TEST(a_signal_that_is_somebodys_stays_so)
{
    void (*old)(int) = signal(SIGUSR1, on_urgent);
    open_hub();
    CHECK_EQUAL(fern_debug_signal(hub, SIGUSR1), -EBUSY);
    signal(SIGUSR1, SIG_DFL);
    CHECK_EQUAL(fern_debug_signal(hub, 12345), -EINVAL);
    CHECK_EQUAL(fern_debug_signal(hub, SIGKILL), -EINVAL);
    CHECK_EQUAL(fern_debug_signal(hub, SIGUSR1), 0);
    CHECK_EQUAL(fern_debug_signal(hub, SIGUSR1), 0);
    signal(SIGUSR1, on_urgent);         /* the program has found a use for it */
    CHECK_EQUAL(fern_debug_signal(hub, 0), 0);
    close_hub();
    CHECK(signal(SIGUSR1, old) == on_urgent);
}

TEST_MAIN

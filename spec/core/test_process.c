/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "fern_process.h"
#include "fern_signal.h"
#include "sanitizer.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static fern_hub *hub;

static void open_hub(void)
{
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
}

static void close_hub(void)
{
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 2), 0);
}

static fern_process *spawn_with(fern_process_options *options, const char *command)
{
    const char *argv[] = { "sh", "-c", command, NULL };
    fern_process *process = NULL;
    options->argv = argv;
    CHECK_EQUAL(fern_process_spawn(options, &process), 0);
    return process;
}

static fern_process *spawn(const char *command)
{
    fern_process_options options = { 0 };
    return spawn_with(&options, command);
}

static int wait_for(fern_process *process)
{
    int code = -1000;
    CHECK_EQUAL(fern_process_wait(process, fern_now() + 20, &code), 0);
    return code;
}

static int run(const char *command)
{
    fern_process *process = spawn(command);
    int code = wait_for(process);
    fern_process_free(process);
    return code;
}

static bool has_children(void)
{
    siginfo_t info = { 0 };
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 200; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* ---- its end ---- */

TEST(tells_how_a_program_has_ended)
{
    open_hub();
    CHECK_EQUAL(run("exit 0"), 0);
    CHECK_EQUAL(run("exit 7"), 7);
    CHECK_EQUAL(run("kill -TERM $$"), -SIGTERM);
    CHECK(!has_children());
    close_hub();
}

TEST(waiting_lets_others_run_and_any_number_may_wait)
{
    int code = 0;
    open_hub();
    fern_process *process = spawn("read x; exit 3");
    fern_process_free(process);
    process = spawn("sleep 0.02; exit 4");
    CHECK_EQUAL(fern_process_poll(process, &code), -EAGAIN);
    CHECK_EQUAL(fern_process_wait(process, fern_now() + 0.001, &code), -ETIMEDOUT);
    CHECK_EQUAL(wait_for(process), 4);
    CHECK_EQUAL(wait_for(process), 4);
    CHECK_EQUAL(fern_process_poll(process, &code), 0);
    CHECK_EQUAL(fern_process_kill(process, SIGTERM), -ESRCH);
    fern_process_free(process);
    close_hub();
}

TEST(one_that_nobody_has_any_more_is_reaped_all_the_same)
{
    open_hub();
    int before = descriptors();
    for (int i = 0; i < 10; i++)
        fern_process_free(spawn("exit 1"));
    for (double until = fern_now() + 20; has_children() && fern_now() < until;)
        fern_sleep(fern_now() + 0.005);
    CHECK(!has_children());
    CHECK_EQUAL(descriptors(), before);
    close_hub();
}

TEST(one_that_somebody_else_has_reaped_is_told_as_lost)
{
    int code = 0, status;
    open_hub();
    fern_process_options options = { .stdio = { { FERN_STDIO_PIPE, 0 } } };
    fern_process *process = spawn_with(&options, "read line; exit 5");
    fern_stream_close(fern_process_take(process, 0));   /* not before: a spawn may reap it */
    CHECK_EQUAL(waitpid(fern_process_pid(process), &status, 0), fern_process_pid(process));
    CHECK_EQUAL(fern_process_wait(process, fern_now() + 20, &code), -ECHILD);
    fern_process_free(process);
    close_hub();
}

TEST(nobody_elses_children_are_looked_at)
{
    int status;
    open_hub();
    pid_t pid = fork();
    if (pid == 0)
        _exit(9);
    CHECK_EQUAL(run("exit 2"), 2);
    CHECK_EQUAL(waitpid(pid, &status, 0), pid);
    CHECK_EQUAL(WEXITSTATUS(status), 9);
    close_hub();
}

TEST(the_hubs_end_reaps_what_has_ended_and_leaves_what_runs)
{
    int code = 0, status;
    siginfo_t info;
    open_hub();
    fern_process_options options = { .stdio = { { FERN_STDIO_PIPE, 0 } } };
    fern_process *ended = spawn_with(&options, "read line; exit 3"), *runs = spawn("exec sleep 60");
    pid_t pid = fern_process_pid(runs);
    fern_stream_close(fern_process_take(ended, 0));     /* not before: a spawn may reap it */
    CHECK_EQUAL(waitid(P_PID, (id_t)fern_process_pid(ended), &info, WEXITED | WNOWAIT), 0);
    close_hub();
    CHECK_EQUAL(fern_process_poll(ended, &code), 0);
    CHECK_EQUAL(code, 3);
    CHECK_EQUAL(fern_process_poll(runs, &code), -ECHILD);
    fern_process_free(ended);
    fern_process_free(runs);
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    CHECK_EQUAL(waitpid(pid, &status, 0), pid);
}

static int free_soon(void *process)
{
    (void)fern_sleep(fern_now() + 0.002);
    fern_process_free(process);
    return 0;
}

TEST(may_be_freed_while_somebody_waits_for_its_end)
{
    int code = 0;
    open_hub();
    fern_process *process = spawn("trap '' TERM; while :; do sleep 0.01; done");
    CHECK_EQUAL(fern_spawn(free_soon, process, NULL, NULL), 0);
    CHECK_EQUAL(fern_process_terminate(process, fern_now() + 0.02, FERN_NEVER, &code), 0);
    CHECK(code == -SIGKILL || code == -SIGTERM);
    close_hub();
}

TEST(may_be_waited_for_among_others)
{
    open_hub();
    fern_process *slow = spawn("exec sleep 60"), *fast = spawn("exit 0");
    fern_source sources[] = { fern_process_source(slow), fern_process_source(fast) };
    fern_select *select;
    size_t index = 9;
    CHECK_EQUAL(fern_select_new(sources, 2, &select), 0);
    CHECK_EQUAL(fern_select_next(select, FERN_NEVER, &index), 1);
    CHECK_EQUAL(index, 1);
    fern_select_free(select);
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_process_kill(slow, SIGKILL), 0);
    CHECK_EQUAL(wait_for(slow), -SIGKILL);
    fern_process_free(slow);
    fern_process_free(fast);
    close_hub();
}

/* ---- what it gets ---- */

TEST(what_cannot_be_run_is_told_by_spawn)
{
    if (FERN_ON_VALGRIND() || test_emulated())
        SKIP("a fork is made of posix_spawn here, which cannot tell");
    const char *missing[] = { "/no/such/program", NULL }, *folder[] = { "/", NULL };
    const char *none[] = { NULL };
    fern_process_options options = { .argv = missing };
    fern_process *process = NULL;
    open_hub();
    options.stdio[0].kind = options.stdio[1].kind = FERN_STDIO_PIPE;
    int before = descriptors();
    CHECK_EQUAL(fern_process_spawn(&options, &process), -ENOENT);
    options.argv = folder;
    CHECK_EQUAL(fern_process_spawn(&options, &process), -EACCES);
    options.argv = none;
    CHECK_EQUAL(fern_process_spawn(&options, &process), -EINVAL);
    CHECK(process == NULL);
    CHECK_EQUAL(descriptors(), before);
    CHECK(!has_children());
    close_hub();
}

TEST(it_inherits_no_descriptor_that_was_not_asked_for)
{
    open_hub();
    int leak = open("/dev/null", O_RDONLY), high = fcntl(leak, F_DUPFD, 50);
    CHECK_EQUAL(run("for fd in 3 4 5 6 7 8 9; do { true <&$fd; } 2>/dev/null && exit 1; done; exit 0"), 0);
    fern_process_fd fds[] = { { high, 3 }, { high, 5 } };
    fern_process_options options = { .fds = fds, .fd_count = 2 };
    fern_process *process = spawn_with(&options,
        "for fd in 4 6 7 8 9; do { true <&$fd; } 2>/dev/null && exit 1; done; true <&3 && true <&5");
    CHECK_EQUAL(wait_for(process), 0);
    fern_process_free(process);
    close(leak);
    close(high);
    close_hub();
}

TEST(its_descriptors_may_be_ours_in_any_order)
{
    open_hub();
    fern_process_options options = {
        .stdio = { { FERN_STDIO_NULL, 0 }, { FERN_STDIO_PIPE, 0 }, { FERN_STDIO_OUTPUT, 0 } },
    };
    fern_bytes out;
    int code = -1;
    fern_process *process = spawn_with(&options, "echo one; echo two >&2; cat; exit 3");
    CHECK_EQUAL(fern_process_communicate(process, NULL, 0, SIZE_MAX, FERN_NEVER, &code, &out, NULL), 0);
    CHECK_EQUAL(code, 3);
    CHECK(out.length == 8 && memcmp(out.data, "one\ntwo\n", 8) == 0);
    fern_process_free(process);
    close_hub();
}

TEST(its_signals_are_as_by_default)
{
    sigset_t set, old;
    open_hub();
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    CHECK_EQUAL(run("kill -PIPE $$; exit 0"), -SIGPIPE);        /* we ignore it */
    CHECK_EQUAL(run("kill -TERM $$; exit 0"), -SIGTERM);
    sigprocmask(SIG_SETMASK, &old, NULL);
    close_hub();
}

TEST(it_has_the_environment_and_the_place_that_it_was_given)
{
    const char *env[] = { "WORD=fern", NULL };
    fern_process_options options = { .env = env, .cwd = "/" };
    open_hub();
    fern_process *process = spawn_with(&options, "test \"$WORD$(pwd)\" = fern/");
    CHECK_EQUAL(wait_for(process), 0);
    fern_process_free(process);
    close_hub();
}

/* ---- signals ---- */

TEST(terminate_kills_what_ignores_it)
{
    int code = 0;
    char line[8];
    open_hub();
    fern_process_options options = { .stdio = { [1] = { FERN_STDIO_PIPE, 0 } } };
    fern_process *process = spawn_with(&options, "trap '' TERM; echo ready; while :; do sleep 1; done");
    CHECK_EQUAL(fern_stream_read(fern_process_stream(process, 1), line, sizeof line, FERN_NEVER), 6);
    CHECK_EQUAL(fern_process_terminate(process, fern_now() + 0.02, FERN_NEVER, &code), 0);
    CHECK_EQUAL(code, -SIGKILL);
    fern_process_free(process);
    process = spawn("exec sleep 60");
    CHECK_EQUAL(fern_process_terminate(process, FERN_NEVER, FERN_NEVER, &code), 0);
    CHECK_EQUAL(code, -SIGTERM);
    fern_process_free(process);
    close_hub();
}

TEST(a_group_is_signalled_with_all_that_is_in_it)
{
    open_hub();
    fern_process_options options = { .stdio = { [1] = { FERN_STDIO_PIPE, 0 } }, .group = true };
    fern_process *process = spawn_with(&options, "sleep 60 & echo $!; wait");
    char line[32] = "", end;
    fern_stream *out = fern_process_stream(process, 1);
    CHECK(fern_stream_read(out, line, sizeof line - 1, FERN_NEVER) > 0);
    CHECK_EQUAL(fern_process_kill(process, SIGKILL), 0);
    CHECK_EQUAL(wait_for(process), -SIGKILL);
    CHECK_EQUAL(fern_stream_read(out, &end, 1, fern_now() + 20), 0);    /* the sleep's end, too */
    fern_process_free(process);
    close_hub();
}

/* ---- communicate ---- */

static char big[3 << 20];

TEST(communicate_reads_and_writes_more_than_the_pipes_hold)
{
    open_hub();
    memset(big, 'x', sizeof big);
    fern_process_options options = { 0 };
    for (int i = 0; i < 3; i++)
        options.stdio[i].kind = FERN_STDIO_PIPE;
    fern_process *process = spawn_with(&options, "tee /dev/stderr");
    fern_bytes out, err;
    int code = -1;
    CHECK_EQUAL(fern_process_communicate(process, big, sizeof big, SIZE_MAX, FERN_NEVER, &code,
                                         &out, &err), 0);
    CHECK_EQUAL(code, 0);
    CHECK_EQUAL(out.length, sizeof big);
    CHECK_EQUAL(err.length, sizeof big);
    CHECK(memcmp(out.data, big, sizeof big) == 0);
    fern_process_free(process);
    close_hub();
}

TEST(communicate_may_be_taken_up_again_after_its_deadline)
{
    open_hub();
    fern_process_options options = {
        .stdio = { { FERN_STDIO_PIPE, 0 }, { FERN_STDIO_PIPE, 0 }, { FERN_STDIO_INHERIT, 0 } },
    };
    fern_process *process = spawn_with(&options, "sleep 0.05; cat");
    fern_bytes out;
    int code = -1;
    CHECK_EQUAL(fern_process_communicate(process, big, sizeof big, SIZE_MAX, fern_now() + 0.005,
                                         &code, &out, NULL), -ETIMEDOUT);
    CHECK_EQUAL(fern_process_communicate(process, big, sizeof big, SIZE_MAX, FERN_NEVER,
                                         &code, &out, NULL), 0);
    CHECK_EQUAL(out.length, sizeof big);
    fern_process_free(process);
    close_hub();
}

TEST(communicate_does_not_take_more_than_was_said)
{
    open_hub();
    fern_process_options options = { .stdio = { [1] = { FERN_STDIO_PIPE, 0 } } };
    fern_process *process = spawn_with(&options, "yes");
    fern_bytes out;
    int code = -1;
    CHECK_EQUAL(fern_process_communicate(process, NULL, 0, 100000, FERN_NEVER, &code, &out, NULL),
                -EMSGSIZE);
    fern_process_free(process);         /* its pipe is gone: it ends by SIGPIPE */
    for (double until = fern_now() + 20; has_children() && fern_now() < until;)
        fern_sleep(fern_now() + 0.005);
    CHECK(!has_children());
    close_hub();
}

/* ---- fork ---- */

TEST(forks_a_child_with_a_hub_of_its_own)
{
#ifdef FERN_TSAN
    return;                     /* it does not follow what forks beside a fiber */
#endif
    open_hub();
    fern_process *process = NULL, *sleeper = spawn("exec sleep 60");
    int rc = fern_process_fork(&process);
    if (rc == 0) {
        int code, lost = fern_process_wait(sleeper, FERN_NEVER, &code);
        int seen = run("exit 5");
        _exit(lost == -ECHILD && seen == 5 && fern_process_kill(sleeper, SIGKILL) == -ESRCH ? 6 : 1);
    }
    CHECK_EQUAL(rc, 1);
    CHECK_EQUAL(wait_for(process), 6);
    CHECK_EQUAL(fern_process_kill(sleeper, SIGKILL), 0);
    CHECK_EQUAL(wait_for(sleeper), -SIGKILL);
    fern_process_free(sleeper);
    fern_process_free(process);
    close_hub();
}

/* ---- where there are no pidfds ---- */

static void forbid_pidfds(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static volatile sig_atomic_t others;

static void count_child(int number)
{
    (void)number;
    others++;
}

static void run_without_pidfds(void *arg)
{
    (void)arg;
    signal(SIGCHLD, count_child);
    open_hub();
    forbid_pidfds();
    CHECK_EQUAL(run("exit 3"), 3);
    fern_process *slow = spawn("exec sleep 60");
    CHECK_EQUAL(run("kill -KILL $$"), -SIGKILL);
    CHECK_EQUAL(fern_process_kill(slow, SIGTERM), 0);
    CHECK_EQUAL(wait_for(slow), -SIGTERM);
    fern_process_free(slow);
    CHECK(!has_children());
    CHECK(others > 0);
    close_hub();
    others = 0;
    raise(SIGCHLD);
    CHECK_EQUAL(others, 1);
}

TEST(where_there_are_no_pidfds_sigchld_tells_and_others_hear_it_too)
{
    struct test_child child;
    test_in_child(run_without_pidfds, NULL, &child);
    CHECK_EQUAL(child.status, 0);
}

TEST_MAIN

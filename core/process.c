/* SPDX-License-Identifier: MIT
   process: see the header. Whoever waits stands in the process's list; the hub's
   stack looks after a child when its pidfd has become readable, or, where there
   is none, after all of them at SIGCHLD. It is waited for by its number alone,
   and once: what the number means afterwards is nobody's business. */
#include "process.h"
#include "fern_signal.h"
#include "hub.h"
#include "source.h"
#include "wait.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BY_PIDFD = 3, TO_GROUP = 1 << 2 };       /* P_PIDFD, PIDFD_SIGNAL_PROCESS_GROUP */

/* Of one hub. */
struct processes {
    fern_hub *hub;
    fern_list running;
    fern_signal *child;         /* SIGCHLD; NULL until there is one without a pidfd */
};

static const char key;

static void describe(const void *object, char *buffer, size_t size)
{
    const fern_process *process = object;
    snprintf(buffer, size, "the end of process %d", (int)process->pid);
}

static const fern_wait_kind ending = { .name = "the end of a process", .describe = describe };

static int open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    errno = ENOSYS;
    (void)pid;
    return -1;
#endif
}

static int signal_pidfd(const fern_process *process, int number, unsigned flags)
{
#ifdef SYS_pidfd_send_signal
    if (process->pidfd >= 0)
        return syscall(SYS_pidfd_send_signal, process->pidfd, number, NULL, flags) < 0 ? -errno : 0;
#endif
    (void)process, (void)number, (void)flags;
    return -ENOSYS;
}

/* ---- its end ---- */

static void unref(fern_process *process)
{
    if (--process->refs > 0)
        return;
    if (process->pidfd >= 0)
        close(process->pidfd);
    free(process);
}

static void unwatch(fern_process *process)
{
    if (process->watch)
        fern_watch_close(process->watch);
    process->watch = NULL;
    fern_list_remove(&process->node);
}

static void ended(fern_process *process, int rc, int code)
{
    process->ended = true;
    process->rc = rc;
    process->code = code;
    unwatch(process);
    fern_wake_all(&process->waiters, 0);
    fern_source_tell(process, process->watched);
    unref(process);
}

/* Reap it if it has ended. */
static void look_after(fern_process *process)
{
    siginfo_t info = { 0 };
    idtype_t how = process->pidfd >= 0 ? (idtype_t)BY_PIDFD : P_PID;
    id_t which = (id_t)(process->pidfd >= 0 ? process->pidfd : process->pid);
    int rc;
    do
        rc = waitid(how, which, &info, WEXITED | WNOHANG);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        ended(process, -ECHILD, 0);
    else if (info.si_pid)
        ended(process, 0, info.si_code == CLD_EXITED ? info.si_status : -info.si_status);
}

static void on_end(int fd, int events, void *arg)
{
    (void)fd;
    (void)events;
    look_after(arg);
}

/* SIGCHLD does not say whose. */
static void look_after_all(void *arg)
{
    struct processes *all = arg;
    fern_list *node = all->running.next, *next;
    for (; node != &all->running; node = next) {
        next = node->next;
        look_after(fern_list_entry(node, fern_process, node));
    }
}

/* ---- those of a hub ---- */

static void close_all(void *arg)
{
    struct processes *all = arg;
    fern_list *node;
    look_after_all(all);
    if (all->child)
        fern_signal_close(all->child);
    while ((node = fern_list_take(&all->running))) {
        fern_process *process = fern_list_entry(node, fern_process, node);
        process->all = NULL;
        ended(process, -ECHILD, 0);
    }
    free(all);
}

/* In a forked child: they are the parent's children. */
static void forget_all(void *arg)
{
    struct processes *all = arg;
    fern_list *node;
    if (all->child)
        fern_signal_close(all->child);
    all->child = NULL;
    while ((node = fern_list_take(&all->running))) {
        fern_process *process = fern_list_entry(node, fern_process, node);
        process->holds = 0;
        process->leads = false;
        ended(process, -ECHILD, 0);
    }
}

static int get_all(struct processes **out)
{
    fern_hub *hub = fern_hub_here;
    if (!hub)
        return -EDEADLK;
    int rc = fern_hub_renew(hub);
    if (rc < 0)
        return rc;
    struct processes *all = *out = fern_hub_kept(hub, &key);
    if (all)
        return 0;
    all = calloc(1, sizeof *all);
    if (!all)
        return -ENOMEM;
    rc = fern_hub_keep(hub, &key, all, close_all);
    if (rc < 0) {
        free(all);
        return rc;
    }
    (void)fern_hub_on_fork(hub, &key, forget_all);
    all->hub = hub;
    fern_list_init(&all->running);
    *out = all;
    return 0;
}

/* ---- its beginning ---- */

static int watch_signal(struct processes *all)
{
    return all->child ? 0 : fern_signal_call(SIGCHLD, look_after_all, all, &all->child);
}

/* By the pidfd, or else by SIGCHLD, which may have come already. */
static int watch(fern_process *process)
{
    if (process->pidfd >= 0 && fern_watch_open(process->pidfd, FERN_READ, on_end, process,
                                               &process->watch) == 0) {
        fern_watch_about(process->watch, "a process", NULL);
        return 0;
    }
    process->watch = NULL;
    int rc = watch_signal(process->all);
    if (rc == 0)
        look_after(process);
    return rc;
}

static void kill_child(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int new_process(struct processes *all, fern_process **out)
{
    fern_process *process = calloc(1, sizeof *process);
    if (!process)
        return -ENOMEM;
    process->all = all;
    process->pidfd = -1;
    process->refs = 2;          /* the caller's, and the list's */
    fern_list_init(&process->waiters);
    fern_list_init(&process->node);
    *out = process;
    return 0;
}

/* The child runs: notice its end. */
static int adopt(fern_process *process, pid_t pid, bool leads)
{
    process->pid = pid;
    process->leads = leads;
    process->pidfd = open_pidfd(pid);
    fern_list_append(&process->all->running, &process->node);
    int rc = watch(process);
    if (rc < 0) {
        kill_child(pid);
        unwatch(process);
    }
    return rc;
}

static int open_streams(fern_process *process, int ends[3])
{
    int rc = 0;
    for (int number = 0; rc == 0 && number < 3; number++) {
        if (ends[number] < 0)
            continue;
        rc = fern_stream_open(ends[number], &process->streams[number]);
        if (rc == 0)
            ends[number] = -1;
    }
    return rc;
}

static void close_ends(const int ends[3])
{
    for (int number = 0; number < 3; number++)
        if (ends[number] >= 0)
            close(ends[number]);
}

static void close_streams(fern_process *process)
{
    for (int number = 0; number < 3; number++) {
        fern_stream *stream = fern_process_take(process, number);
        if (stream)
            fern_stream_close(stream);
    }
}

int fern_process_spawn(const fern_process_options *options, fern_process **out)
{
    struct processes *all;
    fern_process *process = NULL;
    int ends[3] = { -1, -1, -1 };
    int rc = get_all(&all);
    if (rc == 0)
        rc = new_process(all, &process);
    if (rc < 0)
        return rc;
    pid_t pid = fern_process_launch(options, ends);
    if (pid < 0) {
        free(process);
        return pid;
    }
    rc = open_streams(process, ends);
    if (rc < 0)
        kill_child(pid);
    else
        rc = adopt(process, pid, options->group || options->session);
    if (rc < 0)
        goto free_process;
    *out = process;
    return 0;

free_process:
    close_ends(ends);
    close_streams(process);
    process->refs = 1;
    unref(process);
    return rc;
}

int fern_process_fork(fern_process **out)
{
    struct processes *all;
    fern_process *process = NULL;
    int rc = get_all(&all);
    if (rc == 0)
        rc = new_process(all, &process);
    if (rc < 0)
        return rc;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        rc = -errno;
        free(process);
        return rc;
    }
    if (pid == 0) {
        free(process);
        if (fern_hub_renew(fern_hub_here) < 0)
            _exit(127);
        return 0;
    }
    rc = adopt(process, pid, false);
    if (rc < 0) {
        process->refs = 1;
        unref(process);
        return rc;
    }
    *out = process;
    return 1;
}

void fern_process_free(fern_process *process)
{
    close_streams(process);
    unref(process);
}

/* ---- waiting ---- */

int fern_process_poll(const fern_process *process, int *code)
{
    if (!process->ended)
        return -EAGAIN;
    if (process->rc == 0)
        *code = process->code;
    return process->rc;
}

static int wait_for_end(fern_process *process, double deadline)
{
    fern_hub *hub = fern_hub_here;
    int rc = hub ? fern_hub_renew(hub) : -EDEADLK;
    if (rc < 0)
        return rc;
    if (process->ended)
        return fern_heed_interrupts();
    process->refs++;
    fern_hub_hold(hub);
    rc = fern_wait(&process->waiters, &ending, process, deadline);
    fern_hub_unhold(hub);
    unref(process);
    return rc;
}

int fern_process_wait(fern_process *process, double deadline, int *code)
{
    process->refs++;            /* it may be freed meanwhile */
    int rc = wait_for_end(process, deadline);
    if (rc == 0)
        rc = fern_process_poll(process, code);
    unref(process);
    return rc;
}

static bool has_ended(const void *object)
{
    return ((const fern_process *)object)->ended;
}

/* A deadlock is none while somebody waits for it among others. */
static void hold(void *object, bool more)
{
    fern_process *process = object;
    fern_hub *hub = fern_hub_here;
    if (!hub || (!more && !process->holds))
        return;
    process->holds += more ? 1u : -1u;
    if (more)
        fern_hub_hold(hub);
    else
        fern_hub_unhold(hub);
}

fern_source fern_process_source(fern_process *process)
{
    static const struct fern_source_kind kind = {
        .ready = has_ended, .watched = offsetof(fern_process, watched), .hold = hold,
    };
    return (fern_source){ &kind, process };
}

/* ---- signals ---- */

/* Once it is reaped only the system can tell whose group this number is. */
static int kill_group(const fern_process *process, int number)
{
    int rc = signal_pidfd(process, number, TO_GROUP);
    if (rc != -EINVAL && rc != -ENOSYS)
        return rc;
    if (process->ended)
        return -ESRCH;
    return kill(-process->pid, number) < 0 ? -errno : 0;
}

int fern_process_kill(fern_process *process, int number)
{
    if (process->leads)
        return kill_group(process, number);
    if (process->ended)
        return -ESRCH;
    int rc = signal_pidfd(process, number, 0);
    if (rc != -ENOSYS)
        return rc;
    return kill(process->pid, number) < 0 ? -errno : 0;
}

int fern_process_terminate(fern_process *process, double grace, double deadline, int *code)
{
    double first = grace < deadline ? grace : deadline;
    process->refs++;            /* it may be freed meanwhile */
    (void)fern_process_kill(process, SIGTERM);
    int rc = fern_process_wait(process, first, code);
    if (rc == -ETIMEDOUT && !fern_thread_interrupted() && first < deadline) {
        (void)fern_process_kill(process, SIGKILL);
        rc = fern_process_wait(process, deadline, code);
    }
    unref(process);
    return rc;
}

/* ---- the rest ---- */

pid_t fern_process_pid(const fern_process *process)
{
    return process->pid;
}

fern_stream *fern_process_stream(const fern_process *process, int number)
{
    return number >= 0 && number < 3 ? process->streams[number] : NULL;
}

fern_stream *fern_process_take(fern_process *process, int number)
{
    fern_stream *stream = fern_process_stream(process, number);
    if (stream)
        process->streams[number] = NULL;
    return stream;
}

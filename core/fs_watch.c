/* SPDX-License-Identifier: MIT
   fs_watch: what happens in a directory, told by inotify, which is a descriptor like
   any other; each watch has its own. Only finding the path takes an OS thread. */
#include "fs.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

const char *fern_fs_what_name(fern_fs_what what)
{
    static const char *const names[] = {
        [FERN_FS_CREATED] = "created", [FERN_FS_CHANGED] = "changed",
        [FERN_FS_WRITTEN] = "written", [FERN_FS_ATTRIBUTES] = "attributes",
        [FERN_FS_REMOVED] = "removed", [FERN_FS_MOVED_FROM] = "moved_from",
        [FERN_FS_MOVED_TO] = "moved_to", [FERN_FS_GONE] = "gone", [FERN_FS_MOVED] = "moved",
        [FERN_FS_OVERFLOW] = "overflow",
    };
    return names[what];
}

#ifdef __linux__
#include <sys/inotify.h>

enum { BUFFER = 8192 };         /* some hundred events; the longest has 272 bytes */

struct fern_fs_watch {
    fern_io *io;                /* NULL once closed */
    size_t next, end;           /* of what was read */
    int refs;                   /* the owner, and who waits */
    bool gone;
    _Alignas(struct inotify_event) char buffer[BUFFER];
};

static int run_watch(fern_fs_call *call)
{
    static const uint32_t mask = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE |
        IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_EXCL_UNLINK;
    call->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (call->fd < 0 || inotify_add_watch(call->fd, call->path, mask) < 0)
        return fern_fs_error();
    return 0;
}

int fern_fs_watch_open(const char *path, double deadline, fern_fs_watch **out)
{
    fern_fs_watch *watch = calloc(1, sizeof *watch);
    fern_fs_call *call = fern_fs_call_new("watch", run_watch, path, NULL, 0);
    int rc = watch ? 0 : -ENOMEM;
    if (rc == 0)
        rc = fern_fs_perform(&call, deadline);
    if (rc == 0)
        rc = call->rc;
    if (rc == 0)
        rc = fern_io_open(call->fd, &watch->io);
    if (rc == 0)
        call->fd = -1;
    fern_fs_call_free(call);
    if (rc < 0) {
        free(watch);
        return rc;
    }
    watch->refs = 1;
    *out = watch;
    return 0;
}

static void unref(fern_fs_watch *watch)
{
    if (--watch->refs == 0)
        free(watch);
}

void fern_fs_watch_close(fern_fs_watch *watch)
{
    fern_io *io = watch->io;
    watch->io = NULL;
    fern_io_close(io);
    unref(watch);
}

/* Parks. The buffer is empty meanwhile, and filled without another wait. */
static int fetch(fern_fs_watch *watch, double deadline)
{
    watch->refs++;
    ssize_t count = fern_io_read(watch->io, watch->buffer, BUFFER, deadline);
    if (count > 0) {
        watch->next = 0;
        watch->end = (size_t)count;
    }
    unref(watch);
    return count < 0 ? (int)count : 0;
}

static int what_of(uint32_t mask)
{
    static const struct {
        uint32_t mask;
        fern_fs_what what;
    } table[] = {
        { IN_CREATE, FERN_FS_CREATED }, { IN_MODIFY, FERN_FS_CHANGED },
        { IN_CLOSE_WRITE, FERN_FS_WRITTEN }, { IN_ATTRIB, FERN_FS_ATTRIBUTES },
        { IN_DELETE, FERN_FS_REMOVED }, { IN_MOVED_FROM, FERN_FS_MOVED_FROM },
        { IN_MOVED_TO, FERN_FS_MOVED_TO }, { IN_MOVE_SELF, FERN_FS_MOVED },
        { IN_IGNORED, FERN_FS_GONE }, { IN_Q_OVERFLOW, FERN_FS_OVERFLOW },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (mask & table[i].mask)
            return (int)table[i].what;
    return -1;                  /* what comes before IN_IGNORED, in other words */
}

/* The next one of the buffer that means anything: 1; or 0. */
static int take(fern_fs_watch *watch, fern_fs_event *out)
{
    while (watch->next < watch->end) {
        struct inotify_event *event = (void *)(watch->buffer + watch->next);
        int what = what_of(event->mask);
        watch->next += sizeof *event + event->len;
        if (what < 0)
            continue;
        *out = (fern_fs_event){
            .what = (fern_fs_what)what, .name = event->len ? event->name : NULL,
            .directory = event->mask & IN_ISDIR, .cookie = event->cookie,
        };
        watch->gone = what == FERN_FS_GONE;
        return 1;
    }
    return 0;
}

int fern_fs_watch_next(fern_fs_watch *watch, double deadline, fern_fs_event *out)
{
    while (!take(watch, out)) {
        if (watch->gone)
            return fern_fs_begin(FERN_NEVER);
        int rc = fetch(watch, deadline);
        if (rc < 0)
            return rc;
    }
    return 1;
}

#else

int fern_fs_watch_open(const char *path, double deadline, fern_fs_watch **out)
{
    (void)path, (void)deadline, (void)out;
    int rc = fern_yield();
    return rc < 0 ? rc : -ENOSYS;
}

int fern_fs_watch_next(fern_fs_watch *watch, double deadline, fern_fs_event *out)
{
    (void)watch, (void)deadline, (void)out;
    return -ENOSYS;
}

void fern_fs_watch_close(fern_fs_watch *watch)
{
    (void)watch;
}

#endif

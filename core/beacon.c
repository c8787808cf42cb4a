/* SPDX-License-Identifier: MIT
   beacon: see the header. */
#define _GNU_SOURCE             /* dup3 */
#include "beacon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

/* ---- the system's part: each returns -errno ---- */

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { PUT = EPOLL_CTL_ADD, CHANGE = EPOLL_CTL_MOD, TAKE = EPOLL_CTL_DEL };

static int new_set(void)
{
    int set = epoll_create1(EPOLL_CLOEXEC);
    return set < 0 ? -errno : set;
}

static int new_bell(void)
{
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return bell < 0 ? -errno : bell;
}

static int control(int set, int how, int fd)
{
    struct epoll_event event = { .events = EPOLLIN };
    return epoll_ctl(set, how, fd, &event) < 0 ? -errno : 0;
}

static int give_number(int fd, int number)
{
    return dup3(fd, number, O_CLOEXEC) < 0 ? -errno : 0;
}
#else
enum { PUT, CHANGE, TAKE };

static int new_set(void)
{
    return -ENOTSUP;
}

static int new_bell(void)
{
    return -ENOTSUP;
}

static int control(int set, int how, int fd)
{
    return (void)set, (void)how, (void)fd, -ENOTSUP;
}

static int give_number(int fd, int number)
{
    return (void)fd, (void)number, -ENOTSUP;
}
#endif

/* ---- ours ---- */

int fern_beacon_open(fern_beacon *beacon)
{
    int set = new_set();
    if (set < 0)
        return set;
    int bell = new_bell();
    if (bell < 0) {
        close(set);
        return bell;
    }
    *beacon = (fern_beacon){ .set = set, .bell = bell, .shown = -1 };
    return 0;
}

void fern_beacon_close(fern_beacon *beacon)
{
    close(beacon->set);
    close(beacon->bell);
}

int fern_beacon_forked(fern_beacon *beacon)
{
    fern_beacon fresh;
    int rc = fern_beacon_open(&fresh);
    if (rc < 0)
        return rc;
    rc = give_number(fresh.bell, beacon->bell);
    if (rc == 0)
        rc = give_number(fresh.set, beacon->set);
    if (rc == 0)
        beacon->shown = -1;
    fern_beacon_close(&fresh);
    return rc;
}

int fern_beacon_show(fern_beacon *beacon, int fd)
{
    fern_beacon_hide(beacon);
    int rc = control(beacon->set, PUT, fd);
    if (rc == 0)
        beacon->shown = fd;
    return rc;
}

void fern_beacon_hide(fern_beacon *beacon)
{
    if (beacon->shown >= 0)
        control(beacon->set, TAKE, beacon->shown);
    beacon->shown = -1;
}

bool fern_beacon_shines(const fern_beacon *beacon)
{
    struct pollfd one = { .fd = beacon->set, .events = POLLIN };
    return poll(&one, 1, 0) > 0;
}

void fern_beacon_ring(const fern_beacon *beacon)
{
    int error = errno;
    uint64_t one = 1;
    ssize_t rc = write(beacon->bell, &one, sizeof one);     /* fails only if it rings already */
    (void)rc;
    errno = error;
}

void fern_beacon_quiet(const fern_beacon *beacon)
{
    uint64_t times;
    ssize_t rc = read(beacon->bell, &times, sizeof times);
    (void)rc;
}

/* Nothing stands in the set but what is shown, so this changes nothing. */
int fern_beacon_probe(const fern_beacon *beacon, int fd)
{
    int rc = control(beacon->set, CHANGE, fd);
    if (rc == 0 || rc == -ENOENT)
        return 0;
    return rc == -EPERM || rc == -EINVAL ? rc : -EBADF;
}

bool fern_beacon_circular(int set, int fd)
{
    int rc = control(set, PUT, fd);
    if (rc == 0)
        control(set, TAKE, fd);
    return rc == -EINVAL || rc == -ELOOP;
}

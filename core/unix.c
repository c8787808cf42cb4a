/* SPDX-License-Identifier: MIT
   unix: sockets of this machine. A listener's file is told from another one of the
   same path by its device and inode: what we did not make is not ours to remove. */
#include "fern_address.h"
#include "io.h"
#include "socket.h"
#include "unix.h"
#include "wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int fern_unix_peer(int fd, fern_credentials *out)
{
    struct ucred {              /* the system's, which only _GNU_SOURCE shows */
        pid_t pid;
        uid_t uid;
        gid_t gid;
    } found;
    socklen_t size = sizeof found;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &found, &size) < 0)
        return -errno;
    *out = (fern_credentials){ .pid = found.pid, .uid = found.uid, .gid = found.gid };
    return 0;
}

/* ---- the file of a listener ---- */

struct file {
    dev_t device;
    ino_t inode;
    pid_t maker;                /* a forked child's copy is not the listener's end */
    char path[sizeof ((struct sockaddr_un *)0)->sun_path];
};

static bool is_same(const char *path, const struct stat *file)
{
    struct stat now;
    return lstat(path, &now) == 0 && now.st_dev == file->st_dev && now.st_ino == file->st_ino;
}

static void remove_file(void *arg)
{
    struct file *file = arg;
    struct stat made = { .st_dev = file->device, .st_ino = file->inode };
    if (file->maker == getpid() && is_same(file->path, &made))
        unlink(file->path);
    free(file);
}

int fern_unix_own_file(fern_io *io, const char *path)
{
    struct stat made;
    if (path[0] == '@')
        return 0;
    if (lstat(path, &made) < 0)
        return -errno;
    struct file *file = malloc(sizeof *file);
    if (!file)
        return -ENOMEM;
    *file = (struct file){ .device = made.st_dev, .inode = made.st_ino, .maker = getpid() };
    snprintf(file->path, sizeof file->path, "%s", path);
    fern_io_at_close(io, remove_file, file);
    return 0;
}

/* ---- listen ---- */

/* Does the socket's file belong to nobody any more? A datagram socket asks: whoever
   listens there is told nothing of it. */
static bool is_stale(const fern_address *address)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool stale = fd >= 0 && connect(fd, fern_address_raw(address), address->length) < 0 &&
                 errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

/* Two who do this at the same moment can still take the path from one another. */
static void remove_stale(const char *path, const fern_address *address)
{
    struct stat found;
    if (lstat(path, &found) == 0 && S_ISSOCK(found.st_mode) && is_stale(address) &&
        is_same(path, &found))
        unlink(path);
}

/* "@" alone: without a name the system finds one. */
static int to_address(const char *path, fern_address *out)
{
    if (strcmp(path, "@") != 0)
        return fern_address_unix(path, strlen(path), out);
    *out = (fern_address){ .length = sizeof(sa_family_t), .storage.ss_family = AF_UNIX };
    return 0;
}

static int bind_to(int fd, const char *path, const fern_listen_options *options)
{
    fern_address address;
    int rc = to_address(path, &address);
    if (rc < 0)
        return rc;
    if (path[0] != '@' && options->unlink)
        remove_stale(path, &address);
    return bind(fd, fern_address_raw(&address), address.length) < 0 ? -errno : 0;
}

/* The file is there but lets nobody in before listen: time to set its mode. */
static int start(int fd, const char *path, const fern_listen_options *options)
{
    if (path[0] != '@' && options->mode && chmod(path, (mode_t)options->mode) < 0)
        return -errno;
    return fern_socket_listen(fd, options->backlog);
}

static int open_at(int fd, const char *path, const fern_listen_options *options, fern_io **out)
{
    fern_io *io;
    int rc = fern_socket_own(fd, &io);
    if (rc == 0) {
        rc = fern_unix_own_file(io, path);
        if (rc == 0) {
            *out = io;
            return start(fd, path, options);
        }
        fern_io_close(io);
    }
    if (path[0] != '@')
        unlink(path);           /* we have just made it */
    return rc;
}

int fern_unix_listen(const char *path, const fern_listen_options *options, fern_io **out)
{
    static const fern_listen_options none;
    fern_io *io = NULL;
    if (!options)
        options = &none;
    if (!fern_hub_current())
        return -EDEADLK;
    int fd = fern_socket_open(AF_UNIX);
    if (fd < 0)
        return fd;
    int rc = fern_socket_set_all(fd, options->settings, options->settings_count);
    if (rc == 0)
        rc = bind_to(fd, path, options);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    rc = open_at(fd, path, options, &io);
    if (rc == 0)
        *out = io;
    else if (io)
        fern_io_close(io);
    return rc;
}

/* ---- connect ---- */

/* Parks. A listener whose queue is full says so at once, and there is nothing to wait
   for: asked again after a while, that is what others do, too. */
static int connect_patiently(int fd, const fern_address *address, double deadline)
{
    for (double pause = 0.001;; pause = pause < 0.05 ? pause * 2 : pause) {
        if (connect(fd, fern_address_raw(address), address->length) == 0)
            return 0;
        if (errno != EAGAIN)
            return -errno;
        double now = fern_now();
        if (now >= deadline)
            return -ETIMEDOUT;
        int rc = fern_sleep(now + pause < deadline ? now + pause : deadline);
        if (rc < 0)
            return rc;
    }
}

int fern_unix_connect(const char *path, double deadline, fern_io **out)
{
    fern_address address = { 0 };
    int rc = fern_breathe();
    if (rc == 0)
        rc = fern_address_unix(path, strlen(path), &address);
    if (rc < 0)
        return rc;
    fern_io *io;
    int fd = fern_socket_open(AF_UNIX);
    rc = fd < 0 ? fd : fern_socket_own(fd, &io);
    if (rc < 0)
        return rc;
    rc = connect_patiently(fd, &address, deadline);
    if (rc < 0)
        fern_io_close(io);
    else
        *out = io;
    return rc;
}

int fern_unix_pair(fern_io *out[2])
{
    int fds[2];
    fern_io *first;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    int rc = fern_socket_own(fds[0], &first);
    if (rc < 0) {
        close(fds[1]);
        return rc;
    }
    rc = fern_socket_own(fds[1], &out[1]);
    if (rc < 0) {
        fern_io_close(first);
        return rc;
    }
    out[0] = first;
    return 0;
}

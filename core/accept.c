/* SPDX-License-Identifier: MIT
   accept: connections come from the system's queue and stay there until somebody
   wants one: another process that listens may have them as well. The call comes
   first, and the wait only when the queue is empty: one wake brings all there are. */
#define _GNU_SOURCE             /* accept4 */
#include "fern_net.h"
#include "io.h"
#include "socket.h"

#include <errno.h>
#include <sys/socket.h>

bool fern_listens(int fd)
{
    int listens = 0, type = 0;
    socklen_t size = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* Errors of one connection that was lost while it stood in the queue: the
   listener is none the worse. */
static bool lost_one(int error)
{
    switch (error) {
    case ECONNABORTED: case EPROTO: case ENOPROTOOPT: case ENETDOWN: case ENETUNREACH:
    case EHOSTDOWN: case EHOSTUNREACH: case EINTR:
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

int fern_accept(fern_io *listener, double deadline, fern_io **out)
{
    int rc = fern_io_breathe(listener);
    while (rc == 0) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fern_socket_own(fd, out);
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            rc = fern_io_wait(listener, FERN_READ, deadline);
        else if (!lost_one(errno))
            rc = -errno;
    }
    return rc;
}

/* SPDX-License-Identifier: MIT
   error: messages are static and lower case. strerrorname_np would need
   glibc 2.32, so the names stand here: those that programs meet. */
#define _GNU_SOURCE             /* EAI_NODATA, EAI_ADDRFAMILY */
#include "error.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

struct entry {
    int code;
    const char *name, *message;
};

#define E(code, message) { -(code), #code, message }
#define EAI(code, message) { FERN_EAI - (code < 0 ? -(code) : code), #code, message }

static const struct entry entries[] = {
    E(EPERM, "operation not permitted"),
    E(ENOENT, "no such file or directory"),
    E(ESRCH, "no such process"),
    E(EINTR, "interrupted"),
    E(EIO, "input/output error"),
    E(E2BIG, "argument list too long"),
    E(ENOEXEC, "no program that the system can run"),
    E(EBADF, "bad file descriptor"),
    E(ECHILD, "no such child process"),
    E(EAGAIN, "temporarily unavailable"),
    E(ENOMEM, "not enough memory"),
    E(EACCES, "permission denied"),
    E(EFAULT, "bad address"),
    E(EBUSY, "already in use by another thread"),
    E(EEXIST, "file exists"),
    E(EXDEV, "on another device"),
    E(ENXIO, "no such device or address"),
    E(ENOTBLK, "not a block device"),
    E(ENODEV, "no such device"),
    E(ENOTDIR, "not a directory"),
    E(EISDIR, "is a directory"),
    E(EINVAL, "invalid argument"),
    E(ENFILE, "too many open files in the system"),
    E(EMFILE, "too many open files"),
    E(ENOTTY, "not a terminal"),
    E(ETXTBSY, "text file busy"),
    E(EFBIG, "file too large"),
    E(ENOSPC, "no space left on device"),
    E(ESPIPE, "illegal seek"),
    E(EROFS, "read-only file system"),
    E(EMLINK, "too many links"),
    E(EPIPE, "closed"),
    E(EDOM, "argument out of domain"),
    E(ERANGE, "result out of range"),
    E(EDEADLK, "deadlock"),
    E(ENAMETOOLONG, "name too long"),
    E(ENOLCK, "no locks available"),
    E(ENOSYS, "not implemented by the system"),
    E(ENOTEMPTY, "directory not empty"),
    E(ELOOP, "too many levels of symbolic links"),
    E(EPROTO, "protocol error"),
    E(EBADMSG, "bad message"),
    E(ENODATA, "less data than asked for"),
    E(EOVERFLOW, "value too large"),
    E(EILSEQ, "invalid byte sequence"),
    E(ENOTSOCK, "not a socket"),
    E(EDESTADDRREQ, "destination address required"),
    E(EMSGSIZE, "message too long"),
    E(EPROTOTYPE, "wrong protocol type for socket"),
    E(ENOPROTOOPT, "protocol not available"),
    E(EPROTONOSUPPORT, "protocol not supported"),
    E(EOPNOTSUPP, "operation not supported"),
    E(EAFNOSUPPORT, "address family not supported"),
    E(EADDRINUSE, "address already in use"),
    E(EADDRNOTAVAIL, "address not available"),
    E(ENETDOWN, "network is down"),
    E(ENETUNREACH, "network is unreachable"),
    E(ECONNABORTED, "connection aborted"),
    E(ECONNRESET, "connection reset by peer"),
    E(ENOBUFS, "no buffer space available"),
    E(EISCONN, "already connected"),
    E(ENOTCONN, "not connected"),
    E(ESHUTDOWN, "shut down"),
    E(ETIMEDOUT, "timeout"),
    E(ECONNREFUSED, "connection refused"),
    E(EHOSTDOWN, "host is down"),
    E(EHOSTUNREACH, "no route to host"),
    E(EALREADY, "already in progress"),
    E(EINPROGRESS, "in progress"),
    E(ESTALE, "stale file handle"),
    E(EDQUOT, "disk quota exceeded"),
    E(EOWNERDEAD, "left locked by a thread that has ended"),
    E(ECANCELED, "killed"),
    EAI(EAI_AGAIN, "temporary failure in name resolution"),
    EAI(EAI_BADFLAGS, "bad flags for name resolution"),
    EAI(EAI_FAIL, "name resolution failed"),
    EAI(EAI_FAMILY, "address family not supported for the name"),
    EAI(EAI_MEMORY, "not enough memory for name resolution"),
    EAI(EAI_NONAME, "name or service not known"),
    EAI(EAI_SERVICE, "service not known"),
    EAI(EAI_SOCKTYPE, "socket type not supported"),
    EAI(EAI_OVERFLOW, "name too long"),
#ifdef EAI_NODATA
    EAI(EAI_NODATA, "no address for the name"),
#endif
#ifdef EAI_ADDRFAMILY
    EAI(EAI_ADDRFAMILY, "no address of that family for the name"),
#endif
    { FERN_ETLS, "ETLS", "TLS failure" },
    { FERN_EPROTO_HTTP, "EPROTO", "not a valid answer" },
    { FERN_ERAISED, "ERAISED", "an error was raised" },
    { FERN_EREDIRECTS, "EREDIRECTS", "too many redirects" },
    { FERN_EDEPENDENCY, "EDEPENDENCY", "what it depends on has failed" },
};

static const struct entry *find(int rc)
{
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (entries[i].code == rc)
            return &entries[i];
    return NULL;
}

const char *fern_error_name(int rc)
{
    const struct entry *entry = find(rc);
    return entry ? entry->name : "EUNKNOWN";
}

const char *fern_error_message(int rc)
{
    const struct entry *entry = find(rc);
    return entry ? entry->message : rc < 0 ? "unknown error" : "no error";
}

int fern_error_from_eai(int eai, int err)
{
    if (eai == 0)
        return 0;
    if (eai == EAI_SYSTEM)
        return err ? -err : -EIO;
    return FERN_EAI - (eai < 0 ? -eai : eai);
}

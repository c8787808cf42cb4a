/* SPDX-License-Identifier: MIT
   fern_address: an address of a socket, from text and to text. Nothing here looks
   anything up, or parks. */
#ifndef FERN_ADDRESS_H
#define FERN_ADDRESS_H

#include "fern.h"

#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An address of IPv4, IPv6, or of a Unix socket. */
typedef struct fern_address {
    socklen_t length;
    struct sockaddr_storage storage;
} fern_address;

/* The same, as the system's calls want it. */
#define fern_address_raw(address) ((struct sockaddr *)(void *)&(address)->storage)

/* From digits ("192.0.2.1", "::1", "fe80::1%eth0"): 0, or -EINVAL for what is no
   such address, or no port. */
FERN_API int fern_address_parse(const char *host, int port, fern_address *out);

/* From the path of a Unix socket, of `length` bytes; one that begins with '@' or a
   zero is of the abstract kind: 0, or -EINVAL for an empty path, one that is too
   long, or has a zero in it. */
FERN_API int fern_address_unix(const char *path, size_t length, fern_address *out);

/* As a text that the calls above take: digits, or a path ("@..." of the abstract
   kind, "" of a socket that has no name), with *port (-1 of a Unix socket). IPv4
   within IPv6 is told as IPv4. *length, if not NULL, has the text's length: an
   abstract name may contain zeros. Returns 0, -EAFNOSUPPORT, or -ENOSPC: 128
   bytes are always enough. */
FERN_API int fern_address_text(const fern_address *address, char *text, size_t size,
                               size_t *length, int *port);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT
   fern_resolve: names to addresses and back. The system's resolver blocks, so it
   runs on the offload pool: its configuration (hosts, nsswitch, resolv.conf) is
   honoured. What is in numbers takes no detour. Whoever waits may leave at any
   time; the others wait on. Part of fern.h. */
#ifndef FERN_RESOLVE_H
#define FERN_RESOLVE_H

#include "fern.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parks. getaddrinfo. `hints` may be NULL, and so may one of `host` and `service`.
   An answer is kept for a while (see fern_resolve_keep), failures are not; those who
   ask for the same at the same time share one look-up. A look-up that has begun and
   that all have left goes on, for the next who asks.
   On 0 free *out with fern_resolve_free. Returns 0, FERN_EAI - n, -ENOMEM, or an
   error of every wait. A service in digits above 65535 is none: EAI_SERVICE. What
   is in numbers needs no green thread, nor a hub. */
FERN_API int fern_resolve(const char *host, const char *service,
                          const struct addrinfo *hints, double deadline,
                          struct addrinfo **out);
FERN_API void fern_resolve_free(struct addrinfo *found);

/* Parks. The name of an address, see fern_address.h; FERN_EAI - n for EAI_NONAME if
   it has none, -ENOSPC if it is no shorter than `size` (NI_MAXHOST is enough), or
   as fern_resolve. Nothing is kept. */
struct fern_address;
FERN_API int fern_reverse(const struct fern_address *address, char *name, size_t size,
                          double deadline);

/* Keep answers on this hub for `seconds` (5 unless told; 0: not at all), and no
   more than `most` (256 unless told); those that are there, no longer than that from
   now. Returns 0, -EDEADLK without a hub, -ENOMEM. */
FERN_API int fern_resolve_keep(double seconds, size_t most);

/* Forget all answers, those of look-ups that are under way too. */
FERN_API void fern_resolve_flush(void);

#ifdef __cplusplus
}
#endif

#endif

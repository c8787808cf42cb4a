/* SPDX-License-Identifier: MIT
   report: nothing vanishes. A thread's error that nobody has asked for within
   a second, or when the hub closes, is told in a green thread: to the host,
   to the hub's on_error, or on stderr. */
#ifndef FERN_REPORT_H
#define FERN_REPORT_H

#include "hub.h"

/* `thread` has failed and nobody waits for it. */
void fern_report_later(fern_hub *hub, fern_thread *thread);

/* Its second begins anew now. */
void fern_report_put_off(fern_thread *thread);

/* Somebody has asked for the error of `thread` after all. */
void fern_report_cancel(fern_thread *thread);

/* Tell of the errors that are old enough, or of all, in a green thread. */
void fern_report_unasked(fern_hub *hub, bool all);

/* The hub closes, and there was no time or no memory for that: tell of those
   that are left here and now. */
void fern_report_now(fern_hub *hub);

/* Let go of those that are left. */
void fern_report_forget(fern_hub *hub);

/* Write "#17 'worker'", NUL-ended, async-signal-safe; returns its length. */
size_t fern_report_name(const fern_thread *thread, char *buffer, size_t size);
size_t fern_report_copy(char *buffer, size_t size, const char *text);

#endif

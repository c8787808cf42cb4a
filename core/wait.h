/* SPDX-License-Identifier: MIT
   wait: parking, and every way out of it. Whatever a thread can wait for
   keeps a fern_list of waiters; the node lives in the fern_thread, never on
   its stack. fern_wake takes it out of that list and off its timer, so every
   way out (woken, deadline, kill, an enclosing limit, a closed object)
   unlinks. */
#ifndef FERN_WAIT_H
#define FERN_WAIT_H

#include "fern.h"
#include "list.h"

/* What a wait is, for reports and for the rules of interrupts. */
typedef struct fern_wait_kind {
    const char *name;           /* "sleep", "a slot of a pool" */
    /* Being woken with success hands something over (an item, a slot): an
       interrupt that comes before the thread runs waits for its next parking
       call, so that what was handed is never lost. */
    bool hands_over;
    bool joins;                 /* waits for other threads to end */
    /* Joins which one first; NULL: the object is the thread. */
    const fern_thread *(*joined)(const void *object);
    /* Writes more than `name`, or NULL. */
    void (*describe)(const void *object, char *buffer, size_t size);
} fern_wait_kind;

/* Parks. Wait in `waiters` (NULL: in no list) until fern_wake.
   Returns what fern_wake said; -ETIMEDOUT at `deadline` (at once, without
   parking, if it is past); -ECANCELED or -ETIMEDOUT for an interrupt, also
   before parking, in which case the thread was never in `waiters`; -EDEADLK
   on the hub's stack; or what fern_hub_renew returns. */
int fern_wait(fern_list *waiters, const fern_wait_kind *kind,
              const void *object, double deadline);

/* Parks. As fern_wait, but no interrupt ends it, for its outcome belongs to a
   wait before it: what that has said of interrupts, also to
   fern_thread_interrupted, stands. Returns what fern_wake said: a deadlock and a
   signal still wake the main thread. */
int fern_wait_through(fern_list *waiters, const fern_wait_kind *kind, const void *object);

/* Wake a thread that is in fern_wait; it returns `rc`. Never parks. */
void fern_wake(fern_thread *thread, int rc);

/* Let a thread that is in fern_wait wait in `waiters` instead, for something
   else, without end and shielded once more: it has to close that shield. */
void fern_wait_move(fern_thread *thread, fern_list *waiters,
                    const fern_wait_kind *kind, const void *object);

/* Wake the longest waiter. Returns it, or NULL if there is none. */
fern_thread *fern_wake_first(fern_list *waiters, int rc);

/* Wake all of them, in order. */
void fern_wake_all(fern_list *waiters, int rc);

/* Is what a wait has returned an interrupt, which nobody else's outcome may hide? */
bool fern_is_interrupt(int rc);

/* To be called by a call that is about to succeed without parking: delivers
   interrupts. 0 or an interrupt; also -EDEADLK where nothing can park. */
int fern_heed_interrupts(void);

/* Number of threads in `waiters`: counts them one by one. */
size_t fern_wait_count(const fern_list *waiters);

#endif

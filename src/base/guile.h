/* SPDX-License-Identifier: BSD-3-Clause
   guile.h - what all that knows Guile shares.  */

#ifndef GSHM_GUILE_H
#define GSHM_GUILE_H

#include <errno.h>
#include <libguile.h>
#include <signal.h>
#include <stddef.h>

/* Define the primitive NAME and export it.  */
void gshm_define (const char *name, int required, int optional,
                  scm_t_subr function);

/* The symbol NAME, which is never collected.  */
SCM gshm_symbol (const char *name);

/* Define the number of bytes NAME and export it.  */
void gshm_define_size (const char *name, size_t size);

/* Collect, and run the finalizers before this returns.  */
void gshm_collect (void);

/* Whether ERR says nothing of what was asked for, but of what the process or
   the system lacks now.  */
int gshm_is_shortage (int err);

/* Whether a call that failed with ERR is worth another attempt: garbage may
   have held the descriptors or the memory that it lacked, and was collected
   now.  ATTEMPTS, 0 at first, counts.  This leaves errno alone.  */
int gshm_collect_for (int err, int *attempts);

/* Between these two a write or a resize beyond the process's limit of file
   sizes fails with EFBIG, and sends no SIGXFSZ, which would end the process.
   The second leaves errno alone.  */
void gshm_block_sigxfsz (sigset_t *before);
void gshm_unblock_sigxfsz (const sigset_t *before);

/* Call FINALIZE with OBJECT and DATA once OBJECT is unreachable.  A
   finalizer that Guile sets is also called where a guardian is about to return
   what OBJECT is in.  */
void gshm_set_finalizer (SCM object,
                         void (*finalize) (void *object, void *data),
                         void *data);

/* Store in RESULT the value of the system call EXPRESSION, again for as long
   as a signal interrupts it.  Asyncs run in between and may leave by an
   exception: own nothing that needs releasing.  */
#define GSHM_SYSTEM_CALL(result, expression)                    \
  do                                                            \
    {                                                           \
      while (((result) = (expression)) < 0 && errno == EINTR)   \
        SCM_TICK;                                               \
    }                                                           \
  while (0)

/* Wait until FD is ready for EVENTS, as poll has them, or has an error.
   Return 0, or -1 and errno if it cannot be polled.  Asyncs run meanwhile and
   may leave by an exception: own nothing that needs releasing.  */
int gshm_wait_until_ready (int fd, short events);

#endif /* GSHM_GUILE_H */

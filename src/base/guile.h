/* SPDX-License-Identifier: BSD-3-Clause
   guile.h - helpers for code that uses libguile.  */

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

/* Define NAME as SIZE, a number of bytes, and export it.  */
void gshm_define_size (const char *name, size_t size);

/* Collect, and run the finalizers before this returns.  */
void gshm_collect (void);

/* If ERR is a shortage, collect garbage, which may own descriptors or memory,
   and return 1: retry the call.  After two ATTEMPTS, initially 0, return 0.
   This preserves errno.  */
int gshm_collect_and_retry (int err, int *attempts);

/* Between these two a write or resize beyond RLIMIT_FSIZE fails with EFBIG,
   and SIGXFSZ does not end the process, unless the limit is set in between.
   The second preserves errno.  */
struct gshm_sigxfsz
{
  int is_needed;                /* there is such a limit */
  sigset_t before;
};

void gshm_block_sigxfsz (struct gshm_sigxfsz *block);
void gshm_unblock_sigxfsz (const struct gshm_sigxfsz *block);

/* Call FINALIZE with OBJECT and DATA once OBJECT is unreachable.  A finalizer
   that Guile sets would also be called if only a guardian refers to
   OBJECT.  */
void gshm_set_finalizer (SCM object,
                         void (*finalize) (void *object, void *data),
                         void *data);

/* Store in RESULT the value of the system call EXPRESSION; repeat it while it
   fails with EINTR.  Asyncs run in between and may leave by an exception: the
   caller must not own anything that needs to be released.  */
#define GSHM_SYSTEM_CALL(result, expression)                    \
  do                                                            \
    {                                                           \
      while (((result) = (expression)) < 0 && errno == EINTR)   \
        SCM_TICK;                                               \
    }                                                           \
  while (0)

/* Wait until FD is ready for EVENTS, those of poll, or has an error.  Return
   0, or -1 and errno.  Asyncs run meanwhile and may leave by an exception: the
   caller must not own anything that needs to be released.  */
int gshm_wait_until_ready (int fd, short events);

#endif /* GSHM_GUILE_H */

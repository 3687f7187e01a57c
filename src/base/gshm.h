/* SPDX-License-Identifier: BSD-3-Clause
   gshm.h - what the rooms of libguile-shm share.  */

#ifndef GSHM_H
#define GSHM_H

#include <libguile.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

/* The entry, and what it calls: each `start' sets up a room once in a process,
   each `init' defines and exports a room's primitives in the current
   module.  */
void gshm_init (void);
void gshm_object_start (void);
void gshm_fault_start (void);
void gshm_mapping_start (void);
void gshm_semaphore_start (void);
void gshm_channel_start (void);
void gshm_error_init (void);
void gshm_object_init (void);
void gshm_fault_init (void);
void gshm_mapping_init (void);
void gshm_chicken_init (void);
void gshm_atomic_init (void);
void gshm_sync_init (void);
void gshm_semaphore_init (void);
void gshm_channel_init (void);

/* Define the primitive NAME and export it.  */
void gshm_define (const char *name, int required, int optional,
                  scm_t_subr function);

/* Define the number of bytes NAME and export it.  */
void gshm_define_size (const char *name, size_t size);

/* The string that stands for OBJECT in a message: part of a line, whatever
   OBJECT is.  */
SCM gshm_shown (SCM object);

/* Each raises an exception in the name of the procedure SUBR, as Guile's own
   procedures do.  HINT, which may be NULL, tells the user what to do.  */
SCM_NORETURN void gshm_system_error (const char *subr, int err, SCM object,
                                     const char *hint);
SCM_NORETURN void gshm_out_of_range (const char *subr, SCM value,
                                     const char *message);
SCM_NORETURN void gshm_out_of_range_of (const char *subr, SCM value,
                                        const char *message, SCM object);

/* The same of what is at offset K of BYTEVECTOR, a WHAT such as "mutex".  */
SCM_NORETURN void gshm_place_error (const char *subr, int err,
                                    const char *what, SCM bytevector, SCM k,
                                    const char *hint);

/* The memory at offset K that was to be used was unmapped.  */
SCM_NORETURN void gshm_unmapped_error (const char *subr, SCM k);

/* Raise &shm-format: there is no such thing.  */
SCM_NORETURN void gshm_format_error (const char *subr, const char *what,
                                     SCM bytevector, SCM k);

/* Raise &shm-closed: nothing can be sent to the channel in BYTEVECTOR.  */
SCM_NORETURN void gshm_closed_error (const char *subr, SCM bytevector);

/* The argument OBJECT at position POS of SUBR, or SCM_ARGn for a keyword's, is
   not what is EXPECTED there.  */
SCM_NORETURN void gshm_wrong_type (const char *subr, int pos, SCM object,
                                   const char *expected);

/* The argument VALUE at position POS of SUBR as a C value: wrong-type-arg for
   what is no exact integer, out-of-range for one that does not fit.  */
int gshm_to_int (const char *subr, int pos, SCM value, int min, int max);
int gshm_to_descriptor (const char *subr, int pos, SCM value);
size_t gshm_to_size (const char *subr, int pos, SCM value, size_t max);

/* The argument VALUE as an offset or a size that the system knows; WHAT, as in
   "Offset", says which for the message.  */
off_t gshm_to_off (const char *subr, const char *what, SCM value);

#ifdef NAME_MAX
# define GSHM_NAME_MAX NAME_MAX
#else
# define GSHM_NAME_MAX _POSIX_NAME_MAX
#endif

/* A name as the system takes it: the slash, the bytes, the final NUL.  */
struct gshm_name
{
  char bytes[GSHM_NAME_MAX + 2];
};

/* The argument SCM_NAME, the first one, as a NAME.  */
void gshm_to_name (const char *subr, SCM scm_name, struct gshm_name *name);

/* The argument MODE as permission bits.  */
mode_t gshm_to_mode (const char *subr, SCM mode);

/* Collect, and run the finalizers before this returns.  */
void gshm_collect (void);

/* Whether a call that failed with ERR is worth another attempt: garbage may
   have held the descriptors or the memory that it lacked, and was collected
   now.  ATTEMPTS, 0 at first, counts.  This leaves errno alone.  */
int gshm_collect_for (int err, int *attempts);

/* Between these two a write or a resize beyond the process's limit of file sizes
   fails with EFBIG, and sends no SIGXFSZ, which would end the process.  The
   second leaves errno alone.  */
void gshm_block_sigxfsz (sigset_t *before);
void gshm_unblock_sigxfsz (const sigset_t *before);

/* Call FINALIZE with OBJECT and DATA once nobody can reach OBJECT any more.  A
   finalizer that Guile sets is also called where a guardian is about to return
   what OBJECT is in.  */
void gshm_set_finalizer (SCM object,
                         void (*finalize) (void *object, void *data),
                         void *data);

/* What to call the object behind the descriptor FD in a message: its name, or
   where that cannot be told FD itself.  This leaves errno alone.  */
SCM gshm_descriptor_object (SCM scm_fd);

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

/* The bytes of a name as a string, "?" for what is not UTF-8.  */
SCM gshm_name_to_scm (const char *bytes);

/* The name of the object of this device and inode, a string, or #f where it has
   none or that cannot be told.  */
SCM gshm_name_of_file (dev_t device, ino_t inode);

/* Unlink NAME if it is that of the object of this device and inode, and return
   whether that was done.  */
SCM gshm_unlink_same (const char *subr, SCM name, dev_t device, ino_t inode);

#endif /* GSHM_H */

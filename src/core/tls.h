/* SPDX-License-Identifier: BSD-3-Clause
   tls.h - thread-local variables that a signal handler may access.  */

#ifndef GSHM_TLS_H
#define GSHM_TLS_H

/* With other models glibc allocates a variable when a thread first accesses
   it.  With other C libraries, such as musl, a library that is loaded at run
   time cannot use this model.  */
#ifdef __GLIBC__
# define GSHM_THREAD_LOCAL \
  _Thread_local __attribute__ ((tls_model ("initial-exec")))
#else
# define GSHM_THREAD_LOCAL _Thread_local
#endif

#endif /* GSHM_TLS_H */

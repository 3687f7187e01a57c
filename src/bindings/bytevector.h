/* SPDX-License-Identifier: BSD-3-Clause
   bytevector.h - new bytevectors for the contents of messages.  */

#ifndef GSHM_BYTEVECTOR_H
#define GSHM_BYTEVECTOR_H

#include <libguile.h>
#include <stddef.h>

/* A new bytevector of SIZE bytes, of any contents.  */
SCM gshm_make_bytevector (size_t size);

#endif /* GSHM_BYTEVECTOR_H */

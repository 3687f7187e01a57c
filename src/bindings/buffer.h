/* SPDX-License-Identifier: BSD-3-Clause
   buffer.h - new bytevectors for the contents of messages.  */

#ifndef GSHM_BUFFER_H
#define GSHM_BUFFER_H

#include <libguile.h>
#include <stddef.h>

/* A new bytevector of SIZE bytes, of any contents.  */
SCM gshm_make_buffer (size_t size);

#endif /* GSHM_BUFFER_H */

/* SPDX-License-Identifier: BSD-3-Clause
   nothing.c - a primitive that does nothing, to measure others against.  */

#include <libguile.h>

void gshm_nothing_init (void);

static SCM
nothing (SCM a, SCM b, SCM c)
{
  (void) a;
  (void) b;
  return c;
}

__attribute__ ((visibility ("default")))
void
gshm_nothing_init (void)
{
  scm_c_define_gsubr ("nothing", 3, 0, 0, nothing);
}

/* SPDX-License-Identifier: BSD-3-Clause
   seal.c - seals of objects.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/name.h"

#define SEAL "shm-seal!"
#define SEALS "shm-seals"

static struct
{
  const char *name;
  int seal;
  SCM symbol;
} seals[] = {
#ifdef F_SEAL_SEAL
  { .name = "shrink", .seal = F_SEAL_SHRINK },
  { .name = "grow", .seal = F_SEAL_GROW },
  { .name = "write", .seal = F_SEAL_WRITE },
  { .name = "seal", .seal = F_SEAL_SEAL },
#else
  { .name = "shrink" }, { .name = "grow" }, { .name = "write" },
  { .name = "seal" },
#endif
};

#define N_SEALS (sizeof seals / sizeof *seals)

static int
seal_from_scm (SCM symbol)
{
  if (!scm_is_symbol (symbol))
    gshm_wrong_type (SEAL, 2, symbol, "symbol");
  for (size_t i = 0; i < N_SEALS; i++)
    if (scm_is_eq (symbol, seals[i].symbol))
      return seals[i].seal;
  gshm_out_of_range (SEAL, symbol,
                     "Seal is not one of shrink, grow, write and seal");
}

/* (FD LIST).  */
static SCM
gshm_seal (SCM scm_fd, SCM list)
{
  int fd = gshm_to_descriptor (SEAL, 1, scm_fd);
  int set = 0;

  if (scm_ilength (list) < 0)
    gshm_wrong_type (SEAL, 2, list, "list of symbols");
  for (SCM rest = list; scm_is_pair (rest); rest = SCM_CDR (rest))
    set |= seal_from_scm (SCM_CAR (rest));
#ifdef F_ADD_SEALS
  if (fcntl (fd, F_ADD_SEALS, set) < 0)
    gshm_descriptor_error (SEAL, scm_fd,
                      errno == EBUSY ? "a mapping that can be written to is "
                                       "still there"
                      : errno == EPERM ? "the object is sealed already, has a "
                                         "name, or was opened for reading"
                      : errno == EINVAL ? "only anonymous objects take seals"
                      : NULL);
  scm_remember_upto_here_1 (scm_fd);
  return SCM_UNSPECIFIED;
#else
  (void) fd;
  (void) set;
  gshm_system_error (SEAL, ENOSYS, scm_fd, "this system has no seals");
#endif
}

/* (FD) -> list.  */
static SCM
gshm_seals (SCM scm_fd)
{
  int fd = gshm_to_descriptor (SEALS, 1, scm_fd);
  SCM list = SCM_EOL;
#ifdef F_GET_SEALS
  int set = fcntl (fd, F_GET_SEALS);
  if (set < 0 && errno != EINVAL)
    gshm_descriptor_error (SEALS, scm_fd, NULL);
  for (size_t i = N_SEALS; set > 0 && i-- > 0;)
    if (set & seals[i].seal)
      list = scm_cons (seals[i].symbol, list);
#else
  if (fcntl (fd, F_GETFD) < 0)
    gshm_descriptor_error (SEALS, scm_fd, NULL);
#endif
  scm_remember_upto_here_1 (scm_fd);
  return list;
}

void
gshm_seal_init (void)
{
  for (size_t i = 0; i < N_SEALS; i++)
    seals[i].symbol = gshm_symbol (seals[i].name);
  gshm_define ("%shm-seal!", 2, 0, gshm_seal);
  gshm_define ("%shm-seals", 1, 0, gshm_seals);
}

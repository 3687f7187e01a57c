/* SPDX-License-Identifier: BSD-3-Clause
   view.c - bytevectors on parts of a mapping, and types of elements.  */

#include <config.h>

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/mapping.h"
#include "memory/view.h"

#define VIEW "shm-view"

/* The types of elements, by their SRFI-4 tags.  */
static struct
{
  const char *name;
  size_t size;
  SCM symbol;
} types[] = {
  { .name = "vu8", .size = 1 }, { .name = "u8", .size = 1 },
  { .name = "s8", .size = 1 },  { .name = "u16", .size = 2 },
  { .name = "s16", .size = 2 }, { .name = "u32", .size = 4 },
  { .name = "s32", .size = 4 }, { .name = "u64", .size = 8 },
  { .name = "s64", .size = 8 }, { .name = "f32", .size = 4 },
  { .name = "f64", .size = 8 }, { .name = "c32", .size = 8 },
  { .name = "c64", .size = 16 },
};

#define TYPES (sizeof types / sizeof *types)

size_t
gshm_size_of_type (SCM type)
{
  for (size_t i = 0; i < TYPES; i++)
    if (scm_is_eq (type, types[i].symbol))
      return types[i].size;
  return 0;
}

size_t
gshm_type_size (const char *subr, SCM type)
{
  size_t size = gshm_size_of_type (type);

  if (size > 0)
    return size;
  if (!scm_is_symbol (type))
    gshm_wrong_type (subr, SCM_ARGn, type, "type, a symbol such as f64");
  gshm_out_of_range (subr, type,
                     "Type is not vu8 or one of u8 s8 u16 s16 u32 s32 u64 s64 "
                     "f32 f64 c32 c64");
}


/* The mapping of a bytevector.  */

/* The mapping that contains ADDRESS.  The caller's bytevector has a
   reference.  */
static struct gshm_mapping *
mapping_at (const void *address)
{
  struct gshm_mapping copy;

  return gshm_registry_find (address, &copy);
}

static void
check_bytevector (const char *subr, SCM bytevector)
{
  if (!scm_is_bytevector (bytevector))
    gshm_wrong_type (subr, 1, bytevector, "bytevector");
}

/* The parent of BYTEVECTOR, or of the bytevector of which it is a slice; for
   one on a mapping, the mapping's pointer object.  */
static SCM
pointer_of (SCM bytevector)
{
  SCM parent = bytevector;

  while (scm_is_bytevector (parent))
    parent = SCM_BYTEVECTOR_PARENT (parent);
  return parent;
}

/* The mapping that BYTEVECTOR is on, or NULL.  */
static struct gshm_mapping *
mapping_of (const char *subr, SCM bytevector)
{
  check_bytevector (subr, bytevector);
  SCM pointer = pointer_of (bytevector);
  return SCM_POINTER_P (pointer) ? mapping_at (scm_to_pointer (pointer))
         : NULL;
}

int
gshm_is_unmapped (SCM bytevector)
{
  const struct gshm_mapping *mapping = mapping_of ("shm-mapped?", bytevector);

  /* In state UNMAPPING, zeros may be mapped already.  */
  return mapping != NULL && atomic_load (&mapping->state) != GSHM_MAPPED;
}

SCM
gshm_describe (SCM bytevector)
{
  const struct gshm_mapping *mapping = mapping_of ("shm-name", bytevector);

  if (mapping == NULL)
    return scm_from_utf8_string ("a bytevector");
  SCM name = gshm_mapping_name (mapping);
  return scm_is_false (name) ? scm_from_utf8_string ("anonymous shared memory")
         : gshm_shown (name);
}

struct gshm_mapping *
gshm_mapping_wanted (const char *subr, SCM bytevector)
{
  struct gshm_mapping *mapping = mapping_of (subr, bytevector);

  if (mapping == NULL)
    gshm_wrong_type (subr, 1, bytevector, "bytevector on shared memory");
  return mapping;
}

static SCM
gshm_mapped_p (SCM bytevector)
{
  int mapped = (mapping_of ("shm-mapped?", bytevector) != NULL
                && !gshm_is_unmapped (bytevector));

  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (mapped);
}

static SCM
gshm_name (SCM bytevector)
{
  struct gshm_mapping *mapping = mapping_of ("shm-name", bytevector);
  SCM name = mapping == NULL ? SCM_BOOL_F : gshm_mapping_name (mapping);

  scm_remember_upto_here_1 (bytevector);
  return name;
}


/* Views.  */

void
gshm_set_empty (SCM bytevector)
{
  /* The length, in bytevectors.h.  */
  SCM_SET_CELL_WORD_1 (bytevector, 0);
}

/* A bytevector of COUNT elements of TYPE at ADDRESS, in the memory of POINTER,
   which becomes its parent.  */
static SCM
view_at (SCM pointer, const char *address, size_t count, SCM type)
{
  size_t offset = (size_t) (address - (const char *) scm_to_pointer (pointer));
  /* For a count of 0 Guile would return a bytevector without a parent.  */
  SCM view = scm_pointer_to_bytevector (pointer,
                                        scm_from_size_t (count > 0 ? count
                                                         : 1),
                                        scm_from_size_t (offset), type);

  if (count == 0)
    gshm_set_empty (view);
  return view;
}

/* (BYTEVECTOR TYPE START COUNT) -> bytevector.  COUNT #f means up to the
   end.  */
static SCM
gshm_view (SCM bytevector, SCM type, SCM scm_start, SCM scm_count)
{
  gshm_mapping_wanted (VIEW, bytevector);
  size_t element_size = gshm_type_size (VIEW, type);
  size_t size = SCM_BYTEVECTOR_LENGTH (bytevector);
  size_t start = gshm_to_size (VIEW, 3, scm_start, SIZE_MAX);
  if (start > size)
    scm_error (scm_out_of_range_key, VIEW,
               "Start is beyond the end of a bytevector of ~A bytes: ~A",
               scm_list_2 (scm_from_size_t (size), gshm_shown (scm_start)),
               scm_list_1 (scm_start));
  char *contents = (char *) SCM_BYTEVECTOR_CONTENTS (bytevector);
  size_t count = (size - start) / element_size;

  if ((uintptr_t) (contents + start) % element_size != 0)
    gshm_out_of_range_of (VIEW, scm_start,
                          "Start is not a multiple of the size of type", type);
  if (scm_is_true (scm_count))
    {
      size_t wanted = gshm_to_size (VIEW, 4, scm_count, SIZE_MAX);
      if (wanted > count)
        scm_error (scm_out_of_range_key, VIEW,
                   "There are not ~A elements of type ~A from offset ~A on in "
                   "a bytevector of ~A",
                   scm_list_4 (gshm_shown (scm_count), type, scm_start,
                               scm_from_size_t (size)),
                   scm_list_1 (scm_count));
      count = wanted;
    }
  else if ((size - start) % element_size != 0)
    gshm_out_of_range_of (VIEW, scm_from_size_t (size - start),
                          "Length is not a multiple of the size of type",
                          type);

  SCM view = view_at (pointer_of (bytevector), contents + start, count, type);
  scm_remember_upto_here_1 (bytevector);
  return view;
}

SCM
gshm_view_bytes (SCM bytevector, char *address, size_t length)
{
  SCM pointer = pointer_of (bytevector);

  if (!SCM_POINTER_P (pointer))
    pointer = scm_bytevector_to_pointer (bytevector, SCM_INUM0);
  return view_at (pointer, address, length, types[0].symbol);
}

/* (SUBR TYPE) -> the size in bytes of elements of TYPE.  */
static SCM
type_size (SCM subr, SCM type)
{
  size_t size = gshm_size_of_type (type);

  if (size > 0)
    return scm_from_size_t (size);
  char *name = scm_to_utf8_string (subr);
  scm_dynwind_begin (0);
  scm_dynwind_free (name);
  gshm_type_size (name, type);
  scm_dynwind_end ();
  return SCM_BOOL_F;
}

void
gshm_view_start (void)
{
  for (size_t i = 0; i < TYPES; i++)
    types[i].symbol = gshm_symbol (types[i].name);
}

void
gshm_view_init (void)
{
  gshm_define ("%shm-view", 4, 0, gshm_view);
  gshm_define ("%shm-mapped?", 1, 0, gshm_mapped_p);
  gshm_define ("%shm-name", 1, 0, gshm_name);
  gshm_define ("%shm-type-size", 2, 0, type_size);
  gshm_define ("%shm-describe", 1, 0, gshm_describe);
}

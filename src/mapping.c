/* SPDX-License-Identifier: BSD-3-Clause
   mapping.c - bytevectors on shared memory.

   A mapping's memory is a range of pages.  A pointer object stands for it;
   every bytevector on it refers to that pointer, as its parent, so that the
   pointer's finalizer runs when the last of them is gone.  It alone gives the
   addresses back: compiled code may hold a bytevector's address and length in
   registers, so that whoever unmaps cannot know who still reads there.
   Unmapping puts private memory over the range instead, of zeros, which gives
   the shared memory back at once.  */

#include <config.h>

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#ifdef HAVE_LINUX_MAGIC_H
# include <linux/magic.h>
# include <sys/vfs.h>
#endif
#include <unistd.h>

#include "gshm.h"
#include "mapping.h"
#include "wait.h"

#define MAP "shm-map"
#define VIEW "shm-view"
#define UNMAP "shm-unmap!"

/* Private memory that costs nothing until it is written to.  */
#ifdef MAP_NORESERVE
# define TOMBSTONE (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE)
#else
# define TOMBSTONE (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
#endif

static size_t page_size;

/* Types of elements, by the tags that Guile has for them.  */
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

static size_t
type_size (const char *subr, SCM type)
{
  if (!scm_is_symbol (type))
    scm_wrong_type_arg_msg (subr, 0, type, "type such as f64");
  for (size_t i = 0; i < TYPES; i++)
    if (scm_is_eq (type, types[i].symbol))
      return types[i].size;
  gshm_out_of_range (subr, type,
                     "Type is not vu8 or one of u8 s8 u16 s16 u32 s32 u64 s64 "
                     "f32 f64 c32 c64");
}


/* Life and death.  */

/* Small ranges that hold nothing any more are given back many at a time, since
   neighbours go in one system call, each of which stops all threads.  */
struct range
{
  char *base;
  size_t length;
};

#define BATCH 512
#define SMALL ((size_t) 65536)

static struct range batch[BATCH];      /* guarded by the registry's lock */
static size_t batched;

static int
compare_ranges (const void *a, const void *b)
{
  const struct range *one = a, *other = b;

  return (one->base > other->base) - (one->base < other->base);
}

static void
give_back_batch (struct range *ranges)
{
  qsort (ranges, BATCH, sizeof *ranges, compare_ranges);
  for (size_t i = 0, next; i < BATCH; i = next)
    {
      char *end = ranges[i].base + ranges[i].length;

      for (next = i + 1; next < BATCH && ranges[next].base == end; next++)
        end += ranges[next].length;
      munmap (ranges[i].base, (size_t) (end - ranges[i].base));
    }
}

/* Give back the addresses of MAPPING, which nobody knows any more.  */
static void
give_back (const struct gshm_mapping *mapping)
{
  struct range full[BATCH];
  int is_full = 0;

  if (!mapping->unmapped || mapping->length > SMALL)
    {
      munmap (mapping->base, mapping->length);
      return;
    }
  gshm_registry_lock ();
  batch[batched++] = (struct range) { mapping->base, mapping->length };
  if (batched == BATCH)
    {
      memcpy (full, batch, sizeof full);
      batched = 0;
      is_full = 1;
    }
  gshm_registry_unlock ();
  if (is_full)
    give_back_batch (full);
}

void
gshm_mapping_release (struct gshm_mapping *mapping)
{
  gshm_registry_lock ();
  int last = --mapping->references == 0;
  if (last)
    {
      gshm_fault_forget (mapping);
      gshm_registry_remove (mapping);
    }
  gshm_registry_unlock ();

  /* In this order, since the addresses may be had by another mapping as soon
     as they are given back.  */
  if (last)
    {
      if (!mapping->is_borrowed)
        give_back (mapping);
      free (mapping->name);
      free (mapping);
    }
}

struct gshm_mapping *
gshm_mapping_borrow (void *address, size_t size, const char *name)
{
  uintptr_t start = (uintptr_t) address / page_size * page_size;
  struct gshm_mapping *fresh = malloc (sizeof *fresh);

  if (fresh == NULL)
    return NULL;
  *fresh = (struct gshm_mapping) {
    .base = (char *) start,
    .length = page_size,
    .skip = (uintptr_t) address - start,
    .size = size,
    .is_borrowed = 1,
    .references = 1,
    .name = strdup (name),
  };

  /* In one go, since another thread may borrow the same.  */
  gshm_registry_lock ();
  struct gshm_mapping *mapping = gshm_registry_find (address);
  if (mapping != NULL)
    mapping->references++;
  else if (fresh->name != NULL && gshm_registry_add (fresh))
    mapping = fresh;
  gshm_registry_unlock ();

  if (mapping != fresh)
    {
      free (fresh->name);
      free (fresh);
    }
  gshm_fault_watch ();
  return mapping;
}

/* The mapping that ADDRESS is in, which the caller's bytevector keeps.  */
static struct gshm_mapping *
mapping_at (const void *address)
{
  gshm_registry_lock ();
  struct gshm_mapping *mapping = gshm_registry_find (address);
  gshm_registry_unlock ();
  return mapping;
}

static void
finalize (void *pointer, void *mapping)
{
  (void) pointer;
  gshm_mapping_release (mapping);
}

/* What is not written in the text of /proc/self/maps in one piece: a line
   break.  */
static void
unescape (char *text)
{
  char *to = text;

  for (char *from = text; *from != '\0'; to++)
    if (strncmp (from, "\\012", 4) == 0)
      {
        *to = '\n';
        from += 4;
      }
    else
      *to = *from++;
  *to = '\0';
}

/* The name of the object that the system shows at the addresses of MAPPING, or
   #f.  */
static SCM
name_from_system (const struct gshm_mapping *mapping)
{
  static const char folder[] = "/dev/shm/", gone[] = " (deleted)";
  uintptr_t start, end, base = (uintptr_t) mapping->base;
  SCM name = SCM_BOOL_F;
  char *line = NULL;
  size_t size = 0;
  ssize_t length;

  FILE *maps = fopen ("/proc/self/maps", "re");
  if (maps == NULL)
    return name;
  while (scm_is_false (name) && (length = getline (&line, &size, maps)) > 0)
    {
      char *path = strchr (line, '/');

      if (path == NULL || strncmp (path, folder, sizeof folder - 1) != 0
          || sscanf (line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) != 2
          || end <= base || start >= base + mapping->length)
        continue;
      line[length - 1] = '\0';
      size_t path_length = strlen (path);
      if (path_length > sizeof gone
          && strcmp (path + path_length - (sizeof gone - 1), gone) == 0)
        break;
      unescape (path);
      name = gshm_name_to_scm (path + sizeof folder - 2);
    }
  free (line);
  fclose (maps);
  return name;
}

SCM
gshm_mapping_name (const struct gshm_mapping *mapping)
{
  if (mapping->name != NULL)
    return gshm_name_to_scm (mapping->name);
  return name_from_system (mapping);
}


/* Mapping.  */

/* What is asked for, as C has it.  */
struct request
{
  int fd;
  size_t skip;                  /* bytes from the page to the offset */
  size_t size;
  off_t page_offset;
  int protection;
  int populate, lock, huge_pages;
  struct stat status;
};

/* How many mappings there may be, so that the system's limit leaves some for
   Guile, and for patching faults.  */
static size_t
most_mappings (void)
{
  static atomic_size_t most;
  size_t known = atomic_load (&most);

  if (known == 0)
    {
      unsigned long limit = 65530;
      FILE *file = fopen ("/proc/sys/vm/max_map_count", "re");
      if (file != NULL)
        {
          if (fscanf (file, "%lu", &limit) != 1)
            limit = 65530;
          fclose (file);
        }
      known = limit > 16384 ? limit - 8192 : limit / 2;
      atomic_store (&most, known);
    }
  return known;
}

/* Map what REQUEST asks for.  Return where, or MAP_FAILED and errno.  */
static char *
map_pages (const struct request *request)
{
  int flags = MAP_SHARED;

  if (gshm_registry_count () >= most_mappings ())
    {
      errno = ENOMEM;
      return MAP_FAILED;
    }
#ifdef MAP_POPULATE
  if (request->populate)
    flags |= MAP_POPULATE;
#endif
  return mmap (NULL, request->skip + request->size, request->protection,
               flags, request->fd, request->page_offset);
}

/* What can only be asked for once there is memory.  Return 0, or an errno.  */
static int
advise (const struct request *request, char *base)
{
  size_t length = request->skip + request->size;

#ifndef MAP_POPULATE
  int err = request->populate ? posix_madvise (base, length,
                                               POSIX_MADV_WILLNEED) : 0;
  if (err != 0)
    return err;
#endif
  if (request->huge_pages)
    {
#ifdef MADV_HUGEPAGE
      if (madvise (base, length, MADV_HUGEPAGE) < 0)
        return errno == EINVAL ? ENOTSUP : errno;
#else
      return ENOTSUP;
#endif
    }
  if (request->lock && mlock (base, length) < 0)
    return errno;
  return 0;
}

/* The collector sees a bytevector of a few words in a mapping, and the system
   has a limit of how many there may be, which Guile needs some of, too.  So
   collect when there are twice as many as were left the last time.  */
static void
collect_if_many (void)
{
  static atomic_size_t limit = 8192;

  if (gshm_registry_count () >= atomic_load (&limit))
    {
      gshm_collect ();
      size_t left = gshm_registry_count ();
      atomic_store (&limit, left < 4096 ? 8192 : 2 * left);
    }
}

static struct gshm_mapping *
new_mapping (const struct request *request, char *base, const char *name)
{
  struct gshm_mapping *mapping = malloc (sizeof *mapping);

  if (mapping == NULL)
    return NULL;
  size_t length = request->skip + request->size;
  *mapping = (struct gshm_mapping) {
    .base = base,
    /* At most the address space, since mmap took it.  */
    .length = (length + page_size - 1) / page_size * page_size,
    .skip = request->skip,
    .size = request->size,
    .device = request->status.st_dev,
    .inode = request->status.st_ino,
    .references = 1,
  };
  if (name != NULL && (mapping->name = strdup (name)) == NULL)
    {
      free (mapping);
      return NULL;
    }
  gshm_registry_lock ();
  int added = gshm_registry_add (mapping);
  gshm_registry_unlock ();
  if (!added)
    {
      free (mapping->name);
      free (mapping);
      return NULL;
    }
  return mapping;
}

static void
check_range (SCM scm_fd, SCM scm_offset, SCM scm_length, SCM type,
             size_t element_size, struct request *request)
{
  off_t offset = gshm_to_off (MAP, "Offset", scm_offset);
  off_t object_size = request->status.st_size;

  if (offset > object_size)
    gshm_out_of_range_of (MAP, scm_offset, "Offset is beyond the end of",
                          gshm_descriptor_object (scm_fd));
  off_t left = object_size - offset, size = left;
  if (scm_is_true (scm_length))
    size = gshm_to_off (MAP, "Length", scm_length);
  if (size > left)
    gshm_out_of_range_of (MAP, scm_length,
                          "Offset and length reach beyond the end of",
                          gshm_descriptor_object (scm_fd));
  if (object_size == 0 && size == 0)
    scm_error (scm_out_of_range_key, MAP,
               "The object ~S is empty: give it a size first, as with "
               "(shm-resize! ~A 4096)",
               scm_list_2 (gshm_descriptor_object (scm_fd), scm_fd),
               scm_list_1 (SCM_INUM0));
  if (size == 0)
    gshm_out_of_range_of (MAP, SCM_INUM0, "No bytes are to be mapped of",
                          gshm_descriptor_object (scm_fd));
  if ((uintmax_t) offset % element_size != 0)
    gshm_out_of_range_of (MAP, scm_offset,
                          "Offset is not a multiple of the size of type",
                          type);
  if ((uintmax_t) size % element_size != 0)
    gshm_out_of_range_of (MAP, scm_from_intmax (size),
                          "Length is not a multiple of the size of type",
                          type);

  request->skip = (size_t) ((uintmax_t) offset % page_size);
  request->page_offset = offset - (off_t) request->skip;
  if ((uintmax_t) size > SIZE_MAX / 2 - page_size)
    gshm_out_of_range_of (MAP, scm_from_intmax (size),
                          "There are not that many addresses for",
                          gshm_descriptor_object (scm_fd));
  request->size = (size_t) size;
}

/* What WRITABLE means for mmap: what is no boolean follows the descriptor.  */
static int
protection (int fd, SCM scm_fd, SCM writable)
{
  if (!scm_is_bool (writable))
    {
      int flags = fcntl (fd, F_GETFL);
      if (flags < 0)
        gshm_system_error (MAP, errno, gshm_descriptor_object (scm_fd), NULL);
      writable = scm_from_bool ((flags & O_ACCMODE) == O_RDWR);
    }
  return scm_is_true (writable) ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Whether the object consists of huge pages only, of which the system moves
   and replaces no part, so that faults there cannot be caught, nor less than
   all of one be unmapped.  */
static int
has_only_huge_pages (int fd)
{
#ifdef HAVE_LINUX_MAGIC_H
  struct statfs status;

  return fstatfs (fd, &status) == 0
         && (uint32_t) status.f_type == (uint32_t) HUGETLBFS_MAGIC;
#else
  (void) fd;
  return 0;
#endif
}

/* (FD OFFSET LENGTH TYPE WRITABLE POPULATE LOCK HUGE-PAGES NAME) ->
   bytevector.  LENGTH #f reaches to the end; NAME is #f where it is not
   known.  */
static SCM
gshm_map (SCM scm_fd, SCM scm_offset, SCM scm_length, SCM type, SCM writable,
          SCM populate, SCM lock, SCM huge_pages, SCM scm_name)
{
  struct request request
    = { .populate = scm_is_true (populate), .lock = scm_is_true (lock),
        .huge_pages = scm_is_true (huge_pages) };
  request.fd = gshm_to_descriptor (MAP, 1, scm_fd);
  size_t element_size = type_size (MAP, type);
  if (fstat (request.fd, &request.status) < 0)
    gshm_system_error (MAP, errno, scm_fd, NULL);
  if (!S_ISREG (request.status.st_mode))
    gshm_system_error (MAP, ENODEV, scm_fd,
                       "the descriptor is not one of a shared memory object");
  if (has_only_huge_pages (request.fd))
    gshm_system_error (MAP, ENODEV, scm_fd,
                       "it is one of a file of huge pages; #:huge-pages? uses "
                       "them for a shared memory object");
  check_range (scm_fd, scm_offset, scm_length, type, element_size, &request);
  request.protection = protection (request.fd, scm_fd, writable);

  collect_if_many ();
  char *base = map_pages (&request);
  if (base == MAP_FAILED && errno == EPERM && !scm_is_bool (writable))
    {
      /* The descriptor could, but a seal forbids it.  */
      request.protection = PROT_READ;
      base = map_pages (&request);
    }
  /* Twice, since a mapping that garbage with a finalizer refers to, as a port,
     goes only after that.  */
  for (int i = 0; i < 2 && base == MAP_FAILED && errno == ENOMEM; i++)
    {
      gshm_collect ();
      base = map_pages (&request);
    }
  if (base == MAP_FAILED)
    gshm_system_error (MAP, errno, gshm_descriptor_object (scm_fd),
                       errno == EACCES ? "the descriptor is not open for what "
                                         "is asked"
                       : errno == EPERM ? "a seal forbids writing to it"
                       : NULL);
  int err = advise (&request, base);
  char *name = NULL;
  struct gshm_mapping *mapping = NULL;
  if (err == 0)
    {
      if (scm_is_true (scm_name))
        name = scm_to_utf8_string (scm_name);
      mapping = new_mapping (&request, base, name);
      free (name);
      if (mapping == NULL)
        err = ENOMEM;
    }
  if (err != 0)
    {
      munmap (base, request.skip + request.size);
      gshm_system_error (MAP, err, gshm_descriptor_object (scm_fd),
                         err == ENOTSUP ? "this system has no huge pages"
                         : err == ENOMEM && request.lock ? "see ulimit -l"
                         : err == EPERM ? "this user may not lock memory"
                         : NULL);
    }
  gshm_fault_watch ();

  SCM pointer = scm_from_pointer (base + request.skip, NULL);
  gshm_set_finalizer (pointer, finalize, mapping);
  return scm_pointer_to_bytevector (pointer,
                                    scm_from_size_t (request.size
                                                     / element_size),
                                    SCM_INUM0, type);
}


/* Views.  */

static void
check_bytevector (const char *subr, SCM bytevector)
{
  if (!scm_is_bytevector (bytevector))
    scm_wrong_type_arg_msg (subr, 1, bytevector, "bytevector");
}

/* The pointer that stands for the mapping of BYTEVECTOR, a bytevector on it
   or a slice of one.  What else it may be is of no mapping.  */
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
  int unmapped = 0;

  if (mapping != NULL)
    {
      gshm_registry_lock ();
      unmapped = mapping->unmapped;
      gshm_registry_unlock ();
    }
  return unmapped;
}

SCM
gshm_describe (SCM bytevector)
{
  const struct gshm_mapping *mapping = mapping_of ("shm-name", bytevector);

  if (mapping == NULL)
    return scm_from_utf8_string ("a bytevector");
  SCM name = gshm_mapping_name (mapping);
  return scm_is_false (name) ? scm_from_utf8_string ("nameless shared memory")
         : scm_object_to_string (name, SCM_UNDEFINED);
}

static struct gshm_mapping *
mapping_wanted (const char *subr, SCM bytevector)
{
  struct gshm_mapping *mapping = mapping_of (subr, bytevector);

  if (mapping == NULL)
    gshm_wrong_type (subr, 1, bytevector, "bytevector on shared memory");
  return mapping;
}

void
gshm_set_empty (SCM bytevector)
{
  /* The length, in bytevectors.h.  */
  SCM_SET_CELL_WORD_1 (bytevector, 0);
}

/* COUNT elements of TYPE at ADDRESS, of the memory that POINTER stands
   for.  */
static SCM
view_at (SCM pointer, const char *address, size_t count, SCM type)
{
  size_t offset = (size_t) (address - (const char *) scm_to_pointer (pointer));
  /* For none Guile would return a bytevector that is of no mapping.  */
  SCM view = scm_pointer_to_bytevector (pointer,
                                        scm_from_size_t (count > 0 ? count
                                                         : 1),
                                        scm_from_size_t (offset), type);

  if (count == 0)
    gshm_set_empty (view);
  return view;
}

/* (BYTEVECTOR TYPE START COUNT) -> bytevector.  COUNT #f reaches to the
   end.  */
static SCM
gshm_view (SCM bytevector, SCM type, SCM scm_start, SCM scm_count)
{
  mapping_wanted (VIEW, bytevector);
  size_t element_size = type_size (VIEW, type);
  size_t size = SCM_BYTEVECTOR_LENGTH (bytevector);
  size_t start = gshm_to_size (VIEW, 3, scm_start, SIZE_MAX);
  if (start > size)
    scm_error (scm_out_of_range_key, VIEW,
               "Start is beyond the end of a bytevector of ~A bytes: ~S",
               scm_list_2 (scm_from_size_t (size), scm_start),
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
                   "There are not ~S elements of type ~A from offset ~S on in "
                   "a bytevector of ~A",
                   scm_list_4 (scm_count, type, scm_start,
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

/* Put zeros over the range of MAPPING: for reading, if a store makes them
   writable, since private memory that can be written counts against
   limits.  */
static int
put_zeros_over (const struct gshm_mapping *mapping)
{
  int protection = (gshm_fault_is_guarded () ? PROT_READ
                    : PROT_READ | PROT_WRITE);

  return mmap (mapping->base, mapping->length, protection, TOMBSTONE, -1, 0)
         != MAP_FAILED;
}

/* (BYTEVECTOR) -> boolean.  */
static SCM
gshm_unmap (SCM bytevector)
{
  struct gshm_mapping *mapping = mapping_wanted (UNMAP, bytevector);

  gshm_registry_lock ();
  int mapped = !mapping->unmapped;
  mapping->unmapped = 1;
  gshm_registry_unlock ();

  /* Without the lock, since it can take long.  */
  if (mapped && !put_zeros_over (mapping))
    {
      int err = errno;
      gshm_registry_lock ();
      mapping->unmapped = 0;
      gshm_registry_unlock ();
      gshm_system_error (UNMAP, err, gshm_mapping_name (mapping), NULL);
    }
  gshm_registry_lock ();
  gshm_fault_forget (mapping);
  gshm_kick_sleepers (mapping->base, mapping->length);
  gshm_registry_unlock ();

  gshm_set_empty (bytevector);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (mapped);
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

/* (SUBR TYPE): raise an exception if TYPE is none.  */
static SCM
gshm_check_type (SCM subr, SCM type)
{
  char *name = scm_to_utf8_string (subr);
  char copy[32];

  snprintf (copy, sizeof copy, "%s", name);
  free (name);
  type_size (copy, type);
  return SCM_UNSPECIFIED;
}

/* (BYTEVECTOR) -> boolean: unlink the object's name, if it is still its
   name.  */
static SCM
gshm_unlink_mapped (SCM bytevector)
{
  struct gshm_mapping *mapping = mapping_wanted ("call-with-shm", bytevector);
  SCM result = gshm_unlink_same ("call-with-shm", gshm_mapping_name (mapping),
                                 mapping->device, mapping->inode);

  scm_remember_upto_here_1 (bytevector);
  return result;
}

void
gshm_mapping_init (void)
{
  page_size = (size_t) sysconf (_SC_PAGESIZE);
  for (size_t i = 0; i < TYPES; i++)
    types[i].symbol
      = scm_permanent_object (scm_from_utf8_symbol (types[i].name));

  gshm_define ("%shm-map", 9, 0, gshm_map);
  gshm_define ("%shm-view", 4, 0, gshm_view);
  gshm_define ("%shm-unmap!", 1, 0, gshm_unmap);
  gshm_define ("%shm-mapped?", 1, 0, gshm_mapped_p);
  gshm_define ("%shm-name", 1, 0, gshm_name);
  gshm_define ("%shm-check-type", 2, 0, gshm_check_type);
  gshm_define ("%shm-unlink-mapped", 1, 0, gshm_unlink_mapped);
  gshm_define ("%shm-describe", 1, 0, gshm_describe);
}

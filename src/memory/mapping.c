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
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#ifdef HAVE_LINUX_MAGIC_H
# include <linux/magic.h>
# include <sys/vfs.h>
#endif
#include <unistd.h>

#include "base/gshm.h"
#include "memory/mapping.h"
#include "memory/patch.h"

#define MAP "shm-map"
#define VIEW "shm-view"
#define UNMAP "shm-unmap!"

static size_t page_size;

/* How many bytes are mapped here, without those that are borrowed; and up to
   how many nothing needs to be collected.  */
static atomic_size_t mapped_bytes;
#define MIN_BYTES ((size_t) 16 << 20)

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
    gshm_wrong_type (subr, SCM_ARGn, type, "type, a symbol such as f64");
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

/* The registry's lock guards these.  In the child of a fork there is an element
   for each that is counted.  */
static struct range batch[BATCH];
static atomic_size_t batched;

static int
compare_ranges (const void *a, const void *b)
{
  const struct range *one = a, *other = b;

  return (one->base > other->base) - (one->base < other->base);
}

/* Add RANGE to the batch.  If that is full then, copy it to FULL, empty it, and
   return 1.  */
static int
add_to_batch (struct range range, struct range full[BATCH])
{
  gshm_registry_lock ();
  size_t n = atomic_load_explicit (&batched, memory_order_relaxed);
  batch[n++] = range;
  int is_full = n == BATCH;
  if (is_full)
    memcpy (full, batch, sizeof batch);
  atomic_store_explicit (&batched, is_full ? 0 : n, memory_order_release);
  gshm_registry_unlock ();
  return is_full;
}

/* Unmap RANGE.  At the limit of ranges that may fail, if it is part of a larger
   one: then it shows zeros, which cost nothing but addresses.  */
static void
unmap_now (struct range range)
{
  if (!gshm_unmap_range (range.base, range.length))
    gshm_put_zeros (range.base, range.length);
}

/* Have RANGE unmapped with others, later.  */
static void
unmap_later (struct range range)
{
  struct range full[BATCH];

  if (!add_to_batch (range, full))
    return;
  qsort (full, BATCH, sizeof *full, compare_ranges);
  for (size_t i = 0, next; i < BATCH; i = next)
    {
      range = full[i];
      for (next = i + 1; next < BATCH
           && full[next].base == range.base + range.length; next++)
        range.length += full[next].length;
      unmap_now (range);
    }
}

/* Unmap the addresses of MAPPING, which no one has any more.  */
static void
unmap_addresses (const struct gshm_mapping *mapping, int was_unmapped)
{
  struct range range = { mapping->base, mapping->length };

  if (was_unmapped && mapping->length <= SMALL)
    unmap_later (range);
  else
    unmap_now (range);
}

void
gshm_mapping_release (struct gshm_mapping *mapping)
{
  gshm_registry_lock ();
  int last = --mapping->references == 0;
  int was_unmapped = atomic_load (&mapping->state) == GSHM_UNMAPPED;
  if (last)
    {
      atomic_store (&mapping->state, GSHM_RELEASED);
      gshm_registry_remove (mapping);
    }
  gshm_registry_unlock ();
  if (!last)
    return;

  /* See `count' in patch.c.  */
  if (atomic_load (&mapping->patches) > 0)
    gshm_patch_forget (mapping, 0);
  /* After the removal, since the kernel may give the addresses to another
     mapping.  */
  if (!mapping->is_borrowed)
    {
      unmap_addresses (mapping, was_unmapped);
      if (!was_unmapped)
        atomic_fetch_sub (&mapped_bytes, mapping->length);
    }
  free (mapping->name);
  gshm_registry_lock ();
  gshm_registry_free (mapping);
  gshm_registry_unlock ();
}

struct gshm_mapping *
gshm_mapping_borrow (void *address, size_t size, const char *name)
{
  uintptr_t start = (uintptr_t) address / page_size * page_size;
  char *own_name = strdup (name);
  struct gshm_mapping copy;

  if (own_name == NULL)
    return NULL;
  gshm_registry_lock ();
  struct gshm_mapping *mapping = gshm_registry_find (address, &copy);
  if (mapping != NULL)
    mapping->references++;
  else if ((mapping = gshm_registry_allocate ()) != NULL)
    {
      mapping->base = (char *) start;
      mapping->length = page_size;
      mapping->skip = (uintptr_t) address - start;
      mapping->size = size;
      mapping->name = own_name;
      mapping->is_writable = mapping->is_borrowed = 1;
      mapping->references = 1;
      if (!gshm_registry_add (mapping))
        {
          gshm_registry_free (mapping);
          mapping = NULL;
        }
    }
  int is_named = mapping != NULL && mapping->name == own_name;
  gshm_registry_unlock ();

  if (!is_named)
    free (own_name);
  gshm_fault_watch ();
  return mapping;
}

/* The mapping that ADDRESS is in, which the caller's bytevector keeps.  */
static struct gshm_mapping *
mapping_at (const void *address)
{
  struct gshm_mapping copy;

  return gshm_registry_find (address, &copy);
}

static void
release (void *mapping)
{
  gshm_mapping_release (mapping);
}

static void
finalize (void *pointer, void *mapping)
{
  (void) pointer;
  gshm_mapping_release (mapping);
}

SCM
gshm_mapping_name (const struct gshm_mapping *mapping)
{
  if (mapping->name != NULL)
    return gshm_name_to_scm (mapping->name);
  return gshm_name_of_file (mapping->device, mapping->inode);
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

/* Map what REQUEST asks for, if need be read-only unless IS_FIXED, and if need
   be after a collection.  Return where, or MAP_FAILED and errno.  */
static char *
map_anyhow (struct request *request, int is_fixed)
{
  char *base = map_pages (request);

  if (base == MAP_FAILED && errno == EPERM && !is_fixed)
    {
      /* The descriptor could, but a seal forbids it.  */
      request->protection = PROT_READ;
      base = map_pages (request);
    }
  for (int attempts = 0;
       base == MAP_FAILED && gshm_collect_for (errno, &attempts);)
    base = map_pages (request);
  return base;
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

/* The collector sees a bytevector of a few words in a mapping.  But the system
   has a limit of how many mappings there may be, which Guile needs some of,
   too, and their memory is the system's.  So collect when there are twice as
   many, or with SIZE bytes more twice as large ones, as were left the last
   time.  */
static void
collect_if_many (size_t size)
{
  static atomic_size_t max_count = 8192, max_bytes = MIN_BYTES;

  if (gshm_registry_count () >= atomic_load (&max_count)
      || atomic_load (&mapped_bytes) + size > atomic_load (&max_bytes))
    {
      gshm_collect ();
      size_t count = gshm_registry_count ();
      size_t bytes = atomic_load (&mapped_bytes) + size;
      atomic_store (&max_count, count < 4096 ? 8192 : 2 * count);
      atomic_store (&max_bytes, bytes < MIN_BYTES / 2 ? MIN_BYTES : 2 * bytes);
    }
}

/* The mapping of the pages at BASE, in the registry.  NAME, allocated or NULL,
   becomes its own.  Return NULL and leave NAME alone if there is no memory for
   that.  */
static struct gshm_mapping *
new_mapping (const struct request *request, char *base, char *name)
{
  size_t length = request->skip + request->size;

  gshm_registry_lock ();
  struct gshm_mapping *mapping = gshm_registry_allocate ();
  if (mapping != NULL)
    {
      mapping->base = base;
      /* At most the address space, since mmap took it.  */
      mapping->length = (length + page_size - 1) / page_size * page_size;
      mapping->skip = request->skip;
      mapping->size = request->size;
      mapping->device = request->status.st_dev;
      mapping->inode = request->status.st_ino;
      mapping->name = name;
      mapping->is_writable = (request->protection & PROT_WRITE) != 0;
      mapping->references = 1;
      if (!gshm_registry_add (mapping))
        {
          gshm_registry_free (mapping);
          mapping = NULL;
        }
    }
  gshm_registry_unlock ();
  if (mapping != NULL)
    atomic_fetch_add (&mapped_bytes, mapping->length);
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
               "The object ~A is empty: give it a size first, as with "
               "(shm-resize! ~A 4096)",
               scm_list_2 (gshm_shown (gshm_descriptor_object (scm_fd)),
                           scm_fd),
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
                          "Length is more than a process of this system can "
                          "map of",
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

  collect_if_many (request.size);
  /* From here on an exception may have to undo something.  */
  scm_dynwind_begin (0);
  char *name = NULL;
  if (scm_is_true (scm_name))
    {
      name = scm_to_utf8_string (scm_name);
      scm_dynwind_free (name);
    }
  char *base = map_anyhow (&request, scm_is_bool (writable));
  if (base == MAP_FAILED)
    gshm_system_error (MAP, errno, gshm_descriptor_object (scm_fd),
                       errno == EACCES ? "the descriptor is not open for what "
                                         "is asked"
                       : errno == EPERM ? "a seal forbids writing to it"
                       : NULL);
  int err = advise (&request, base);
  struct gshm_mapping *mapping = NULL;
  if (err == 0)
    {
      char *own_name = name == NULL ? NULL : strdup (name);
      if (name == NULL || own_name != NULL)
        mapping = new_mapping (&request, base, own_name);
      if (mapping == NULL)
        {
          free (own_name);
          err = ENOMEM;
        }
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
  scm_dynwind_unwind_handler (release, mapping, 0);
  gshm_fault_watch ();

  SCM pointer = scm_from_pointer (base + request.skip, NULL);
  SCM bytevector
    = scm_pointer_to_bytevector (pointer,
                                 scm_from_size_t (request.size / element_size),
                                 SCM_INUM0, type);
  gshm_set_finalizer (pointer, finalize, mapping);
  scm_dynwind_end ();
  scm_remember_upto_here_1 (pointer);
  return bytevector;
}


/* Views.  */

static void
check_bytevector (const char *subr, SCM bytevector)
{
  if (!scm_is_bytevector (bytevector))
    gshm_wrong_type (subr, 1, bytevector, "bytevector");
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

  /* While it is being unmapped there may be zeros.  */
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

/* How many threads are unmapping.  */
static atomic_uint unmappers;

/* Unmap MAPPING, if it is mapped, and return whether it was.  If another thread
   is unmapping it, wait for that.  Return -1 and set errno if that fails.  All
   signals are blocked: a handler that finds the mapping in between waits for
   this thread, which nothing may stop.  */
static int
unmap (struct gshm_mapping *mapping)
{
  for (enum gshm_state state = GSHM_MAPPED;
       !atomic_compare_exchange_strong (&mapping->state, &state,
                                        GSHM_UNMAPPING);
       state = GSHM_MAPPED)
    {
      const struct timespec pause = { .tv_nsec = 50000 };

      if (state == GSHM_UNMAPPED)
        return 0;
      nanosleep (&pause, NULL);
    }
  int done = gshm_put_zeros (mapping->base, mapping->length);
  int err = errno;
  /* See `count' in patch.c.  */
  if (done && atomic_load (&mapping->patches) > 0)
    gshm_patch_forget (mapping, 1);
  atomic_store (&mapping->state, done ? GSHM_UNMAPPED : GSHM_MAPPED);
  if (done)
    atomic_fetch_sub (&mapped_bytes, mapping->length);
  errno = err;
  return done ? 1 : -1;
}

/* In the child of a fork, which another thread of the parent's may have made
   while this one was unmapping.  */
static void
finish_unmapping (void)
{
  struct gshm_mapping *mapping = NULL;

  if (atomic_exchange (&unmappers, 0) > 0)
    while ((mapping = gshm_registry_after (mapping)) != NULL)
      if (atomic_load (&mapping->state) == GSHM_UNMAPPING)
        {
          gshm_put_zeros (mapping->base, mapping->length);
          atomic_store (&mapping->state, GSHM_UNMAPPED);
          atomic_fetch_sub (&mapped_bytes, mapping->length);
        }
}

/* (BYTEVECTOR) -> boolean.  */
static SCM
gshm_unmap (SCM bytevector)
{
  struct gshm_mapping *mapping = mapping_wanted (UNMAP, bytevector);
  sigset_t before;

  gshm_block_signals (&before);
  atomic_fetch_add (&unmappers, 1);
  int result = unmap (mapping), err = errno;
  atomic_fetch_sub (&unmappers, 1);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  if (result < 0)
    gshm_system_error (UNMAP, err, gshm_mapping_name (mapping), NULL);
  gshm_set_empty (bytevector);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (result);
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
gshm_mapping_start (void)
{
  page_size = (size_t) sysconf (_SC_PAGESIZE);
  /* After those of the registry and of patches.  */
  pthread_atfork (NULL, NULL, finish_unmapping);
  for (size_t i = 0; i < TYPES; i++)
    types[i].symbol
      = scm_permanent_object (scm_from_utf8_symbol (types[i].name));
}

void
gshm_mapping_init (void)
{
  gshm_define ("%shm-map", 9, 0, gshm_map);
  gshm_define ("%shm-view", 4, 0, gshm_view);
  gshm_define ("%shm-unmap!", 1, 0, gshm_unmap);
  gshm_define ("%shm-mapped?", 1, 0, gshm_mapped_p);
  gshm_define ("%shm-name", 1, 0, gshm_name);
  gshm_define ("%shm-check-type", 2, 0, gshm_check_type);
  gshm_define ("%shm-unlink-mapped", 1, 0, gshm_unlink_mapped);
  gshm_define ("%shm-describe", 1, 0, gshm_describe);
}

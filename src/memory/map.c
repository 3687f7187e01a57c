/* SPDX-License-Identifier: BSD-3-Clause
   map.c - mapping an object, and unmapping it.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_LINUX_MAGIC_H
# include <linux/magic.h>
# include <sys/vfs.h>
#endif

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/fault.h"
#include "memory/mapping.h"
#include "memory/name.h"
#include "memory/object.h"
#include "memory/pages.h"
#include "memory/view.h"

#define MAP "shm-map"

/* The size in bytes of the largest mapping, with its offset in a page.  */
#define MAX_SIZE (SIZE_MAX / 2 - gshm_page_size ())
#define UNMAP "shm-unmap!"

/* So many bytes may always be mapped between two collections.  */
#define MIN_BYTES ((size_t) 16 << 20)

/* The converted arguments of shm-map.  */
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

/* The maximum number of mappings, which leaves ranges for Guile and for
   patches within the system's limit.  */
static size_t
max_mappings (void)
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

/* Map as REQUEST says.  Return the address, or MAP_FAILED and errno.  */
static char *
map_pages (const struct request *request)
{
  int flags = MAP_SHARED;

  if (gshm_registry_count () >= max_mappings ())
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

/* Whether a mapping of FD can only be read, if ERR is why mmap refused one that
   can be written: FD is not open for writing, or a seal forbids it.  */
static int
is_only_readable (int fd, int err)
{
  int flags;

  return err == EPERM
         || (err == EACCES && (flags = fcntl (fd, F_GETFL)) >= 0
             && (flags & O_ACCMODE) == O_RDONLY);
}

/* Map as REQUEST says; unless IS_FIXED, read-only if that is all that FD
   allows; and at a shortage, after a collection.  Return the address, or
   MAP_FAILED and errno.  */
static char *
map_with_retry (struct request *request, int is_fixed)
{
  char *base = map_pages (request);

  if (base == MAP_FAILED && !is_fixed)
    {
      int err = errno;
      if (is_only_readable (request->fd, err))
        {
          request->protection = PROT_READ;
          base = map_pages (request);
        }
      else
        errno = err;
    }
  for (int attempts = 0;
       base == MAP_FAILED && gshm_collect_and_retry (errno, &attempts);)
    base = map_pages (request);
  return base;
}

/* Apply the options that need a mapping.  Return 0, or an errno.  */
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

/* The number of mapped bytes at which to collect, if MAPPED are mapped now:
   twice as many, but at most a quarter of the memory more.  */
static size_t
next_limit (size_t mapped)
{
  static atomic_size_t known;   /* a quarter of the memory, in pages */
  size_t most = atomic_load_explicit (&known, memory_order_relaxed);

  if (most == 0)
    {
      most = (size_t) sysconf (_SC_PHYS_PAGES) / 4;
      atomic_store_explicit (&known, most, memory_order_relaxed);
    }
  size_t more = mapped / gshm_page_size () < most ? mapped
                : most * gshm_page_size ();

  return mapped + (more > MIN_BYTES ? more : MIN_BYTES);
}

/* To the collector a mapping is a few words.  But the system limits the number
   of mappings, and their memory is the system's.  So collect when twice as
   many mappings, or bytes, are mapped as at the minimum since the last
   collection.  */
void
gshm_prepare_mapping (void)
{
  static atomic_size_t max_count = 8192, max_bytes = SIZE_MAX;
  size_t bytes = gshm_mapped_bytes (), limit = next_limit (bytes);

  if (limit < atomic_load (&max_bytes))
    atomic_store (&max_bytes, limit);
  if (gshm_registry_count () >= atomic_load (&max_count)
      || bytes > atomic_load (&max_bytes))
    {
      gshm_collect ();
      size_t count = gshm_registry_count ();
      atomic_store (&max_count, count < 4096 ? 8192 : 2 * count);
      atomic_store (&max_bytes, next_limit (gshm_mapped_bytes ()));
    }
}

/* Add a mapping of the pages at BASE to the registry.  It owns NAME, allocated
   or NULL.  Return NULL if there is too little memory; then the caller still
   owns NAME.  */
static struct gshm_mapping *
new_mapping (const struct request *request, char *base, char *name)
{
  size_t length = request->skip + request->size, page = gshm_page_size ();
  /* This does not overflow, since mmap has succeeded.  */
  struct gshm_mapping model
    = { .base = base, .length = (length + page - 1) / page * page,
        .skip = request->skip, .size = request->size,
        .device = request->status.st_dev, .inode = request->status.st_ino,
        .name = name, .is_writable = (request->protection & PROT_WRITE) != 0 };

  return gshm_mapping_new (&model);
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
                           scm_from_int (request->fd)),
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

  request->skip = (size_t) ((uintmax_t) offset % gshm_page_size ());
  request->page_offset = offset - (off_t) request->skip;
  if ((uintmax_t) size > MAX_SIZE)
    gshm_out_of_range_of (MAP, scm_from_intmax (size),
                          "Length is more than a process of this system can "
                          "map of",
                          gshm_descriptor_object (scm_fd));
  request->size = (size_t) size;
}

/* Whether FD is a file of huge pages (hugetlbfs), the size of which is that of
   its blocks.  Linux cannot move or replace a part of such a page, so that
   patches and unmapping would fail.  */
static int
has_only_huge_pages (int fd, const struct stat *status)
{
#ifdef HAVE_LINUX_MAGIC_H
  struct statfs system;

  return (size_t) status->st_blksize > gshm_page_size ()
         && fstatfs (fd, &system) == 0
         && (uint32_t) system.f_type == (uint32_t) HUGETLBFS_MAGIC;
#else
  (void) fd;
  (void) status;
  return 0;
#endif
}

static void
check_descriptor (SCM scm_fd, struct request *request)
{
  if (fstat (request->fd, &request->status) < 0)
    gshm_system_error (MAP, errno, scm_fd, NULL);
  if (!S_ISREG (request->status.st_mode))
    gshm_system_error (MAP, ENODEV, scm_fd,
                       "the descriptor is not one of a shared memory object");
  if (has_only_huge_pages (request->fd, &request->status))
    gshm_system_error (MAP, ENODEV, scm_fd,
                       "it is one of a file of huge pages; #:huge-pages? uses "
                       "them for a shared memory object");
}

/* Map as REQUEST says, and add the mapping, with NAME or NULL, to the
   registry; or raise an exception.  */
static struct gshm_mapping *
map_request (struct request *request, SCM scm_fd, const char *name,
             int is_fixed)
{
  struct gshm_mapping *mapping = NULL;
  char *base = map_with_retry (request, is_fixed);

  if (base == MAP_FAILED)
    gshm_system_error (MAP, errno, gshm_descriptor_object (scm_fd),
                       errno == EACCES ? "the descriptor is not open for what "
                                         "is asked"
                       : errno == EPERM ? "a seal forbids writing to it"
                       : NULL);
  int err = advise (request, base);
  if (err == 0)
    {
      char *own_name = name == NULL ? NULL : strdup (name);
      if (name == NULL || own_name != NULL)
        mapping = new_mapping (request, base, own_name);
      if (mapping == NULL)
        {
          free (own_name);
          err = ENOMEM;
        }
    }
  if (err == 0)
    return mapping;
  munmap (base, request->skip + request->size);
  gshm_system_error (MAP, err, gshm_descriptor_object (scm_fd),
                     err == ENOTSUP ? "this system has no huge pages"
                     : err == ENOMEM && request->lock ? "see ulimit -l"
                     : err == EPERM ? "this user may not lock memory"
                     : NULL);
}

struct gshm_mapping *
gshm_map_object (int fd, size_t size, const char *name)
{
  struct request request
    = { .fd = fd, .size = size, .protection = PROT_READ | PROT_WRITE };
  struct gshm_mapping *mapping = NULL;

  if (fstat (fd, &request.status) < 0)
    return NULL;
  char *base = map_pages (&request);
  if (base == MAP_FAILED)
    return NULL;
  char *own_name = strdup (name);
  if (own_name != NULL)
    mapping = new_mapping (&request, base, own_name);
  if (mapping == NULL)
    {
      free (own_name);
      munmap (base, size);
    }
  return mapping;
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
gshm_bytevector_on (struct gshm_mapping *mapping, size_t count, SCM type)
{
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (release, mapping, 0);
  gshm_fault_install ();
  SCM pointer = scm_from_pointer (mapping->base + mapping->skip, NULL);
  SCM bytevector = scm_pointer_to_bytevector (pointer, scm_from_size_t (count),
                                              SCM_INUM0, type);
  gshm_set_finalizer (pointer, finalize, mapping);
  scm_dynwind_end ();
  scm_remember_upto_here_1 (pointer);
  return bytevector;
}

/* (FD OFFSET LENGTH TYPE WRITABLE POPULATE LOCK HUGE-PAGES NAME) ->
   bytevector.  LENGTH #f means up to the end; WRITABLE not a boolean, if FD
   allows it; NAME #f, that it is not known.  */
static SCM
gshm_map (SCM scm_fd, SCM scm_offset, SCM scm_length, SCM type, SCM writable,
          SCM populate, SCM lock, SCM huge_pages, SCM scm_name)
{
  struct request request
    = { .populate = scm_is_true (populate), .lock = scm_is_true (lock),
        .huge_pages = scm_is_true (huge_pages) };
  request.fd = gshm_to_descriptor (MAP, 1, scm_fd);
  size_t element_size = gshm_type_size (MAP, type);
  check_descriptor (scm_fd, &request);
  check_range (scm_fd, scm_offset, scm_length, type, element_size, &request);
  request.protection = scm_is_false (writable) ? PROT_READ
                       : PROT_READ | PROT_WRITE;

  gshm_prepare_mapping ();
  scm_dynwind_begin (0);
  char *name = NULL;
  if (scm_is_true (scm_name))
    {
      name = scm_to_utf8_string (scm_name);
      scm_dynwind_free (name);
    }
  struct gshm_mapping *mapping = map_request (&request, scm_fd, name,
                                              scm_is_bool (writable));
  scm_dynwind_end ();
  scm_remember_upto_here_1 (scm_fd);
  return gshm_bytevector_on (mapping, request.size / element_size, type);
}

/* (BYTEVECTOR) -> boolean.  */
static SCM
gshm_unmap (SCM bytevector)
{
  struct gshm_mapping *mapping = gshm_mapping_wanted (UNMAP, bytevector);
  int result = gshm_mapping_unmap (mapping), err = errno;

  if (result < 0)
    gshm_system_error (UNMAP, err, gshm_mapping_name (mapping), NULL);
  gshm_set_empty (bytevector);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (result);
}

/* (BYTEVECTOR) -> boolean: unlink the object's name, if it still has that.  */
static SCM
gshm_unlink_mapped (SCM bytevector)
{
  struct gshm_mapping *mapping
    = gshm_mapping_wanted ("call-with-shm", bytevector);
  SCM name = gshm_mapping_name (mapping), result = SCM_BOOL_F;

  if (scm_is_true (name))
    result = gshm_unlink_same ("call-with-shm", name, mapping->device,
                               mapping->inode, NULL, NULL);
  scm_remember_upto_here_1 (bytevector);
  return result;
}

void
gshm_map_init (void)
{
  gshm_define ("%shm-map", 9, 0, gshm_map);
  gshm_define ("%shm-unmap!", 1, 0, gshm_unmap);
  gshm_define ("%shm-unlink-mapped", 1, 0, gshm_unlink_mapped);
  gshm_define_size ("%shm-max-size", MAX_SIZE);
}

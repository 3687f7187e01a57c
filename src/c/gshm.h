/* SPDX-License-Identifier: BSD-3-Clause
   gshm.h - shared memory objects, locks, channels and broadcasts.

   Programs in C, C++, Python and Guile share them, also programs of 32 and of
   64 bits.

   Results.  Most functions return 0, or a negative errno; what each one means
   is said with the function, and gshm_strerror tells it to users.  All of them
   can return

     -EINVAL   a pointer is NULL or misaligned, a timeout is negative, or the
               memory does not contain the structure, for instance because it
               was not initialized, has another version, or is too short;
     -EMFILE, -ENFILE or -ENOMEM
               when a thread first uses a lock, a channel or a broadcast, the
               library opens a descriptor for a moment; none was left.

   Waiting.  Only the functions that have a timeout wait for other processes.
   It is in nanoseconds.  With 0 a function does not wait, except a moment
   while another thread copies a message.  With GSHM_FOREVER it waits until it
   succeeds.  A signal does not end a wait: its handler runs, and the
   wait goes on.

   Threads.  Any thread may call any function at any time, except that a slot
   (struct gshm_slot) belongs to the thread that reserved it or peeked at it,
   and a subscriber to one thread at a time.  No function may be called by the
   handler of a signal.  The child of fork () is another owner: it owns none of
   the locks that its parent owns, and has none of its slots.

   Memory.  Map it for writing: a store to memory that is not raises SIGSEGV.
   Only a subscriber needs no more than to read.  No function calls malloc.  The
   library keeps one descriptor open, so that it can check whether an owner is
   alive also when the process has no descriptor left.

   SIGBUS.  If another process truncates an object, an access past its end
   raises SIGBUS, also in these functions.  Objects that are sealed with
   F_SEAL_SHRINK cannot be truncated.  The same happens if the system has no
   memory left for a page that is accessed for the first time, for instance
   because /dev/shm is full; gshm_object_reserve prevents that.

   This header is for C11 or C++11 and later.  */

#ifndef GSHM_H
#define GSHM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
# define GSHM_ALIGNED alignas (8)
# define GSHM_BEGIN                                                          \
    extern "C"                                                                \
    {
# define GSHM_END }
#else
# define GSHM_ALIGNED _Alignas (8)
# define GSHM_BEGIN
# define GSHM_END
#endif

GSHM_BEGIN

/* A timeout that never expires.  */
#define GSHM_FOREVER INT64_MAX

/* What ERROR, a negative errno, means as a result of these functions, in
   English.  The text is constant, or the C library's strerror's.  */
const char *gshm_strerror (int error);


/* Objects.

   An object is created without a name, is initialized, and is published whole:
   no process can attach to half of it.  */

struct gshm_object
{
  void *memory;   /* aligned to a page */
  size_t size;    /* in bytes */
  int fd;         /* open until gshm_object_close */
  int state;      /* private */
  char name[256]; /* private */
};

/* Create an object of SIZE bytes, all zero, and map it for reading and
   writing.  NAME begins with a slash and has no other; gshm_object_publish
   will give the object that name.  With NULL the object is anonymous: pass on
   its descriptor.  MODE has the permissions, as 0600.

   On systems that cannot link objects to names, as Linux can, other processes
   can attach before it is published.  They find no lock, channel or broadcast
   there until it is initialized.

   If OBJECT is open, close it first, else its mapping is lost.  After an error
   it is closed: closing it again does nothing, and its memory is NULL.

   Errors: -EEXIST, the name is taken; -EINVAL, NAME is not a name, SIZE is 0
   or more than PTRDIFF_MAX, or MODE has bits other than 0777; -ENAMETOOLONG; -ENOSYS,
   the system has no shared memory; others, as of open, ftruncate and mmap.  */
int gshm_object_create (struct gshm_object *object, const char *name,
                        size_t size, unsigned int mode);

/* Allocate all of its memory now.  -ENOSPC, -ENOMEM: there is too little.
   -ENOSYS: the system cannot do that.  */
int gshm_object_reserve (struct gshm_object *object);

/* Give OBJECT, a new one, its name.  -EEXIST: it is taken; OBJECT may be
   closed, or published later.  -EINVAL: it has no name, or was published
   before.  */
int gshm_object_publish (struct gshm_object *object);

/* How to map an object: for reading only, or also for writing.  */
enum gshm_access
{
  GSHM_READ_ONLY = 0,
  GSHM_READ_WRITE = 1
};

/* Map the object NAME, all of it.  Wait up to TIMEOUT_NS until it exists and
   has a size; there is no wake-up for that, so that this polls.

   Errors: -ENOENT, it does not exist; -EACCES; -ETIMEDOUT, it exists, and has
   no size; -EWOULDBLOCK, another process is checking whether it is in use;
   others, as of shm_open and mmap.  After an error OBJECT is closed.  */
int gshm_object_attach (struct gshm_object *object, const char *name,
                        enum gshm_access access, int64_t timeout_ns);

/* Map the object behind the descriptor FD, all of it.  FD stays the caller's.
   -EBADF; -EACCES: it is not open for writing; -EINVAL: it has no size.  */
int gshm_object_map (struct gshm_object *object, int fd,
                     enum gshm_access access);

/* Unmap OBJECT and close its descriptor.  An object that was created, and not
   published, is gone then.  Closing a closed object does nothing.  */
void gshm_object_close (struct gshm_object *object);

/* Remove the name NAME.  Those that have mapped the object keep it.
   -ENOENT: there is none; -EACCES.  */
int gshm_object_unlink (const char *name);


/* Mutexes.

   A mutex is robust: if its owner dies, the next one to lock it is told.  */

struct gshm_mutex
{
  GSHM_ALIGNED uint64_t words[3]; /* private, in all structures */
};

/* Initialize it, once, before others use it.  */
int gshm_mutex_init (struct gshm_mutex *mutex);

/* Lock it.  -EOWNERDEAD: it is locked, and its last owner died while it owned
   it, so that the data may be inconsistent; repair them and unlock, or call
   gshm_mutex_abandon.  -ETIMEDOUT: another thread owns it.  -EDEADLK: this
   thread does.  */
int gshm_mutex_lock (struct gshm_mutex *mutex, int64_t timeout_ns);

/* Unlock it; the data count as consistent.  -EPERM: this thread does not own
   it.  */
int gshm_mutex_unlock (struct gshm_mutex *mutex);

/* The same, but the data are not consistent: the next one to lock it gets
   -EOWNERDEAD.  */
int gshm_mutex_abandon (struct gshm_mutex *mutex);


/* Condition variables.  */

struct gshm_condition_variable
{
  GSHM_ALIGNED uint64_t words[2];
};

int gshm_condition_variable_init (struct gshm_condition_variable *condition);

/* Unlock MUTEX, which this thread owns, wait for a signal, and lock it again.
   Check your condition again when this returns: it may return without a
   signal.  If this thread has locked the mutex with -EOWNERDEAD, the data are
   consistent by now.

   This thread owns MUTEX again for 0, for -ETIMEDOUT, and for -EOWNERDEAD: as
   for gshm_mutex_lock, another owner died meanwhile.  Locking it again may
   take longer than the timeout.  -EPERM: this thread did not own it.  After
   -EINVAL it may own it or not.  */
int gshm_condition_variable_wait (struct gshm_condition_variable *condition,
                                  struct gshm_mutex *mutex,
                                  int64_t timeout_ns);

/* Wake one waiter, or all.  */
int gshm_condition_variable_signal (struct gshm_condition_variable *condition);
int
gshm_condition_variable_broadcast (struct gshm_condition_variable *condition);


/* Semaphores.  */

struct gshm_semaphore
{
  GSHM_ALIGNED uint64_t words[2];
};

#define GSHM_SEMAPHORE_MAX 0x7fffffff

/* -EINVAL: VALUE is larger than GSHM_SEMAPHORE_MAX.  */
int gshm_semaphore_init (struct gshm_semaphore *semaphore, uint32_t value);

/* Add 1 to the value.  -EOVERFLOW: it is GSHM_SEMAPHORE_MAX.  */
int gshm_semaphore_post (struct gshm_semaphore *semaphore);

/* Wait until the value is not 0, and subtract 1.  -ETIMEDOUT.  */
int gshm_semaphore_wait (struct gshm_semaphore *semaphore, int64_t timeout_ns);

/* Store the value in VALUE.  */
int gshm_semaphore_value (const struct gshm_semaphore *semaphore,
                          uint32_t *value);


/* Barriers.  */

#define GSHM_BARRIER_MAX 256 /* parties */

struct gshm_barrier
{
  GSHM_ALIGNED uint64_t words[4 + GSHM_BARRIER_MAX];
};

/* -EINVAL: PARTIES is 0, or more than GSHM_BARRIER_MAX.  */
int gshm_barrier_init (struct gshm_barrier *barrier, uint32_t parties);

/* Wait until PARTIES threads wait.  A thread that dies while it waits no
   longer counts.  -ETIMEDOUT: this thread no longer waits.  */
int gshm_barrier_wait (struct gshm_barrier *barrier, int64_t timeout_ns);


/* Read-write locks.  */

#define GSHM_RWLOCK_MAX_READERS 128

struct gshm_rwlock
{
  GSHM_ALIGNED uint64_t words[3 + GSHM_RWLOCK_MAX_READERS];
};

int gshm_rwlock_init (struct gshm_rwlock *rwlock);

/* Lock it as a reader, or as the writer.  -EOWNERDEAD, also for a reader: this
   thread is the writer now, and the last writer died while it was; repair the
   data and unlock, or call gshm_rwlock_abandon.  -ETIMEDOUT; -EDEADLK: this
   thread has locked it already.  */
int gshm_rwlock_read_lock (struct gshm_rwlock *rwlock, int64_t timeout_ns);
int gshm_rwlock_write_lock (struct gshm_rwlock *rwlock, int64_t timeout_ns);

/* Unlock it, as a reader or the writer; the data count as consistent.  -EPERM:
   this thread has not locked it.  */
int gshm_rwlock_unlock (struct gshm_rwlock *rwlock);

/* The same, but if this thread is the writer, the data are not consistent: the
   next one to lock it gets -EOWNERDEAD.  */
int gshm_rwlock_abandon (struct gshm_rwlock *rwlock);


/* Channels.

   A channel is a queue of messages, for any number of senders and receivers;
   one receiver gets each message.  */

/* The size of a channel's header.  The rest of its memory has the messages:
   each takes 8 bytes more than its length, rounded up to a multiple of 8.  */
#define GSHM_CHANNEL_HEADER_SIZE 1664

/* A channel that is open.  Several threads may use it.  There is nothing to
   close: gshm_channel_close closes the channel for all.  */
struct gshm_channel
{
  void *memory; /* private, both */
  size_t length;
};

/* Make the LENGTH bytes at MEMORY an empty channel.  -EINVAL: MEMORY is not
   aligned to 8 bytes, or LENGTH is less than GSHM_CHANNEL_HEADER_SIZE + 8.  */
int gshm_channel_init (void *memory, size_t length);

/* Set CHANNEL to the one in the LENGTH bytes at MEMORY.  -EINVAL: there is
   none, or it does not fit into LENGTH bytes.  */
int gshm_channel_open (struct gshm_channel *channel, void *memory,
                       size_t length);

/* Send a copy of the LENGTH bytes at MESSAGE; wait until there is space.

   -ETIMEDOUT; -EPIPE: the channel is closed; -EMSGSIZE: LENGTH is larger than
   the channel's memory less GSHM_CHANNEL_HEADER_SIZE + 8; -EDEADLK: this
   thread has a slot that must be committed, released or cancelled first.  */
int gshm_channel_send (const struct gshm_channel *channel, const void *message,
                       size_t length, int64_t timeout_ns);

/* Wait for a message, and copy it to the SIZE bytes at BUFFER.  Store its
   length in LENGTH.

   -ETIMEDOUT; -EPIPE: the channel is closed, and there are no messages;
   -EMSGSIZE: it is longer than SIZE; its length is stored, and the message
   stays; -EDEADLK: as for gshm_channel_send.  */
int gshm_channel_receive (const struct gshm_channel *channel, void *buffer,
                          size_t size, size_t *length, int64_t timeout_ns);

/* Close it.  Senders get -EPIPE from now on, and receivers once they have
   received the messages that are there.  */
int gshm_channel_close (const struct gshm_channel *channel);

/* Return 1 if it is closed, 0 if not.  */
int gshm_channel_is_closed (const struct gshm_channel *channel);

/* A message in the channel's memory.  Do not copy the struct, and commit,
   release or cancel it before you unmap the memory.  While a thread has
   reserved a slot, no other thread sends; while it peeks at one, no other
   receives.  If it dies, its message is not sent, or stays.  */
struct gshm_slot
{
  void *bytes; /* of the message, aligned to 8 */
  size_t length;
  uint64_t private_words[40];
};

/* Wait for space for a message of LENGTH bytes, and set SLOT to it, for
   writing the message there.  Errors, for which SLOT does not change: as for
   gshm_channel_send; -EBUSY: this thread has SLOT already.  */
int gshm_channel_reserve (const struct gshm_channel *channel,
                          struct gshm_slot *slot, size_t length,
                          int64_t timeout_ns);

/* Send the first LENGTH bytes of SLOT.  -ERANGE: fewer were reserved.  -EPIPE:
   the channel was closed meanwhile.  -EPERM: this thread has no such slot; it
   may have been committed before.  */
int gshm_channel_commit (struct gshm_slot *slot, size_t length);

/* Wait for a message, and set SLOT to it, for reading it there.  Errors: as
   for gshm_channel_receive; -EBUSY: this thread has SLOT already.  */
int gshm_channel_peek (const struct gshm_channel *channel,
                       struct gshm_slot *slot, int64_t timeout_ns);

/* The message of SLOT has been received: remove it.  -EPERM: this thread has
   no such slot.  */
int gshm_channel_release (struct gshm_slot *slot);

/* Give back a slot that was reserved: nothing is sent; or one that was peeked
   at: the message stays.  -EPERM: this thread has no such slot.  */
int gshm_channel_cancel (struct gshm_slot *slot);


/* Broadcasts.

   Every subscriber sees every message, unless senders overwrite it first: they
   never wait for subscribers.  */

/* A broadcast that is open for senders.  Several threads may use it.  */
struct gshm_broadcast
{
  void *memory; /* private, both */
  size_t length;
};

/* The size of the memory of a broadcast of CAPACITY bytes; 0 if that is less
   than 2, or too large.  The largest message has half the capacity.  */
size_t gshm_broadcast_size (size_t capacity);

/* Make the LENGTH bytes at MEMORY an empty broadcast of CAPACITY bytes.
   -EINVAL: MEMORY is not aligned to 8 bytes, or LENGTH is smaller than
   gshm_broadcast_size (CAPACITY).  */
int gshm_broadcast_init (void *memory, size_t length, size_t capacity);

/* Set BROADCAST to the one in the LENGTH bytes at MEMORY.  -EINVAL: there is
   none, or it does not fit into LENGTH bytes.  */
int gshm_broadcast_open (struct gshm_broadcast *broadcast, void *memory,
                         size_t length);

/* Send a copy of the LENGTH bytes at MESSAGE to all subscribers.  It may
   wait for other senders, but not for subscribers.  -ETIMEDOUT; -EPIPE: it is
   closed; -EMSGSIZE.  */
int gshm_broadcast_send (const struct gshm_broadcast *broadcast,
                         const void *message, size_t length,
                         int64_t timeout_ns);

/* Close it.  Senders get -EPIPE from now on, and a subscriber once it has
   received the messages that are there.  */
int gshm_broadcast_close (const struct gshm_broadcast *broadcast);

/* Which message a subscriber receives first: the next one that is sent, the
   newest, or the oldest that is there.  */
enum gshm_from
{
  GSHM_FROM_NOW = 0,
  GSHM_FROM_LATEST = 1,
  GSHM_FROM_OLDEST = 2
};

struct gshm_subscriber
{
  void *memory; /* private, all */
  size_t length;
  uint64_t private_words[5];
};

/* Subscribe to the broadcast in the LENGTH bytes at MEMORY.  ACCESS says how
   that is mapped: a subscriber that can write is woken when there is a
   message; one that can only read polls, every millisecond at first, later
   every 10.  */
int gshm_subscriber_open (struct gshm_subscriber *subscriber, void *memory,
                          size_t length, enum gshm_access access,
                          enum gshm_from from);

/* Wait for the next message, and copy it to the SIZE bytes at BUFFER.  Store
   its length in LENGTH.

   -ETIMEDOUT; -EPIPE: the broadcast is closed, and there are no more messages;
   -EMSGSIZE: it is longer than SIZE; its length is stored, and it is still the
   next one.  */
int gshm_subscriber_receive (struct gshm_subscriber *subscriber, void *buffer,
                             size_t size, size_t *length, int64_t timeout_ns);

/* The same for the newest message, without waiting; the next one is then the
   one after that.  -ENOMSG: there is none.  -EINVAL also if senders overwrite
   the newest message for a second.  */
int gshm_subscriber_latest (struct gshm_subscriber *subscriber, void *buffer,
                            size_t size, size_t *length);

/* How many messages were overwritten before this subscriber received them.  */
uint64_t gshm_subscriber_missed (const struct gshm_subscriber *subscriber);

GSHM_END

#endif /* GSHM_H */

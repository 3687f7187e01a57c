/* SPDX-License-Identifier: BSD-3-Clause
   c-library.c - check libgshm, for c-library.scm.

   Usage: c-library NAME WHOLE ANONYMOUS
   NAME is that of an object that this program may create.  The others are 1 or
   0: whether an object is absent until it is published, and whether the system
   has anonymous ones.  This prints "PASS: " or "FAIL: " and a description for
   each check.  */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <gshm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND INT64_C (1000000000)

static void
check (const char *what, long long expected, long long found)
{
  if (found == expected)
    printf ("PASS: %s\n", what);
  else
    printf ("FAIL: %s: %lld, not %lld\n", what, found, expected);
  fflush (stdout);
}

/* Shared with children.  */
static void *
map_shared (size_t size)
{
  void *memory = mmap (NULL, size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    {
      perror ("mmap");
      exit (1);
    }
  return memory;
}

/* Call FUNCTION with DATA in a child, which is killed at its end.  */
static void
in_killed_child (void (*function) (void *data), void *data)
{
  pid_t pid = fork ();

  if (pid == 0)
    {
      function (data);
      raise (SIGKILL);
    }
  waitpid (pid, NULL, 0);
}

/* Return what FUNCTION returns for DATA in a child.  */
static int
in_child (int (*function) (void *data), void *data)
{
  int status;
  pid_t pid = fork ();

  if (pid == 0)
    _exit (-function (data));
  waitpid (pid, &status, 0);
  return -WEXITSTATUS (status);
}


/* Locks.  */

struct locks
{
  struct gshm_mutex mutex;
  struct gshm_condition_variable condition;
  struct gshm_semaphore semaphore;
  struct gshm_barrier barrier;
  struct gshm_rwlock rwlock;
  uint64_t number;
};

static void
lock_mutex (void *data)
{
  gshm_mutex_lock (&((struct locks *) data)->mutex, GSHM_FOREVER);
}

static int
try_mutex (void *data)
{
  struct gshm_mutex *mutex = &((struct locks *) data)->mutex;
  int result = gshm_mutex_lock (mutex, 0);

  if (result == 0)
    gshm_mutex_unlock (mutex);
  return result;
}

static int
unlock_mutex (void *data)
{
  return gshm_mutex_unlock (&((struct locks *) data)->mutex);
}

static void
check_mutex (struct locks *locks)
{
  struct gshm_mutex *mutex = &locks->mutex;

  check ("a mutex that is not initialized", -EINVAL,
         gshm_mutex_lock (mutex, 0));
  check ("mutex: init", 0, gshm_mutex_init (mutex));
  check ("mutex: unlock when free", -EPERM, gshm_mutex_unlock (mutex));
  check ("mutex: lock", 0, gshm_mutex_lock (mutex, GSHM_FOREVER));
  check ("mutex: lock twice", -EDEADLK, gshm_mutex_lock (mutex, 0));
  check ("mutex: another process times out", -ETIMEDOUT,
         in_child (try_mutex, locks));
  check ("mutex: another process does not unlock it", -EPERM,
         in_child (unlock_mutex, locks));
  check ("mutex: unlock", 0, gshm_mutex_unlock (mutex));
  check ("mutex: then another process locks it", 0,
         in_child (try_mutex, locks));
  in_killed_child (lock_mutex, locks);
  check ("mutex: after a dead owner", -EOWNERDEAD,
         gshm_mutex_lock (mutex, GSHM_FOREVER));
  check ("mutex: abandon", 0, gshm_mutex_abandon (mutex));
  check ("mutex: abandon twice", -EPERM, gshm_mutex_abandon (mutex));
  check ("mutex: still abandoned", -EOWNERDEAD, gshm_mutex_lock (mutex, 0));
  check ("mutex: unlock", 0, gshm_mutex_unlock (mutex));
  check ("mutex: repaired", 0, gshm_mutex_lock (mutex, 0));
  gshm_mutex_unlock (mutex);
  check ("mutex: a negative timeout", -EINVAL, gshm_mutex_lock (mutex, -1));
  check ("mutex: NULL", -EINVAL, gshm_mutex_lock (NULL, 0));
  check ("mutex: misaligned", -EINVAL,
         gshm_mutex_init ((void *) ((char *) mutex + 4)));
  mutex->words[0]++;
  check ("mutex: of another format", -EINVAL, gshm_mutex_lock (mutex, 0));
  mutex->words[0]--;
}

static void *
set_number (void *data)
{
  struct locks *locks = data;

  gshm_mutex_lock (&locks->mutex, GSHM_FOREVER);
  locks->number = 1;
  gshm_condition_variable_signal (&locks->condition);
  gshm_mutex_unlock (&locks->mutex);
  return NULL;
}

static void
check_condition_variable (struct locks *locks)
{
  struct gshm_condition_variable *condition = &locks->condition;
  pthread_t thread;
  int result = 0;

  check ("condition variable: init", 0,
         gshm_condition_variable_init (condition));
  check ("condition variable: without the mutex", -EPERM,
         gshm_condition_variable_wait (condition, &locks->mutex, 0));
  gshm_mutex_lock (&locks->mutex, GSHM_FOREVER);
  check ("condition variable: times out", -ETIMEDOUT,
         gshm_condition_variable_wait (condition, &locks->mutex, 1000));
  pthread_create (&thread, NULL, set_number, locks);
  while (locks->number == 0 && result == 0)
    result
      = gshm_condition_variable_wait (condition, &locks->mutex, GSHM_FOREVER);
  check ("condition variable: signalled", 0, result);
  check ("condition variable: with the mutex", 0,
         gshm_mutex_unlock (&locks->mutex));
  pthread_join (thread, NULL);
  in_killed_child (lock_mutex, locks);
  gshm_mutex_lock (&locks->mutex, GSHM_FOREVER);
  check ("condition variable: a wait declares the data consistent", -ETIMEDOUT,
         gshm_condition_variable_wait (condition, &locks->mutex, 1000));
  gshm_mutex_unlock (&locks->mutex);
  check ("condition variable: broadcast", 0,
         gshm_condition_variable_broadcast (condition));
  check ("condition variable: NULL", -EINVAL,
         gshm_condition_variable_signal (NULL));
}

static void
check_semaphore (struct locks *locks)
{
  struct gshm_semaphore *semaphore = &locks->semaphore;
  uint32_t value = 7;

  check ("semaphore: too large", -EINVAL,
         gshm_semaphore_init (semaphore, UINT32_C (1) << 31));
  check ("semaphore: init", 0, gshm_semaphore_init (semaphore, 1));
  check ("semaphore: wait", 0, gshm_semaphore_wait (semaphore, 0));
  check ("semaphore: times out", -ETIMEDOUT,
         gshm_semaphore_wait (semaphore, 1000));
  check ("semaphore: value", 0, gshm_semaphore_value (semaphore, &value));
  check ("semaphore: is 0", 0, value);
  check ("semaphore: post", 0, gshm_semaphore_post (semaphore));
  gshm_semaphore_init (semaphore, GSHM_SEMAPHORE_MAX);
  check ("semaphore: overflow", -EOVERFLOW, gshm_semaphore_post (semaphore));
  check ("semaphore: NULL", -EINVAL, gshm_semaphore_value (semaphore, NULL));
}

static int
wait_at_barrier (void *data)
{
  return gshm_barrier_wait (&((struct locks *) data)->barrier, 10 * SECOND);
}

static void
check_barrier (struct locks *locks)
{
  struct gshm_barrier *barrier = &locks->barrier;
  int status;

  check ("barrier: no parties", -EINVAL, gshm_barrier_init (barrier, 0));
  check ("barrier: too many", -EINVAL, gshm_barrier_init (barrier, 257));
  check ("barrier: init", 0, gshm_barrier_init (barrier, 2));
  check ("barrier: alone", -ETIMEDOUT, gshm_barrier_wait (barrier, 1000));
  pid_t pid = fork ();
  if (pid == 0)
    _exit (-wait_at_barrier (locks));
  check ("barrier: two", 0, wait_at_barrier (locks));
  waitpid (pid, &status, 0);
  check ("barrier: and the other one", 0, status);
}

static void
write_lock (void *data)
{
  gshm_rwlock_write_lock (&((struct locks *) data)->rwlock, GSHM_FOREVER);
}

static void
read_lock (void *data)
{
  gshm_rwlock_read_lock (&((struct locks *) data)->rwlock, GSHM_FOREVER);
}

static int
try_to_read (void *data)
{
  return gshm_rwlock_read_lock (&((struct locks *) data)->rwlock, 0);
}

static void
check_rwlock (struct locks *locks)
{
  struct gshm_rwlock *rwlock = &locks->rwlock;

  check ("rwlock: init", 0, gshm_rwlock_init (rwlock));
  check ("rwlock: unlock when free", -EPERM, gshm_rwlock_unlock (rwlock));
  check ("rwlock: read", 0, gshm_rwlock_read_lock (rwlock, 0));
  check ("rwlock: read in another process", 0, in_child (try_to_read, locks));
  check ("rwlock: write as well", -EDEADLK,
         gshm_rwlock_write_lock (rwlock, 0));
  check ("rwlock: unlock", 0, gshm_rwlock_unlock (rwlock));
  in_killed_child (read_lock, locks);
  check ("rwlock: write after a dead reader", 0,
         gshm_rwlock_write_lock (rwlock, 10 * SECOND));
  check ("rwlock: then others time out", -ETIMEDOUT,
         in_child (try_to_read, locks));
  gshm_rwlock_unlock (rwlock);
  in_killed_child (write_lock, locks);
  check ("rwlock: after a dead writer", -EOWNERDEAD,
         gshm_rwlock_read_lock (rwlock, GSHM_FOREVER));
  check ("rwlock: abandon", 0, gshm_rwlock_abandon (rwlock));
  check ("rwlock: still abandoned", -EOWNERDEAD,
         gshm_rwlock_write_lock (rwlock, 0));
  gshm_rwlock_unlock (rwlock);
  check ("rwlock: repaired", 0, gshm_rwlock_write_lock (rwlock, 0));
  gshm_rwlock_unlock (rwlock);
}


/* Channels.  */

static int
commit_in_child (void *slot)
{
  return gshm_channel_commit (slot, 1);
}

struct channel_and_slot
{
  struct gshm_channel channel;
  struct gshm_slot slot;
};

static void
reserve_and_die (void *data)
{
  struct channel_and_slot *it = data;

  gshm_channel_reserve (&it->channel, &it->slot, 10, GSHM_FOREVER);
}

static void
peek_and_die (void *data)
{
  struct channel_and_slot *it = data;

  gshm_channel_peek (&it->channel, &it->slot, GSHM_FOREVER);
}

static void
check_slots (const struct gshm_channel *channel)
{
  struct channel_and_slot it = { .channel = *channel };
  struct gshm_slot *slot = &it.slot, other;
  char buffer[100];
  size_t length;

  memset (slot, 0x55, sizeof *slot);
  check ("slot: that was never filled", -EPERM, gshm_channel_cancel (slot));
  check ("slot: reserve", 0, gshm_channel_reserve (channel, slot, 10, 0));
  check ("slot: reserve it again", -EBUSY,
         gshm_channel_reserve (channel, slot, 10, 0));
  check ("slot: peek with it", -EBUSY, gshm_channel_peek (channel, slot, 0));
  other = *slot;
  check ("slot: a copy", -EPERM, gshm_channel_commit (&other, 3));
  check ("slot: reserve twice", -EDEADLK,
         gshm_channel_reserve (channel, &other, 10, 0));
  check ("slot: send while one is reserved", -EDEADLK,
         gshm_channel_send (channel, "x", 1, 0));
  check ("slot: a child does not have it", -EPERM,
         in_child (commit_in_child, slot));
  memcpy (slot->bytes, "abcdefghij", 10);
  check ("slot: release what was reserved", -EPERM,
         gshm_channel_release (slot));
  check ("slot: commit too much", -ERANGE, gshm_channel_commit (slot, 11));
  check ("slot: commit less", 0, gshm_channel_commit (slot, 3));
  check ("slot: commit twice", -EPERM, gshm_channel_commit (slot, 3));
  check ("slot: cancel what was committed", -EPERM,
         gshm_channel_cancel (slot));
  check ("slot: peek", 0, gshm_channel_peek (channel, slot, 0));
  check ("slot: its length", 3, (long long) slot->length);
  check ("slot: its bytes", 0, memcmp (slot->bytes, "abc", 3));
  check ("slot: commit what was peeked at", -EPERM,
         gshm_channel_commit (slot, 3));
  check ("slot: cancel", 0, gshm_channel_cancel (slot));
  check ("slot: peek again", 0, gshm_channel_peek (channel, slot, 0));
  check ("slot: release", 0, gshm_channel_release (slot));
  check ("slot: nothing is left", -ETIMEDOUT,
         gshm_channel_peek (channel, slot, 0));
  check ("slot: then there is none", -EPERM, gshm_channel_release (slot));
  in_killed_child (reserve_and_die, &it);
  check ("slot: a dead sender has sent nothing", -ETIMEDOUT,
         gshm_channel_receive (channel, buffer, 100, &length, 1000));
  check ("slot: and others send", 0,
         gshm_channel_send (channel, "xy", 2, SECOND));
  in_killed_child (peek_and_die, &it);
  check ("slot: a dead receiver has received nothing", 0,
         gshm_channel_receive (channel, buffer, 100, &length, SECOND));
  check ("slot: of two bytes", 2, (long long) length);
}

static void
check_channel (void)
{
  const size_t size = GSHM_CHANNEL_HEADER_SIZE + 256;
  char *memory = map_shared (8192);
  struct gshm_channel channel;
  char buffer[300];
  size_t length = 0;

  check ("channel: too small", -EINVAL,
         gshm_channel_init (memory, GSHM_CHANNEL_HEADER_SIZE + 7));
  check ("channel: misaligned", -EINVAL, gshm_channel_init (memory + 4, size));
  check ("channel: NULL", -EINVAL, gshm_channel_init (NULL, size));
  check ("channel: none there", -EINVAL,
         gshm_channel_open (&channel, memory, size));
  check ("channel: not open", -EINVAL, gshm_channel_send (&channel, "", 0, 0));
  check ("channel: init", 0, gshm_channel_init (memory, size));
  check ("channel: longer than its memory", -EINVAL,
         gshm_channel_open (&channel, memory, size - 8));
  check ("channel: open", 0, gshm_channel_open (&channel, memory, size));
  check ("channel: empty", -ETIMEDOUT,
         gshm_channel_receive (&channel, buffer, 300, &length, 1000));
  check ("channel: send", 0, gshm_channel_send (&channel, "hello", 5, 0));
  check ("channel: send nothing", 0, gshm_channel_send (&channel, NULL, 0, 0));
  check ("channel: NULL has no bytes", -EINVAL,
         gshm_channel_send (&channel, NULL, 1, 0));
  check ("channel: too long for the buffer", -EMSGSIZE,
         gshm_channel_receive (&channel, buffer, 4, &length, 0));
  check ("channel: the length is told", 5, (long long) length);
  check ("channel: receive", 0,
         gshm_channel_receive (&channel, buffer, 5, &length, 0));
  check ("channel: the bytes", 0, memcmp (buffer, "hello", 5));
  check ("channel: receive nothing", 0,
         gshm_channel_receive (&channel, NULL, 0, &length, 0));
  check ("channel: of no bytes", 0, (long long) length);
  check ("channel: too long for it", -EMSGSIZE,
         gshm_channel_send (&channel, buffer, 249, 0));
  check ("channel: the largest", 0,
         gshm_channel_send (&channel, buffer, 248, 0));
  check ("channel: full", -ETIMEDOUT,
         gshm_channel_send (&channel, buffer, 248, 1000));
  gshm_channel_receive (&channel, buffer, 300, &length, 0);
  check_slots (&channel);
  check ("channel: is not closed", 0, gshm_channel_is_closed (&channel));
  gshm_channel_send (&channel, "last", 4, 0);
  check ("channel: close", 0, gshm_channel_close (&channel));
  check ("channel: is closed", 1, gshm_channel_is_closed (&channel));
  check ("channel: send when closed", -EPIPE,
         gshm_channel_send (&channel, "x", 1, GSHM_FOREVER));
  check ("channel: receive the last one", 0,
         gshm_channel_receive (&channel, buffer, 300, &length, 0));
  check ("channel: receive when closed", -EPIPE,
         gshm_channel_receive (&channel, buffer, 300, &length, GSHM_FOREVER));
  memory[6]++;
  check ("channel: of another version", -EINVAL,
         gshm_channel_open (&channel, memory, size));
  check ("channel: which is noticed later, too", -EINVAL,
         gshm_channel_send (&channel, "x", 1, 0));
  munmap (memory, 8192);
}


/* Broadcasts.  */

static void
check_broadcast (void)
{
  const size_t size = gshm_broadcast_size (200);
  char *memory = map_shared (8192);
  struct gshm_broadcast broadcast;
  struct gshm_subscriber all, now;
  char buffer[100];
  size_t length = 0;

  check ("broadcast: too large", 0,
         (long long) gshm_broadcast_size (SIZE_MAX));
  check ("broadcast: too small", -EINVAL,
         gshm_broadcast_init (memory, size - 1, 200));
  check ("broadcast: none there", -EINVAL,
         gshm_broadcast_open (&broadcast, memory, size));
  check ("broadcast: init", 0, gshm_broadcast_init (memory, size, 200));
  check ("broadcast: longer than its memory", -EINVAL,
         gshm_broadcast_open (&broadcast, memory, size - 8));
  check ("broadcast: open", 0, gshm_broadcast_open (&broadcast, memory, size));
  all.private_words[2] = 7;
  check ("broadcast: subscribe to another one", -EINVAL,
         gshm_subscriber_open (&all, memory + 8, size, GSHM_READ_ONLY,
                               GSHM_FROM_OLDEST));
  check ("broadcast: which leaves nothing", 0,
         (long long) gshm_subscriber_missed (&all));
  check ("broadcast: subscribe", 0,
         gshm_subscriber_open (&all, memory, size, GSHM_READ_ONLY,
                               GSHM_FROM_OLDEST));
  check ("broadcast: no newest message", -ENOMSG,
         gshm_subscriber_latest (&all, buffer, 100, &length));
  check ("broadcast: no next message", -ETIMEDOUT,
         gshm_subscriber_receive (&all, buffer, 100, &length, 1000));
  check ("broadcast: send", 0, gshm_broadcast_send (&broadcast, "one", 3, 0));
  check ("broadcast: send nothing", 0,
         gshm_broadcast_send (&broadcast, NULL, 0, 0));
  check ("broadcast: receive nothing", 0,
         gshm_subscriber_latest (&all, NULL, 0, &length));
  check ("broadcast: of no bytes", 0, (long long) length);
  gshm_subscriber_open (&all, memory, size, GSHM_READ_ONLY, GSHM_FROM_OLDEST);
  check ("broadcast: too long", -EMSGSIZE,
         gshm_broadcast_send (&broadcast, buffer, 101, 0));
  check (
    "broadcast: subscribe later", 0,
    gshm_subscriber_open (&now, memory, size, GSHM_READ_WRITE, GSHM_FROM_NOW));
  check ("broadcast: send another", 0,
         gshm_broadcast_send (&broadcast, "second", 6, 0));
  check ("broadcast: too long for the buffer", -EMSGSIZE,
         gshm_subscriber_receive (&now, buffer, 5, &length, 0));
  check ("broadcast: the length is told", 6, (long long) length);
  check ("broadcast: the later one receives the second", 0,
         gshm_subscriber_receive (&now, buffer, 6, &length, 0));
  check ("broadcast: its bytes", 0, memcmp (buffer, "second", 6));
  check ("broadcast: the first one receives the first", 0,
         gshm_subscriber_receive (&all, buffer, 100, &length, 0));
  check ("broadcast: of three bytes", 3, (long long) length);
  check ("broadcast: the newest", 0,
         gshm_subscriber_latest (&all, buffer, 100, &length));
  check ("broadcast: of six bytes", 6, (long long) length);
  for (int i = 0; i < 1000; i++)
    gshm_broadcast_send (&broadcast, "more", 4, 0);
  check ("broadcast: overtaken", 0,
         gshm_subscriber_receive (&all, buffer, 100, &length, 0));
  check ("broadcast: which is told", 1, gshm_subscriber_missed (&all) > 900);
  check ("broadcast: close", 0, gshm_broadcast_close (&broadcast));
  check ("broadcast: send when closed", -EPIPE,
         gshm_broadcast_send (&broadcast, "x", 1, 0));
  int result;
  do
    result = gshm_subscriber_receive (&all, buffer, 100, &length, 0);
  while (result == 0);
  check ("broadcast: receive when closed", -EPIPE, result);
  munmap (memory, 8192);
}


/* Objects.  */

static int
touch_last_byte (void *memory)
{
  return ((volatile char *) memory)[8191];
}

/* Return how a child ends that loads the last byte of OBJECT after another
   process may have truncated that.  */
static int
signal_after_truncation (struct gshm_object *object)
{
  int status;

  if (ftruncate (object->fd, 0) < 0)
    check ("truncation is refused", EPERM, errno);
  pid_t pid = fork ();
  if (pid == 0)
    _exit (touch_last_byte (object->memory));
  waitpid (pid, &status, 0);
  return WIFSIGNALED (status) ? WTERMSIG (status) : 0;
}

static int
attach_in_child (void *name)
{
  struct gshm_object object;

  return gshm_object_attach (&object, name, GSHM_READ_ONLY, 0);
}

static void
check_anonymous (void)
{
  struct gshm_object object;

  gshm_object_create (&object, NULL, 8192, 0600);
  check ("object: sealed", 0, fcntl (object.fd, F_ADD_SEALS, F_SEAL_SHRINK));
  check ("object: not truncated", 0, signal_after_truncation (&object));
  gshm_object_close (&object);
}

static void
check_texts (void)
{
  check (
    "strerror: of ours", 0,
    strcmp (gshm_strerror (-EPIPE), "the channel or broadcast is closed"));
  check ("strerror: of the system's", 0,
         strcmp (gshm_strerror (-EACCES), strerror (EACCES)));
}

static void
check_objects (char *name, int is_whole)
{
  struct gshm_object object, other, taken;

  memset (&object, 0, sizeof object);
  gshm_object_close (&object);
  check ("object: closing nothing", 1, fcntl (0, F_GETFD) >= 0);
  check ("object: no slash", -EINVAL,
         gshm_object_create (&object, "x", 100, 0600));
  check ("object: closing what was not created", -1,
         (gshm_object_close (&object), object.fd));
  check ("object: no size", -EINVAL,
         gshm_object_create (&object, name, 0, 0600));
  check ("object: too large", -EINVAL,
         gshm_object_create (&object, name, (size_t) PTRDIFF_MAX + 1, 0600));
  char longest[300];
  memset (longest, 'x', sizeof longest);
  longest[0] = '/';
  longest[299] = '\0';
  check ("object: a long name", -ENAMETOOLONG,
         gshm_object_create (&object, longest, 1, 0600));
  check ("object: absent", -ENOENT,
         gshm_object_attach (&object, name, GSHM_READ_ONLY, 1000000));
  check ("object: create", 0, gshm_object_create (&object, name, 8192, 0600));
  check ("object: absent before it is published", is_whole ? -ENOENT : 0,
         in_child (attach_in_child, name));
  check ("object: create another", is_whole ? 0 : -EEXIST,
         gshm_object_create (&taken, name, 100, 0600));
  ((char *) object.memory)[8191] = 42;
  check ("object: publish", 0, gshm_object_publish (&object));
  check ("object: publish again", -EINVAL, gshm_object_publish (&object));
  check ("object: reserve", 0, gshm_object_reserve (&object));
  if (is_whole)
    check ("object: the name is taken", -EEXIST, gshm_object_publish (&taken));
  gshm_object_close (&taken);
  check ("object: attach", 0,
         gshm_object_attach (&other, name, GSHM_READ_ONLY, 0));
  check ("object: the size", 8192, (long long) other.size);
  check ("object: the bytes", 42, ((char *) other.memory)[8191]);
  gshm_object_close (&other);
  check ("object: the descriptor", 0,
         gshm_object_map (&other, object.fd, GSHM_READ_WRITE));
  check ("object: the bytes of that", 42, ((char *) other.memory)[8191]);
  gshm_object_close (&other);
  check ("object: no descriptor", -EBADF,
         gshm_object_map (&other, -1, GSHM_READ_WRITE));
  check ("object: truncated", SIGBUS, signal_after_truncation (&object));
  check ("object: attach to no size", -ETIMEDOUT,
         gshm_object_attach (&other, name, GSHM_READ_ONLY, 1000000));
  check ("object: unlink", 0, gshm_object_unlink (name));
  check ("object: unlink again", -ENOENT, gshm_object_unlink (name));
  gshm_object_close (&object);
  check ("object: publish what is closed", -EINVAL,
         gshm_object_publish (&object));
  check ("object: created, not published, closed", 0,
         gshm_object_create (&object, name, 100, 0600));
  gshm_object_close (&object);
  check ("object: is gone", -ENOENT,
         gshm_object_attach (&object, name, GSHM_READ_ONLY, 0));
}

int
main (int argc, char **argv)
{
  struct locks *locks = map_shared (sizeof *locks);

  if (argc != 4)
    return 2;
  check_mutex (locks);
  check_condition_variable (locks);
  check_semaphore (locks);
  check_barrier (locks);
  check_rwlock (locks);
  check_channel ();
  check_broadcast ();
  check_texts ();
  if (strcmp (argv[3], "1") == 0)
    check_anonymous ();
  check_objects (argv[1], strcmp (argv[2], "1") == 0);
  return 0;
}

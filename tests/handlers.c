/* SPDX-License-Identifier: BSD-3-Clause
   handlers.c - other code's handlers of signals, for the tests of the guard.

   A library that Guile loads.  */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
# include <linux/filter.h>
# include <linux/seccomp.h>
# include <sys/prctl.h>
#endif

void install_probe (int flags);
int probe (const char *address);
void install_chain (int signal);
long chained_calls (void);
void install_once (int signal);
int blocked_in_handler (int signal);
int start_touching (const char *address, long nanoseconds);
void touch_once (void);
void touch_there (const char *address);
int touch_is_wanted (void);
int refuse_reading_memory (void);


/* Probing addresses: a handler that leaves by siglongjmp.  */

static sigjmp_buf env;
static volatile sig_atomic_t is_probing;
static sigset_t during;

static void
leave (int signal)
{
  sigprocmask (SIG_SETMASK, NULL, &during);
  if (is_probing)
    siglongjmp (env, 1);
  struct sigaction standard = { .sa_handler = SIG_DFL };
  sigaction (signal, &standard, NULL);
}

/* SIGUSR1 is blocked in the handler, and SIGSEGV, too, unless FLAGS has
   SA_NODEFER.  */
void
install_probe (int flags)
{
  struct sigaction action = { .sa_handler = leave, .sa_flags = flags };

  sigemptyset (&action.sa_mask);
  sigaddset (&action.sa_mask, SIGUSR1);
  sigaction (SIGSEGV, &action, NULL);
}

/* The byte at ADDRESS, or -1.  */
int
probe (const char *address)
{
  volatile int result = -1;

  is_probing = 1;
  if (sigsetjmp (env, 1) == 0)
    result = *(const volatile char *) address;
  is_probing = 0;
  return result;
}

/* Whether SIGNAL was blocked when the handler was called last.  */
int
blocked_in_handler (int signal)
{
  return sigismember (&during, signal);
}


/* A handler that counts and calls the one before.  */

static struct sigaction before;
static volatile long calls;

static void
chain (int signal, siginfo_t *info, void *context)
{
  calls++;
  if (before.sa_flags & SA_SIGINFO)
    before.sa_sigaction (signal, info, context);
  else if (before.sa_handler == SIG_DFL)
    sigaction (signal, &before, NULL);
  else if (before.sa_handler != SIG_IGN)
    before.sa_handler (signal);
}

void
install_chain (int signal)
{
  struct sigaction action = { .sa_sigaction = chain, .sa_flags = SA_SIGINFO };

  sigaction (signal, &action, &before);
}

long
chained_calls (void)
{
  return calls;
}


/* A handler that is called once, and sends itself the signal again.  */

static void
raise_again (int signal)
{
  calls++;
  raise (signal);
}

void
install_once (int signal)
{
  struct sigaction action = { .sa_handler = raise_again,
                              .sa_flags = (int) SA_RESETHAND };

  sigaction (signal, &action, NULL);
}


/* A handler that touches memory whatever its thread was doing.  */

static _Thread_local const char *volatile touched;
static _Thread_local volatile sig_atomic_t is_wanted;

void
touch_once (void)
{
  is_wanted = 1;
}

/* The same, at ADDRESS from now on.  */
void
touch_there (const char *address)
{
  touched = address;
  is_wanted = 1;
}

int
touch_is_wanted (void)
{
  return is_wanted;
}

#if defined __linux__ && defined SYS_gettid
static void
touch (int signal)
{
  (void) signal;
  if (!is_wanted)
    return;
  is_wanted = 0;
  (void) *(const volatile char *) touched;
}

/* Each so many NANOSECONDS, in a handler in this thread, read ADDRESS if that
   was asked for.  */
int
start_touching (const char *address, long nanoseconds)
{
  timer_t timer;
  struct sigaction action = { .sa_handler = touch, .sa_flags = SA_RESTART };
  struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
                            .sigev_signo = SIGRTMIN + 3 };
  struct itimerspec interval
    = { { 0, nanoseconds }, { 0, nanoseconds } };

  touched = address;
  sigaction (event.sigev_signo, &action, NULL);
# ifdef sigev_notify_thread_id
  event.sigev_notify_thread_id = (int) syscall (SYS_gettid);
# else
  event._sigev_un._tid = (int) syscall (SYS_gettid);
# endif
  if (timer_create (CLOCK_MONOTONIC, &event, &timer) < 0)
    return errno;
  return timer_settime (timer, 0, &interval, NULL) < 0 ? errno : 0;
}
#else
int
start_touching (const char *address, long nanoseconds)
{
  (void) address;
  (void) nanoseconds;
  return ENOSYS;
}
#endif


/* As a sandbox does later: refuse process_vm_readv.  */

int
refuse_reading_memory (void)
{
#if defined __linux__ && defined SYS_process_vm_readv
  struct sock_filter filter[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program
    = { .len = sizeof filter / sizeof *filter, .filter = filter };

  if (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
      || prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
    return errno;
  return 0;
#else
  return ENOSYS;
#endif
}

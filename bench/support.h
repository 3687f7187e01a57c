/* SPDX-License-Identifier: BSD-3-Clause
   support.h - what the peers of bench/run in C and C++ share.  */

#ifndef BENCH_SUPPORT_H
#define BENCH_SUPPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PAGE 4096

/* Set up, first.  */
void prepare (void);

/* A name that no other process uses, with a slash.  */
extern char name[64];

/* If GOOD is 0, say that WHAT went wrong, and why by errno, and exit.  */
void check (int good, const char *what);

int64_t now (void);
void pause_for (long nanoseconds);

/* SIZE bytes of zeros that the children share; and SIZE bytes of ones.  */
void *share (size_t size);
void *buffer (size_t size);

/* Answer with the mean of COUNT rounds that took TIME nanoseconds; with
   percentiles of COUNT TIMES; with two percentiles and PROCESSOR_TIME.  */
void answer (int64_t time, long count);
void answer_percentiles (int64_t *times, long count);
void answer_sparse (int64_t *times, long count, int64_t processor_time);

/* Processors, 0 or 1, to stay on; ANYWHERE is for all.  */
#define ANYWHERE (-1)
void pin (int n);

/* Fork a child that stays on PROCESSOR; and wait for it, and let this process
   run anywhere.  */
pid_t start (int processor);
void finish (pid_t child);

/* The processor time of this process, in nanoseconds.  */
int64_t processor_time (void);

/* What a fork makes slow at first is not what is measured.  */
#define WARMING_UP 200

/* Room for the times of WARMING_UP and COUNT rounds.  */
int64_t *times_for (long count);

/* Between two round trips that are sparse, in nanoseconds.  */
#define SPARSE_PAUSE 500000

/* Before a sleeper is woken, in nanoseconds.  */
#define WAKE_PAUSE 200000

struct row
{
  const char *name;
  void (*measure) (long count, long argument);
};

/* Say VERSION, then answer what is read by ROWS, the last of which has no
   name.  */
void serve (const char *version, const struct row *rows);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_SUPPORT_H */

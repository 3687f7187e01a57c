/* SPDX-License-Identifier: BSD-3-Clause
   pass.c - passing descriptors of objects to other processes.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/name.h"

#define SEND "shm-send-fd"
#define RECEIVE "shm-receive-fd"

/* A descriptor is sent with a byte of data, to distinguish it from the end of
   the stream.  */
union control
{
  struct cmsghdr header;
  char bytes[CMSG_SPACE (sizeof (int))];
};

/* Received control messages: the kernel adds credentials, a security label or
   a pidfd, if options of the socket ask for it.  */
union received_control
{
  struct cmsghdr header;
  char bytes[4096];
};

/* (SOCKET FD): both descriptors.  */
static SCM
gshm_send_fd (SCM scm_socket, SCM scm_fd)
{
  int socket = gshm_to_int (SEND, 1, scm_socket, 0, INT_MAX);
  int fd = gshm_to_descriptor (SEND, 2, scm_fd);
  char byte = 0;
  union control control;
  struct iovec data = { &byte, 1 };
  struct msghdr message
    = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes };
  memset (&control, 0, sizeof control);
  struct cmsghdr *header = CMSG_FIRSTHDR (&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN (sizeof fd);
  memcpy (CMSG_DATA (header), &fd, sizeof fd);

  ssize_t sent;
  do
    {
      if (gshm_wait_until_ready (socket, POLLOUT) < 0)
        gshm_system_error (SEND, errno, scm_socket, NULL);
      sent = sendmsg (socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  while (sent < 0 && (errno == EINTR || errno == EAGAIN));
  if (sent < 0)
    gshm_system_error (SEND, errno,
                       errno == EBADF ? gshm_descriptor_object (scm_fd)
                       : scm_socket, NULL);
  scm_remember_upto_here_1 (scm_fd);
  return SCM_UNSPECIFIED;
}

/* SCM_PIDFD, from linux/socket.h.  */
#define PIDFD 4

/* Return the first descriptor in MESSAGE that the peer sent, or -1; close all
   others.  */
static int
take_descriptor (struct msghdr *message)
{
  int first = -1;

  for (struct cmsghdr *header = CMSG_FIRSTHDR (message); header != NULL;
       header = CMSG_NXTHDR (message, header))
    if (header->cmsg_level == SOL_SOCKET
        && (header->cmsg_type == SCM_RIGHTS || header->cmsg_type == PIDFD))
      {
        size_t bytes = header->cmsg_len - CMSG_LEN (0);
        for (size_t i = 0; i + sizeof (int) <= bytes; i += sizeof (int))
          {
            int fd;
            memcpy (&fd, CMSG_DATA (header) + i, sizeof fd);
            if (first < 0 && header->cmsg_type == SCM_RIGHTS)
              first = fd;
            else
              close (fd);
          }
      }
  return first;
}

/* Raise an exception if no descriptor is free, since the kernel would discard
   the one in the message.  */
static void
require_descriptor (int socket)
{
  int fd, attempts = 0;

  do
    fd = fcntl (socket, F_DUPFD_CLOEXEC, 0);
  while (fd < 0 && gshm_collect_and_retry (errno, &attempts));
  if (fd < 0)
    gshm_system_error (RECEIVE, errno, scm_from_int (socket), NULL);
  close (fd);
}

/* (SOCKET) -> descriptor.  */
static SCM
gshm_receive_fd (SCM scm_socket)
{
  int socket = gshm_to_int (RECEIVE, 1, scm_socket, 0, INT_MAX);
  char byte;
  union received_control control;
  struct iovec data = { &byte, 1 };
  struct msghdr message;

  ssize_t received;
  do
    {
      if (gshm_wait_until_ready (socket, POLLIN) < 0)
        gshm_system_error (RECEIVE, errno, scm_socket, NULL);
      require_descriptor (socket);
      message = (struct msghdr) { .msg_iov = &data, .msg_iovlen = 1,
                                  .msg_control = control.bytes,
                                  .msg_controllen = sizeof control.bytes };
      received = recvmsg (socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    }
  while (received < 0 && (errno == EINTR || errno == EAGAIN));
  if (received < 0)
    gshm_system_error (RECEIVE, errno, scm_socket, NULL);
  int fd = take_descriptor (&message);
  if (fd < 0 && received == 0)
    gshm_system_error (RECEIVE, ECONNRESET, scm_socket,
                       "the peer closed the socket and sent no descriptor");
  if (fd < 0)
    gshm_system_error (
      RECEIVE, (message.msg_flags & MSG_CTRUNC) ? EMFILE : ENOMSG, scm_socket,
      (message.msg_flags & MSG_CTRUNC)
        ? "the kernel discarded the peer's descriptor"
        : "the peer sent data, but no descriptor");
  return scm_from_int (fd);
}

void
gshm_pass_init (void)
{
  gshm_define ("%shm-send-fd", 2, 0, gshm_send_fd);
  gshm_define ("%shm-receive-fd", 1, 0, gshm_receive_fd);
}

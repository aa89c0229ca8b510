/*
 * Faults from within a process: loaded before libc (LD_PRELOAD), so that the gateway under test is the shipped one.
 * The file named by CHAOS_CONTROL is two 32-bit integers that the chaos run changes at will: [0] not zero: writes to and
 * syncs of files below CHAOS_DATA fail with EIO; [1] seconds that the wall clock is off.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const int32_t *control;
static const char *data;

__attribute__((constructor)) static void attach(void) {
  const char *path = getenv("CHAOS_CONTROL");
  data = getenv("CHAOS_DATA");
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void *map = mmap(NULL, 2 * sizeof(int32_t), PROT_READ, MAP_SHARED, fd, 0);
  if (map != MAP_FAILED) control = map;
  close(fd);
}

/* Whether the disk below this file is broken now. */
static int broken(int fd) {
  if (control == NULL || control[0] == 0 || data == NULL) return 0;
  char link[32], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, data, strlen(data)) != 0) return 0;
  errno = EIO;
  return 1;
}

#define FAULTY(result, name, parameters, arguments)                \
  result name parameters {                                         \
    static result(*next) parameters;                               \
    if (next == NULL) next = (result(*) parameters)dlsym(RTLD_NEXT, #name); \
    return broken(fd) ? -1 : next arguments;                       \
  }

FAULTY(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
FAULTY(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
FAULTY(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
FAULTY(ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count))
FAULTY(ssize_t, pwritev, (int fd, const struct iovec *from, int count, off_t at), (fd, from, count, at))
FAULTY(ssize_t, pwritev64, (int fd, const struct iovec *from, int count, off64_t at), (fd, from, count, at))
FAULTY(int, fsync, (int fd), (fd))
FAULTY(int, fdatasync, (int fd), (fd))

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*next)(clockid_t, struct timespec *);
  if (next == NULL) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = next(clock, time);
  if (result == 0 && control != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += control[1];
  return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  static int (*next)(struct timeval *, void *);
  if (next == NULL) next = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int result = next(time, zone);
  if (result == 0 && control != NULL) time->tv_sec += control[1];
  return result;
}

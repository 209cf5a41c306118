/* A library to load before a program (LD_PRELOAD): it counts the calls that change files below a
   folder, and at a given one kills the process, or lets that call and all after it fail or, where
   they write, take no more than half of what they are given.

   The program arms it itself: crashfs_arm(folder, call, error). error 0 kills, SHORT writes half.
   crashfs_calls() tells how many calls were counted since, crashfs_halved() how many wrote less. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHORT -1

static atomic_long count;
static atomic_long halved;
static long at;
static int error;
static char root[PATH_MAX]; /* empty: not armed */
static int trace = -1;

void crashfs_arm(const char *folder, long call, int number) {
  count = halved = 0;
  at = call;
  error = number;
  snprintf(root, sizeof root, "%s", folder);
}

long crashfs_calls(void) { return count; }
long crashfs_halved(void) { return halved; }

/* Writes the name of each call to this file descriptor; -1 does not. */
void crashfs_trace(int handle) { trace = handle; }

static int below(const char *path) {
  size_t length = strlen(root);
  return length && path && !strncmp(path, root, length) && (!path[length] || path[length] == '/');
}

static const char *path_of(int handle, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  ssize_t length = readlink(link, out, PATH_MAX - 1);
  out[length < 0 ? 0 : length] = 0;
  return out;
}

/* Whether the call is to fail; does not return if it is to kill. */
static int counted(const char *call, const char *path, int fills) {
  long number = atomic_fetch_add(&count, 1) + 1;
  if (trace >= 0) dprintf(trace, "%ld %s %s\n", number, call, path);
  if (!at || number < at) return 0;
  if (!error) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  if (error == ENOSPC && !fills) return 0; /* a full disk lets one remove */
  if (error == SHORT) return 0;
  errno = error;
  return 1;
}

static int by_path(const char *call, const char *path, int fills) {
  return root[0] && below(path) && counted(call, path, fills);
}

static int by_handle(const char *call, int handle, int fills) {
  char buffer[PATH_MAX];
  return root[0] && below(path_of(handle, buffer)) && counted(call, buffer, fills);
}

static int by_both(const char *call, int handle, const char *path, int fills) {
  if (!root[0]) return 0;
  if (handle == AT_FDCWD || path[0] == '/') return by_path(call, path, fills);
  return by_handle(call, handle, fills);
}

#define REAL(name) \
  static typeof(name) *real; \
  if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)
#define CHANGES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & (O_CREAT | O_TRUNC)))

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    int mode = va_arg(rest, int); \
    va_end(rest); \
    if (CHANGES(flags) && by_path(#name, path, 1)) return -1; \
    return real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int folder, const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    int mode = va_arg(rest, int); \
    va_end(rest); \
    if (CHANGES(flags) && by_both(#name, folder, path, 1)) return -1; \
    return real(folder, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

#define CALL(result, name, parameters, arguments, fails) \
  result name parameters { \
    REAL(name); \
    if (fails) return -1; \
    return real arguments; \
  }
#define HANDLE(result, name, parameters, arguments) \
  CALL(result, name, parameters, arguments, by_handle(#name, handle, 1))

/* How much of n (bytes, or pieces of memory) a call may write: half where writes are to be short. */
static size_t some(size_t n) {
  if (!root[0] || error != SHORT || !at || count < at || n < 2) return n;
  atomic_fetch_add(&halved, 1);
  return n / 2;
}

#define WRITES(name, parameters, arguments) \
  ssize_t name parameters { \
    REAL(name); \
    char path[PATH_MAX]; \
    if (by_handle(#name, handle, 1)) return -1; \
    if (root[0] && below(path_of(handle, path))) n = some(n); \
    return real arguments; \
  }
WRITES(write, (int handle, const void *from, size_t n), (handle, from, n))
WRITES(pwrite, (int handle, const void *from, size_t n, off_t o), (handle, from, n, o))
WRITES(pwrite64, (int handle, const void *from, size_t n, off64_t o), (handle, from, n, o))
WRITES(writev, (int handle, const struct iovec *v, int n), (handle, v, n))
WRITES(pwritev, (int handle, const struct iovec *v, int n, off_t o), (handle, v, n, o))
WRITES(pwritev64, (int handle, const struct iovec *v, int n, off64_t o), (handle, v, n, o))
HANDLE(int, fsync, (int handle), (handle))
HANDLE(int, fdatasync, (int handle), (handle))
HANDLE(int, ftruncate, (int handle, off_t size), (handle, size))
HANDLE(int, ftruncate64, (int handle, off64_t size), (handle, size))

#define PATH(name, parameters, arguments, path, fills) \
  CALL(int, name, parameters, arguments, by_path(#name, path, fills))
PATH(mkdir, (const char *path, mode_t mode), (path, mode), path, 1)
PATH(rmdir, (const char *path), (path), path, 0)
PATH(unlink, (const char *path), (path), path, 0)
PATH(rename, (const char *from, const char *to), (from, to), to, 1)
PATH(link, (const char *from, const char *to), (from, to), to, 1)
PATH(symlink, (const char *from, const char *to), (from, to), to, 1)
PATH(truncate, (const char *path, off_t size), (path, size), path, 1)

#define BOTH(name, parameters, arguments, folder, path, fills) \
  CALL(int, name, parameters, arguments, by_both(#name, folder, path, fills))
BOTH(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), folder, path, 1)
BOTH(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, path, 0)
BOTH(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), b, to, 1)
BOTH(renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags), b, to, 1)

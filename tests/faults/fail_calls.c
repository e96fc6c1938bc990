/* Makes system calls fail as a full, broken or read-only disk makes them fail; loaded with LD_PRELOAD.
 *
 * FAULT_BELOW  directory: only paths and descriptors below it are concerned
 * FAULT_CALL   open | write | fsync | rename
 * FAULT_ERROR  number of an errno, or 0: writes come short by half
 * FAULT_SKIP   that many calls of the kind succeed before
 * FAULT_WHILE  file: calls fail only while it is there ("space returns" when it is removed)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int skipped;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path)
{
    const char *root = getenv("FAULT_BELOW");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int below_fd(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return below(path);
}

/* Whether this call is to fail; sets errno. `mine` says whether it concerns a path below the directory. */
static int strikes(const char *call, int mine)
{
    const char *chosen = getenv("FAULT_CALL"), *lasting = getenv("FAULT_WHILE");
    if (!mine || !chosen || strcmp(chosen, call) != 0)
        return 0;
    if (__atomic_fetch_add(&skipped, 1, __ATOMIC_SEQ_CST) < atoi(getenv("FAULT_SKIP")))
        return 0;
    /* Not open or stat: they may be our own. */
    if (syscall(SYS_faccessat, AT_FDCWD, lasting, F_OK) != 0)
        return 0;
    errno = atoi(getenv("FAULT_ERROR"));
    return 1;
}

static int writes(int flags)
{
    return (flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0;
}

#define OPEN(name, AT, at_argument, at_pass)                                                                            \
    int name(at_argument const char *path, int flags, ...)                                                             \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = va_arg(rest, mode_t);                                                                            \
        va_end(rest);                                                                                                  \
        if (writes(flags) && strikes("open", below(path)))                                                            \
            return -1;                                                                                                 \
        return REAL(name)(at_pass path, flags, mode);                                                                  \
    }
#define NOTHING
#define AT_ARGUMENT int directory,
#define AT_PASS directory,
OPEN(open, 0, NOTHING, NOTHING)
OPEN(open64, 0, NOTHING, NOTHING)
OPEN(openat, 1, AT_ARGUMENT, AT_PASS)
OPEN(openat64, 1, AT_ARGUMENT, AT_PASS)

ssize_t write(int fd, const void *data, size_t size)
{
    if (strikes("write", below_fd(fd))) {
        if (errno)
            return -1;
        size = size > 1 ? size / 2 : size;
    }
    return REAL(write)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    if (strikes("write", below_fd(fd))) {
        if (errno)
            return -1;
        size = size > 1 ? size / 2 : size;
    }
    return REAL(pwrite64)(fd, data, size, offset);
}

int fsync(int fd)
{
    return strikes("fsync", below_fd(fd)) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return strikes("fsync", below_fd(fd)) ? -1 : REAL(fdatasync)(fd);
}

int rename(const char *from, const char *to)
{
    return strikes("rename", below(to)) ? -1 : REAL(rename)(from, to);
}

int renameat(int fromfd, const char *from, int tofd, const char *to)
{
    return strikes("rename", below(to)) ? -1 : REAL(renameat)(fromfd, from, tofd, to);
}

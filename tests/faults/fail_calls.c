/* Makes system calls fail as a full, broken or read-only disk makes them fail; loaded with LD_PRELOAD.
 *
 * FAULT_BELOW  directory: only paths and descriptors below it are concerned
 * FAULT_CALL   of open (for writing), read (an open for reading), stat, write, fsync, rename, ftruncate, lseek, close,
 *              one or several with commas
 * FAULT_ERROR  number of an errno, or 0: writes come short by half
 * FAULT_SKIP   that many of these calls succeed before
 * FAULT_TIMES  that many fail then; all if not given
 * FAULT_TORN   if given, each second write that fails has come short by half before, as where space runs out in it
 * FAULT_WHILE  file: calls fail only while it is there ("space returns" when it is removed)
 * FAULT_STALL  file, made when the first call begins to wait: calls do not fail, they wait while FAULT_WHILE is there
 * FAULT_OWN    directory: a close that fails has closed, and the program has opened a file here that has the number now
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
#include <time.h>
#include <unistd.h>

static int counted, torn;

/* For a job that makes several runs: from here on calls are counted anew; returns how many were counted. */
int fail_calls_recount(void)
{
    torn = 0;
    return __atomic_exchange_n(&counted, 0, __ATOMIC_SEQ_CST);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path)
{
    const char *root = getenv("FAULT_BELOW");
    size_t length = root ? strlen(root) : 0;
    return length && path && strncmp(path, root, length) == 0 && (path[length] == 0 || path[length] == '/');
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

/* Whether `call` is among the chosen ones. */
static int chosen(const char *call)
{
    const char *at = getenv("FAULT_CALL");
    size_t length = strlen(call);
    for (; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == length && strncmp(at, call, length) == 0)
            return 1;
    return 0;
}

/* Wait, as on a file system whose server does not answer, until the fault is over. */
static void stall(const char *marker)
{
    const struct timespec pause = {0, 5000000};
    syscall(SYS_mknodat, AT_FDCWD, marker, S_IFREG | 0600, 0);
    while (syscall(SYS_faccessat, AT_FDCWD, getenv("FAULT_WHILE"), F_OK) == 0)
        nanosleep(&pause, NULL);
}

/* Whether this call is to fail; sets errno. `mine` says whether it concerns a path below the directory. */
static int strikes(const char *call, int mine)
{
    const char *times = getenv("FAULT_TIMES");
    if (!mine || !chosen(call))
        return 0;
    /* Not open or stat: they may be our own. The job makes the file when it has opened its run: calls count from then. */
    if (syscall(SYS_faccessat, AT_FDCWD, getenv("FAULT_WHILE"), F_OK) != 0)
        return 0;
    int number = __atomic_fetch_add(&counted, 1, __ATOMIC_SEQ_CST) - atoi(getenv("FAULT_SKIP"));
    if (number < 0 || (times && number >= atoi(times)))
        return 0;
    if (getenv("FAULT_STALL")) {
        stall(getenv("FAULT_STALL"));
        return 0;
    }
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
        if (strikes(writes(flags) ? "open" : "read", below(path)))                                                         \
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

/* How much of a write is done: all, a part, or none (-1, with errno). */
static ssize_t part(int fd, size_t size)
{
    ssize_t half = size > 1 ? size / 2 : size;
    if (!strikes("write", below_fd(fd)))
        return size;
    if (errno == 0 || (getenv("FAULT_TORN") && __atomic_fetch_add(&torn, 1, __ATOMIC_SEQ_CST) % 2 == 0))
        return half;
    return -1;
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t length = part(fd, size);
    return length < 0 ? -1 : REAL(write)(fd, data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    ssize_t length = part(fd, size);
    return length < 0 ? -1 : REAL(pwrite64)(fd, data, length, offset);
}

int ftruncate64(int fd, off64_t length)
{
    return strikes("ftruncate", below_fd(fd)) ? -1 : REAL(ftruncate64)(fd, length);
}

/* A sync that fails. As with a file system that learns of a quota only then, the kernel may have dropped what was not
 * on disk yet, and the next sync succeeds: with FAULT_LOSES such bytes of the journal are zeros afterwards. */
static int sync_fails(int fd)
{
    static off64_t safe;
    static ino64_t whose;
    static const char zeros[1 << 16];
    struct stat64 file;
    char link[64];
    int failed = strikes("fsync", below_fd(fd)), error = errno;
    if (!getenv("FAULT_LOSES") || fstat64(fd, &file) != 0 || !(fcntl(fd, F_GETFL) & O_APPEND))
        return failed;
    if (file.st_ino != whose) {
        whose = file.st_ino;
        safe = 0;
    }
    if (failed) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int other = REAL(open64)(link, O_WRONLY | O_CLOEXEC, 0);
        for (off64_t at = safe; at < file.st_size; at += sizeof zeros) {
            size_t length = file.st_size - at < (off64_t)sizeof zeros ? file.st_size - at : (off64_t)sizeof zeros;
            if (REAL(pwrite64)(other, zeros, length, at) < 0)
                abort();
        }
        REAL(close)(other);
    } else {
        safe = file.st_size;
    }
    errno = error;
    return failed;
}

int fsync(int fd)
{
    return sync_fails(fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return sync_fails(fd) ? -1 : REAL(fdatasync)(fd);
}

int rename(const char *from, const char *to)
{
    return strikes("rename", below(to)) ? -1 : REAL(rename)(from, to);
}

int renameat(int fromfd, const char *from, int tofd, const char *to)
{
    return strikes("rename", below(to)) ? -1 : REAL(renameat)(fromfd, from, tofd, to);
}

int stat64(const char *path, struct stat64 *file)
{
    return strikes("stat", below(path)) ? -1 : REAL(stat64)(path, file);
}

int lstat64(const char *path, struct stat64 *file)
{
    return strikes("stat", below(path)) ? -1 : REAL(lstat64)(path, file);
}

off64_t lseek64(int fd, off64_t offset, int whence)
{
    return strikes("lseek", below_fd(fd)) ? -1 : REAL(lseek64)(fd, offset, whence);
}

/* A close that fails has closed. The number goes at once to a file that the program opens, without a moment between in
 * which another thread could get it. */
int close(int fd)
{
    static int files;
    const char *own = getenv("FAULT_OWN");
    char path[PATH_MAX];
    if (!strikes("close", below_fd(fd)))
        return REAL(close)(fd);
    int error = errno;
    snprintf(path, sizeof path, "%s/own-%d", own ? own : "", __atomic_fetch_add(&files, 1, __ATOMIC_SEQ_CST));
    int opened = own ? REAL(open64)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (opened < 0 || dup2(opened, fd) < 0 || REAL(write)(fd, "mine", 4) != 4)
        REAL(close)(fd);
    if (opened >= 0)
        REAL(close)(opened);
    errno = error;
    return -1;
}

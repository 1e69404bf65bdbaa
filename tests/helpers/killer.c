/* Ends the process by SIGKILL at the n-th call that changes a folder: see tests/memory/crashing.py.

   Loaded before the C library (LD_PRELOAD), so that it sees what Python, numpy and arrow write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
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

static char folder[4096];
static atomic_long calls, last = -1;

/* Count from now on, and die at call number `at`: before it, or in the middle of a write. */
void killer_arm(const char *inside, long at) {
    strncpy(folder, inside, sizeof folder - 1);
    atomic_store(&calls, 0);
    atomic_store(&last, at);
}

static int below(const char *path) {
    return folder[0] && strncmp(path, folder, strlen(folder)) == 0;
}

static int counts_at(int base, const char *path) {
    char link[64], place[4096];
    if (atomic_load(&last) < 0) return 0;
    if (path && (path[0] == '/' || base == AT_FDCWD)) return below(path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", base);
    ssize_t length = readlink(link, place, sizeof place - 1);
    if (length < 0) return 0;
    place[length] = 0;
    return below(place);
}

static int is_last(void) { return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&last); }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define NEXT(name) static __typeof__(&name) next; if (!next) next = dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *data, size_t size) {
    NEXT(write);
    if (counts_at(file, NULL) && is_last()) {
        next(file, data, size / 2);
        die();
    }
    return next(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) {
    NEXT(pwrite64);
    if (counts_at(file, NULL) && is_last()) {
        next(file, data, size / 2, place);
        die();
    }
    return next(file, data, size, place);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    NEXT(writev);
    if (counts_at(file, NULL) && is_last()) {
        next(file, parts, count / 2);
        die();
    }
    return next(file, parts, count);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    NEXT(fwrite);
    if (counts_at(fileno(file), NULL) && is_last()) {
        next(data, size, count / 2, file);
        fflush(file);
        die();
    }
    return next(data, size, count, file);
}

#define ON_FILE(name, declared, passed) \
    int name declared { \
        NEXT(name); \
        if (counts_at(file, NULL) && is_last()) die(); \
        return next passed; \
    }

/* Not counted, since a sync changes nothing that a killed process leaves: the next call finds what it
   found. Not waited for either: the kernel keeps what a killed process wrote. */
#define ON_SYNC(name) \
    int name(int file) { return fcntl(file, F_GETFD) < 0 ? -1 : 0; }

ON_SYNC(fsync)
ON_SYNC(fdatasync)
ON_FILE(ftruncate64, (int file, off64_t size), (file, size))

#define ON_PATH(name, base, path, declared, passed) \
    int name declared { \
        NEXT(name); \
        if (counts_at(base, path) && is_last()) die(); \
        return next passed; \
    }

ON_PATH(rename, AT_FDCWD, to, (const char *from, const char *to), (from, to))
ON_PATH(renameat, to_base, to, (int base, const char *from, int to_base, const char *to), (base, from, to_base, to))
ON_PATH(link, AT_FDCWD, to, (const char *from, const char *to), (from, to))
ON_PATH(linkat, to_base, to, (int base, const char *from, int to_base, const char *to, int flags), (base, from, to_base, to, flags))
ON_PATH(mkdir, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
ON_PATH(mkdirat, base, path, (int base, const char *path, mode_t mode), (base, path, mode))
ON_PATH(unlink, AT_FDCWD, path, (const char *path), (path))
ON_PATH(unlinkat, base, path, (int base, const char *path, int flags), (base, path, flags))
ON_PATH(rmdir, AT_FDCWD, path, (const char *path), (path))

/* A file that comes into being, or is emptied. */
int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (flags & (O_CREAT | O_TRUNC) && counts_at(AT_FDCWD, path) && is_last()) die();
    return next(path, flags, mode);
}

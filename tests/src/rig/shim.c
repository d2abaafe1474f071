/* What a process of the rig believes of its clocks and its disk.
 *
 * Preloaded into nodes and clients. The rig writes a page of numbers that this reads: a clock is a line with bends, so
 * the rig can say of each reading when in true time it was taken; a disk fails, or is slow, or keeps a shadow of what
 * would be left after a power cut. CLOCK_BOOTTIME is true time, and what this process is shown as CLOCK_BOOTTIME and
 * CLOCK_MONOTONIC follows the bends.
 *
 * Words of the page: 0 errno of a failing disk (0: none) · 1 microseconds that a sync takes longer · 2 what the wall
 * clock is ahead, in microseconds · 3 number of bends · from 8 on three words for each bend: from when in true time,
 * what the clock shows then (both in microseconds), and by how many parts per million it is fast from then on.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES (1 << 16)

static volatile int64_t *page;
static const char *data, *shadow;
static int (*true_gettime)(clockid_t, struct timespec *);
static int (*true_fsync)(int);
static ssize_t (*true_write)(int, const void *, size_t);
static int (*true_open)(const char *, int, ...);

__attribute__((constructor)) static void begin(void) {
    true_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    true_fsync = dlsym(RTLD_NEXT, "fsync");
    true_write = dlsym(RTLD_NEXT, "write");
    true_open = dlsym(RTLD_NEXT, "open64");
    data = getenv("LEASEHOLD_RIG_DATA");
    shadow = getenv("LEASEHOLD_RIG_SHADOW");
    const char *name = getenv("LEASEHOLD_RIG_PAGE");
    int file = name ? true_open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) page = mapped;
}

/* What the bent clock shows at this true time, both in nanoseconds. */
static int64_t shown(int64_t now) {
    int64_t bend = page[3] - 1;
    while (bend >= 0 && page[8 + 3 * bend] * 1000 > now) bend--;
    if (bend < 0) return now;
    volatile int64_t *at = page + 8 + 3 * bend;
    int64_t since = now - at[0] * 1000;
    return at[1] * 1000 + since + (int64_t)((__int128)since * at[2] / 1000000);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!true_gettime) true_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (!page) return true_gettime(clock, time);
    int64_t nanos;
    if (clock == CLOCK_BOOTTIME || clock == CLOCK_MONOTONIC) {
        int result = true_gettime(CLOCK_BOOTTIME, time);
        if (result) return result;
        nanos = shown(time->tv_sec * 1000000000LL + time->tv_nsec);
    } else if (clock == CLOCK_REALTIME) {
        int result = true_gettime(clock, time);
        if (result) return result;
        nanos = time->tv_sec * 1000000000LL + time->tv_nsec + page[2] * 1000;
    } else {
        return true_gettime(clock, time);
    }
    time->tv_sec = nanos / 1000000000LL;
    time->tv_nsec = nanos % 1000000000LL;
    return 0;
}

/* Whether this is a file below the data directory. */
static int ours(int file, char *path) {
    char link[64];
    if (!data) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, data, strlen(data)) == 0;
}

static int fails(int file) {
    char path[PATH_MAX];
    if (!page || !page[0] || !ours(file, path)) return 0;
    errno = (int)page[0];
    return 1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    return fails(file) ? -1 : true_write(file, bytes, count);
}

/* A file that is begun anew has lost what was synced of the one that had its number. */
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = (flags & O_CREAT) ? va_arg(rest, int) : 0;
    va_end(rest);
    if (!true_open) true_open = dlsym(RTLD_NEXT, "open64");
    int file = true_open(path, flags, mode);
    char found[PATH_MAX], kept[PATH_MAX];
    struct stat about;
    if (file >= 0 && shadow && (flags & O_TRUNC) && ours(file, found) && !fstat(file, &about)) {
        snprintf(kept, sizeof kept, "%s/%lu", shadow, (unsigned long)about.st_ino);
        unlink(kept);
    }
    return file;
}

/* Keeps a copy of a synced file under its number. */
static void keep_file(const char *path, unsigned long number) {
    char next[PATH_MAX], kept[PATH_MAX], bytes[4096];
    snprintf(next, sizeof next, "%s/next", shadow);
    snprintf(kept, sizeof kept, "%s/%lu", shadow, number);
    int from = true_open(path, O_RDONLY | O_CLOEXEC);
    int to = true_open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t count;
    while (from >= 0 && to >= 0 && (count = read(from, bytes, sizeof bytes)) > 0)
        if (true_write(to, bytes, count) != count) abort();
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    rename(next, kept);
}

/* Keeps which name of a synced directory is which file. */
static void keep_names(const char *path) {
    char next[PATH_MAX], kept[PATH_MAX];
    snprintf(next, sizeof next, "%s/names.next", shadow);
    snprintf(kept, sizeof kept, "%s/names", shadow);
    FILE *names = fopen(next, "w");
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (names && folder && (entry = readdir(folder)))
        if (entry->d_type == DT_REG)
            fprintf(names, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
    if (folder) closedir(folder);
    if (names) fclose(names);
    rename(next, kept);
}

int fsync(int file) {
    char path[PATH_MAX];
    struct stat about;
    if (!ours(file, path)) return true_fsync(file);
    if (page && page[1]) usleep((useconds_t)page[1]);
    if (fails(file)) return -1;
    int result = true_fsync(file);
    if (result || !shadow || fstat(file, &about)) return result;
    if (S_ISDIR(about.st_mode)) keep_names(path);
    else keep_file(path, (unsigned long)about.st_ino);
    return 0;
}

int fdatasync(int file) {
    return fsync(file);
}

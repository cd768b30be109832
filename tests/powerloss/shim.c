/* A disk that keeps only what was synced, for one process (LD_PRELOAD).
 *
 * Files below POWERLOSS_ROOT have a durable image below POWERLOSS_SHADOW. For every file that is
 * opened for writing the shim remembers the stretch of bytes that was written since the last sync;
 * fsync and fdatasync copy that stretch, and the length, into the image. What was written and not
 * synced is in no image, so that putting the images in the place of the files is a power loss.
 *
 * Simplifications. A new file's name is durable with the first sync of its data. rename and unlink
 * are applied to the images at once; a file that was never synced takes the place of another one as
 * nothing. A sync of a folder therefore has nothing to do, and a forgotten one is not noticed. One
 * stretch for each file: bytes within it that were not written are the same in file and image. The first stretch after opening is the whole file: what another
 * process wrote before is synced with it. Not seen: writes through a shared mapping (LevelDB and
 * SQLite without mmap_size write none, but for SQLite's -shm, which is rebuilt), through stdio,
 * sendfile, copy_file_range and io_uring, and calls that name a file relative to a folder.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 65536
#define FILES_MAX 4096

/* The real function of this name and type, looked up once. */
#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real)                                                                                     \
    real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

struct file {
    dev_t device;
    ino_t inode;
    off_t from, to; /* written since the last sync; nothing if from >= to */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[FILES_MAX];
static unsigned char watched[DESCRIPTORS_MAX]; /* opened for writing below the root */

/* The image of `path`, or 0 if the file is not below the root. */
static int image_of(const char *path, char *image) {
    const char *root = getenv("POWERLOSS_ROOT");
    const char *shadow = getenv("POWERLOSS_SHADOW");
    if (!root || !shadow || path[0] != '/')
        return 0;
    size_t length = strlen(root);
    if (strncmp(path, root, length) != 0 || path[length] != '/')
        return 0;
    return snprintf(image, PATH_MAX, "%s%s", shadow, path + length) < PATH_MAX;
}

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return 1;
}

static void make_folders(const char *image) {
    char part[PATH_MAX];
    strncpy(part, image, sizeof part - 1);
    part[sizeof part - 1] = 0;
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(part, 0700);
        *slash = '/';
    }
}

/* What is known of a file; a new entry begins with all of it unsynced. Under the lock. */
static struct file *entry_of(const struct stat *facts) {
    struct file *free_entry = 0;
    for (int at = 0; at < FILES_MAX; at++) {
        if (files[at].inode == facts->st_ino && files[at].device == facts->st_dev)
            return &files[at];
        if (!files[at].inode && !free_entry)
            free_entry = &files[at];
    }
    if (!free_entry) {
        fputs("powerloss: too many files\n", stderr);
        abort();
    }
    *free_entry = (struct file){facts->st_dev, facts->st_ino, 0, facts->st_size};
    return free_entry;
}

static void forget(const struct stat *facts) {
    pthread_mutex_lock(&lock);
    for (int at = 0; at < FILES_MAX; at++)
        if (files[at].inode == facts->st_ino && files[at].device == facts->st_dev)
            files[at].inode = 0;
    pthread_mutex_unlock(&lock);
}

static void wrote(int descriptor, off_t from, off_t to) {
    struct stat facts;
    if (fstat(descriptor, &facts))
        return;
    pthread_mutex_lock(&lock);
    struct file *file = entry_of(&facts);
    if (file->from >= file->to)
        file->from = from, file->to = to;
    file->from = from < file->from ? from : file->from;
    file->to = to > file->to ? to : file->to;
    pthread_mutex_unlock(&lock);
}

static int is_watched(int descriptor) {
    return descriptor >= 0 && descriptor < DESCRIPTORS_MAX && watched[descriptor];
}

static int opened(int descriptor, int flags) {
    char path[PATH_MAX], image[PATH_MAX];
    struct stat facts;
    if (descriptor < 0 || descriptor >= DESCRIPTORS_MAX)
        return descriptor;
    watched[descriptor] = 0;
    if ((flags & O_ACCMODE) == O_RDONLY || !path_of(descriptor, path) || !image_of(path, image))
        return descriptor;
    if (fstat(descriptor, &facts) || !S_ISREG(facts.st_mode))
        return descriptor;
    watched[descriptor] = 1;
    /* An emptied file may grow again: its whole image is out of date. */
    wrote(descriptor, 0, flags & O_TRUNC ? LONG_MAX : 0);
    return descriptor;
}

/* Bring the image up to date. Fails the sync where it cannot: never a silent gap. */
static int copy(int from, const char *image) {
    struct stat facts;
    char buffer[65536], path[64];
    make_folders(image);
    snprintf(path, sizeof path, "/proc/self/fd/%d", from);
    static int (*real_open)(const char *, int, ...);
    static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
    static int (*real_truncate)(int, off_t);
    if (!real_open) {
        real_pwrite = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
        real_truncate = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate64");
        real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    }
    int reader = real_open(path, O_RDONLY | O_CLOEXEC); /* `from` itself may be write-only */
    int to = real_open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (reader < 0 || to < 0 || fstat(from, &facts))
        return -1;
    struct file *file = entry_of(&facts);
    off_t offset = file->from, end = file->to < facts.st_size ? file->to : facts.st_size;
    struct stat before;
    if (fstat(to, &before))
        return -1;
    if (before.st_size == 0)
        offset = 0, end = facts.st_size;
    /* A file that grows does so with its data, never before it (ext4's data=ordered): the process
     * may be killed in the middle of this. */
    int result = facts.st_size < before.st_size ? real_truncate(to, facts.st_size) : 0;
    while (!result && offset < end) {
        size_t wanted = sizeof buffer;
        if ((off_t)wanted > end - offset)
            wanted = end - offset;
        ssize_t count = pread(reader, buffer, wanted, offset);
        if (count <= 0 || real_pwrite(to, buffer, count, offset) != count)
            result = -1;
        offset += count;
    }
    if (!result)
        result = real_truncate(to, facts.st_size);
    file->from = file->to = 0;
    close(reader);
    close(to);
    return result;
}

static int keep(int descriptor) {
    char path[PATH_MAX], image[PATH_MAX];
    struct stat facts;
    if (!path_of(descriptor, path) || !image_of(path, image))
        return 0;
    if (fstat(descriptor, &facts) || !S_ISREG(facts.st_mode) || facts.st_nlink == 0)
        return 0;
    pthread_mutex_lock(&lock);
    int result = copy(descriptor, image);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int descriptor) {
    REAL(int, fsync, int);
    int result = real(descriptor);
    return result ? result : keep(descriptor);
}

int fdatasync(int descriptor) {
    REAL(int, fdatasync, int);
    int result = real(descriptor);
    return result ? result : keep(descriptor);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        REAL(int, name, const char *, int, ...);                                                   \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        int mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, int) : 0;  \
        va_end(rest);                                                                              \
        return opened(real(path, flags, mode), flags);                                             \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
    int name(int folder, const char *path, int flags, ...) {                                       \
        REAL(int, name, int, const char *, int, ...);                                              \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        int mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, int) : 0;  \
        va_end(rest);                                                                              \
        return opened(real(folder, path, flags, mode), flags);                                     \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN_2(name)                                                                               \
    int name(const char *path, int flags) {                                                        \
        REAL(int, name, const char *, int);                                                        \
        return opened(real(path, flags), flags);                                                   \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)

#define CREAT(name)                                                                                \
    int name(const char *path, mode_t mode) {                                                      \
        REAL(int, name, const char *, mode_t);                                                     \
        return opened(real(path, mode), O_WRONLY | O_CREAT | O_TRUNC);                             \
    }
CREAT(creat)
CREAT(creat64)

/* Behind what was written at the descriptor's own position. */
static ssize_t moved(int descriptor, ssize_t count) {
    if (count > 0 && is_watched(descriptor)) {
        off_t end = lseek(descriptor, 0, SEEK_CUR);
        wrote(descriptor, end - count, end);
    }
    return count;
}

ssize_t write(int descriptor, const void *data, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    return moved(descriptor, real(descriptor, data, count));
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return moved(descriptor, real(descriptor, parts, count));
}

#define PWRITE(name)                                                                               \
    ssize_t name(int descriptor, const void *data, size_t count, off_t offset) {                   \
        REAL(ssize_t, name, int, const void *, size_t, off_t);                                     \
        ssize_t written = real(descriptor, data, count, offset);                                   \
        if (written > 0 && is_watched(descriptor))                                                 \
            wrote(descriptor, offset, offset + written);                                           \
        return written;                                                                            \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define FTRUNCATE(name)                                                                            \
    int name(int descriptor, off_t length) {                                                       \
        REAL(int, name, int, off_t);                                                               \
        int result = real(descriptor, length);                                                     \
        if (!result && is_watched(descriptor))                                                     \
            wrote(descriptor, length, LONG_MAX);                                                   \
        return result;                                                                             \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int close(int descriptor) {
    REAL(int, close, int);
    if (descriptor >= 0 && descriptor < DESCRIPTORS_MAX)
        watched[descriptor] = 0;
    return real(descriptor);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    char old_image[PATH_MAX], new_image[PATH_MAX];
    int result = real(from, to);
    if (!result && image_of(from, old_image) && image_of(to, new_image)) {
        make_folders(new_image);
        /* Renamed before it was synced: the name may be durable before the data is. */
        if (real(old_image, new_image))
            unlink(new_image);
    }
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    char image[PATH_MAX];
    struct stat facts;
    int known = image_of(path, image) && !lstat(path, &facts) && facts.st_nlink == 1;
    int result = real(path);
    if (!result && image_of(path, image))
        real(image);
    if (!result && known)
        forget(&facts);
    return result;
}

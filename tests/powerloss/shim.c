/* A disk that keeps only what was synced, for one process (LD_PRELOAD).
 *
 * Files below POWERLOSS_ROOT have a durable image below POWERLOSS_SHADOW. fsync and fdatasync bring
 * the image up to date; rename and unlink are applied to it at once, as a journalling file system
 * orders them behind the data that was synced before. What was written and not synced is in no
 * image, so that putting the images in the place of the files is a power loss.
 *
 * Simplification: files are taken to grow at their end between two syncs, as logs and tables do. A
 * file that is cut shorter is copied as a whole.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

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

/* Copy what the file has beyond its image. Fails the sync where it cannot: never a silent gap. */
static int copy_tail(int from, const char *image) {
    struct stat now, before;
    char buffer[65536];
    make_folders(image);
    int to = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (to < 0 || fstat(from, &now) || fstat(to, &before))
        return -1;
    off_t offset = before.st_size;
    if (now.st_size < before.st_size && ftruncate(to, offset = 0))
        return -1;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", from);
    int reader = open(path, O_RDONLY | O_CLOEXEC); /* the descriptor itself may be write-only */
    if (reader < 0)
        return -1;
    int result = 0;
    while (offset < now.st_size) {
        size_t wanted = sizeof buffer;
        if ((off_t)wanted > now.st_size - offset)
            wanted = now.st_size - offset;
        ssize_t count = pread(reader, buffer, wanted, offset);
        if (count <= 0 || pwrite(to, buffer, count, offset) != count) {
            result = -1;
            break;
        }
        offset += count;
    }
    close(reader);
    close(to);
    return result;
}

static int keep(int descriptor) {
    char link[64], path[PATH_MAX], image[PATH_MAX];
    struct stat facts;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (!image_of(path, image) || fstat(descriptor, &facts) || !S_ISREG(facts.st_mode))
        return 0;
    pthread_mutex_lock(&lock);
    int result = copy_tail(descriptor, image);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int descriptor) {
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(descriptor);
    return result ? result : keep(descriptor);
}

int fdatasync(int descriptor) {
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(descriptor);
    return result ? result : keep(descriptor);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    char old_image[PATH_MAX], new_image[PATH_MAX];
    if (!real)
        real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    int result = real(from, to);
    if (!result && image_of(from, old_image) && image_of(to, new_image)) {
        make_folders(new_image);
        real(old_image, new_image);
    }
    return result;
}

int unlink(const char *path) {
    static int (*real)(const char *);
    char image[PATH_MAX];
    if (!real)
        real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    int result = real(path);
    if (!result && image_of(path, image))
        real(image);
    return result;
}

/* What a power cut leaves: notes, for each file, the size at its last fdatasync, and what each directory held at its last
   fsync. With NO_SYNC set nothing is noted, as if the program had never synced: the test's own counter-check. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void note(const char *line) {
    const char *path = getenv("POWER_CUT_LOG");
    if (!path) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0) return;
    if (write(fd, line, strlen(line)) < 0) abort();
    close(fd);
}

static void synced(int fd, long size) {
    struct stat st;
    char line[600];
    if (fstat(fd, &st)) return;
    if (S_ISREG(st.st_mode)) {
        if (getenv("NO_SYNC")) return;
        snprintf(line, sizeof line, "F %lu %ld\n", (unsigned long)st.st_ino, size);
        note(line);
        return;
    }
    if (!S_ISDIR(st.st_mode)) return;
    DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY));
    if (!dir) return;
    snprintf(line, sizeof line, "D %lu\n", (unsigned long)st.st_ino);
    note(line);
    for (struct dirent *e; (e = readdir(dir));) {
        snprintf(line, sizeof line, "N %lu %lu %s\n", (unsigned long)st.st_ino, (unsigned long)e->d_ino, e->d_name);
        note(line);
    }
    closedir(dir);
}

/* The size is taken before the sync: what is written meanwhile may not be covered by it. */
#define WRAP(name)                                               \
    int name(int fd) {                                           \
        static int (*real)(int);                                 \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name); \
        struct stat st;                                          \
        long size = fstat(fd, &st) ? 0 : (long)st.st_size;       \
        int status = real(fd);                                   \
        if (!status) synced(fd, size);                           \
        return status;                                           \
    }
WRAP(fsync)
WRAP(fdatasync)

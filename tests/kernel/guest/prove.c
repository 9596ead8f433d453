/* prove VERB ARGUMENT...: the programs of the virtual machine in one static file. */
#include "tests/kernel/guest/prove.h"

#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void wrong(const char *fmt, ...)
{
    va_list args;
    fputs("wrong: ", stdout);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    exit(1);
}

uint64_t any(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t any_below(uint64_t *state, uint64_t limit) { return any(state) % limit; }

void write_all(int fd, const void *bytes, size_t len, off_t at)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = CALL(pwrite(fd, (const char *)bytes + done, len - done, at + (off_t)done));
        done += (size_t)n;
    }
}

size_t read_all(int fd, void *bytes, size_t len, off_t at)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = CALL(pread(fd, (char *)bytes + done, len - done, at + (off_t)done));
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return done;
}

void forget_caches(void)
{
    int fd = (int)CALL(open("/proc/sys/vm/drop_caches", O_WRONLY));
    CALL(write(fd, "3\n", 2));
    close(fd);
}

void put_file(const char *path, const char *text)
{
    int fd = (int)CALL(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    write_all(fd, text, strlen(text), 0);
    CALL(close(fd));
}

bool has_text(const char *path, const char *text)
{
    char found[4096];
    int fd = (int)CALL(open(path, O_RDONLY));
    size_t len = read_all(fd, found, sizeof found, 0);
    close(fd);
    return len == strlen(text) && memcmp(found, text, len) == 0;
}

void *pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                   -1, 0);
    if (p == MAP_FAILED)
        wrong("no memory");
    return p;
}

bool told_to_stop(const char *stop_file) { return access(stop_file, F_OK) == 0; }

void progress(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now); /* as /proc/uptime says it, in hundredths */
    printf("%lld\n", (long long)now.tv_sec * 100 + now.tv_nsec / 10000000);
    fflush(stdout);
}

/* USER PROGRAM ARGUMENT...: the program as that user and group. */
static void verb_as(int argc, char **argv)
{
    gid_t id = (gid_t)strtoul(argv[0], NULL, 10);
    if (argc < 2)
        wrong("as whom, what?");
    CALL(setgroups(1, &id));
    CALL(setgid(id));
    CALL(setuid(id));
    CALL(execvp(argv[1], argv + 1));
}

static const struct {
    const char *name;
    void (*run)(int argc, char **argv);
    int arguments; /* -1: as many as there are */
} verbs[] = {
    {"bytes", verb_bytes, 3},
    {"direct", verb_direct, 3},
    {"far", verb_far, 2},
    {"maps", verb_maps, 2},
    {"two-mounts", verb_two_mounts, 4},
    {"durable", verb_durable, 4},
    {"stamp", verb_stamp, 4},
    {"names", verb_names, 1},
    {"links", verb_links, 1},
    {"open-files", verb_open_files, 1},
    {"big-folder", verb_big_folder, 2},
    {"small-files", verb_small_files, 2},
    {"attributes", verb_attributes, 1},
    {"denied", verb_denied, 1},
    {"replay", verb_replay, 3},
    {"stale", verb_stale, 1},
    {"as", verb_as, -1},
    {"ladder", verb_ladder, 2},
    {"ladder-check", verb_ladder_check, 2},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[1], verbs[i].name) != 0)
            continue;
        if (verbs[i].arguments >= 0 && argc - 2 != verbs[i].arguments)
            wrong("%s takes %d arguments", verbs[i].name, verbs[i].arguments);
        verbs[i].run(argc - 2, argv + 2);
        return 0;
    }
    wrong("unknown verb");
}

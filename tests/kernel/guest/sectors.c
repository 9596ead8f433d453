/* Sectors that say whose they are: every 512 bytes carry file, offset and generation, and the rest
 * follows from these, so that a sector that is old, of elsewhere or torn is told by name. */
#include "tests/kernel/guest/prove.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, SECTORS = 4096, RUN_MAX = 128, WORDS = SECTOR / 8 };

struct sectors {
    uint64_t file, random;
    uint64_t generation;           /* the newest given */
    uint64_t generations[SECTORS]; /* 0: never written */
    uint64_t *buffer;
};

static void sector_make(uint64_t *to, uint64_t file, uint64_t at, uint64_t generation)
{
    uint64_t state = file * 0x100000001b3 ^ at << 20 ^ generation;
    to[0] = file;
    to[1] = at;
    to[2] = generation;
    for (int i = 3; i < WORDS; i++)
        to[i] = any(&state);
}

static void sector_check(const uint64_t *got, uint64_t file, uint64_t at, uint64_t generation)
{
    uint64_t expected[WORDS] = {0};
    if (generation)
        sector_make(expected, file, at, generation);
    if (memcmp(got, expected, SECTOR) == 0)
        return;
    wrong("file %llu sector %llu is of file %llu sector %llu generation %llu%s, not of "
          "generation %llu",
          (unsigned long long)file, (unsigned long long)at, (unsigned long long)got[0],
          (unsigned long long)got[1], (unsigned long long)got[2],
          memcmp(got, expected, 24) == 0 ? " (torn)" : "", (unsigned long long)generation);
}

static struct sectors *sectors_new(uint64_t file, uint64_t seed)
{
    struct sectors *s = pages(sizeof *s);
    s->file = file;
    s->random = seed;
    s->buffer = pages((size_t)RUN_MAX * SECTOR);
    return s;
}

static void write_some(struct sectors *s, int fd)
{
    size_t count = 1 + any_below(&s->random, any_below(&s->random, 2) ? 16 : RUN_MAX);
    size_t at = any_below(&s->random, SECTORS - count);
    s->generation++;
    for (size_t i = 0; i < count; i++) {
        s->generations[at + i] = s->generation;
        sector_make(s->buffer + i * WORDS, s->file, at + i, s->generation);
    }
    write_all(fd, s->buffer, count * SECTOR, (off_t)at * SECTOR);
}

static void check_range(const struct sectors *s, int fd, size_t at, size_t count)
{
    if (read_all(fd, s->buffer, count * SECTOR, (off_t)at * SECTOR) != count * SECTOR)
        wrong("file %llu is short at sector %zu", (unsigned long long)s->file, at);
    for (size_t i = 0; i < count; i++)
        sector_check(s->buffer + i * WORDS, s->file, at + i, s->generations[at + i]);
}

static void check_some(struct sectors *s, int fd)
{
    size_t count = 1 + any_below(&s->random, RUN_MAX);
    check_range(s, fd, any_below(&s->random, SECTORS - count), count);
}

static void check_every(const struct sectors *s, int fd)
{
    for (size_t at = 0; at < SECTORS; at += RUN_MAX)
        check_range(s, fd, at, RUN_MAX);
}

/* ONE OTHER SEED ROUNDS: one file through two mounts of one export; what was closed here is read
 * there. */
void verb_two_mounts(int argc, char **argv)
{
    uint64_t seed = strtoull(argv[2], NULL, 10);
    unsigned rounds = (unsigned)strtoul(argv[3], NULL, 10);
    struct sectors *s = sectors_new(seed, seed);
    char paths[2][300];
    (void)argc;
    for (int i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "%s/two-%llu", argv[i], (unsigned long long)seed);
    int fd = (int)CALL(open(paths[0], O_RDWR | O_CREAT, 0644));
    CALL(ftruncate(fd, (off_t)SECTORS * SECTOR));
    CALL(close(fd));
    for (unsigned i = 0; i < rounds; i++) {
        int side = (int)any_below(&s->random, 2);
        int flags = any_below(&s->random, 4) ? 0 : O_DIRECT;
        fd = (int)CALL(open(paths[side], O_RDWR | flags));
        for (uint64_t n = 1 + any_below(&s->random, 8); n > 0; n--)
            write_some(s, fd);
        check_some(s, fd);
        CALL(close(fd));
        fd = (int)CALL(open(paths[!side], O_RDONLY));
        for (int n = 0; n < 4; n++)
            check_some(s, fd);
        CALL(close(fd));
    }
    for (int i = 0; i < 2; i++) {
        fd = (int)CALL(open(paths[i], O_RDONLY));
        check_every(s, fd);
        CALL(close(fd));
    }
    CALL(unlink(paths[1]));
    REFUSED(open(paths[0], O_RDONLY), ENOENT);
}

/* FOLDER SEED sync|fsync|direct STOP: writes until STOP exists, while the server comes and goes;
 * all that was written must be there in the end, read with nothing cached. */
void verb_durable(int argc, char **argv)
{
    uint64_t seed = strtoull(argv[1], NULL, 10);
    const char *mode = argv[2];
    struct sectors *s = sectors_new(seed, seed);
    char path[300];
    (void)argc;
    snprintf(path, sizeof path, "%s/durable-%s", argv[0], mode);
    int flags = strcmp(mode, "sync") == 0     ? O_SYNC
                : strcmp(mode, "direct") == 0 ? O_DIRECT | O_DSYNC
                                              : 0;
    int fd = (int)CALL(open(path, O_RDWR | O_CREAT | flags, 0644));
    CALL(ftruncate(fd, (off_t)SECTORS * SECTOR));
    for (unsigned i = 1; !told_to_stop(argv[3]); i++) {
        write_some(s, fd);
        if (!flags && i % 8 == 0) {
            CALL(fsync(fd));
            CALL(posix_fadvise(fd, 0, 0,
                               POSIX_FADV_DONTNEED)); /* what is stable is asked for anew */
        }
        check_some(s, fd);
        if (i % 8 == 0)
            progress();
    }
    CALL(fsync(fd));
    CALL(close(fd));
    forget_caches();
    fd = (int)CALL(open(path, O_RDONLY | O_DIRECT));
    check_every(s, fd);
    CALL(close(fd));
    printf("%llu writes\n", (unsigned long long)s->generation);
}

/* PATH FILE GENERATION make|check: a whole file of one generation, or is it one? */
void verb_stamp(int argc, char **argv)
{
    struct sectors *s = sectors_new(strtoull(argv[1], NULL, 10), 1);
    uint64_t generation = strtoull(argv[2], NULL, 10);
    bool make = strcmp(argv[3], "make") == 0;
    (void)argc;
    for (size_t i = 0; i < SECTORS; i++)
        s->generations[i] = generation;
    int fd = (int)CALL(make ? open(argv[0], O_RDWR | O_CREAT, 0644) : open(argv[0], O_RDONLY));
    for (size_t at = 0; make && at < SECTORS; at += RUN_MAX) {
        for (size_t i = 0; i < RUN_MAX; i++)
            sector_make(s->buffer + i * WORDS, s->file, at + i, generation);
        write_all(fd, s->buffer, (size_t)RUN_MAX * SECTOR, (off_t)at * SECTOR);
    }
    if (make)
        CALL(fsync(fd));
    else
        check_every(s, fd);
    CALL(close(fd));
}

/* ---- a ladder: number n is written to one of eight files, stable, before n + 1 is begun ---- */

enum { LADDER_FILES = 8 };

static void ladder_path(char path[300], const char *folder, uint64_t number)
{
    snprintf(path, 300, "%s/ladder-%u", folder, (unsigned)(number % LADDER_FILES));
}

/* FOLDER STOP: says each number that is stable. */
void verb_ladder(int argc, char **argv)
{
    struct sectors *s = sectors_new(7, 7);
    int fds[LADDER_FILES];
    char path[300];
    (void)argc;
    for (uint64_t i = 0; i < LADDER_FILES; i++) {
        ladder_path(path, argv[0], i);
        fds[i] = (int)CALL(open(path, O_WRONLY | O_CREAT | O_SYNC | (i % 2 ? O_DIRECT : 0), 0644));
    }
    for (uint64_t n = 1; !told_to_stop(argv[1]); n++) {
        sector_make(s->buffer, s->file, n, n);
        write_all(fds[n % LADDER_FILES], s->buffer, SECTOR, (off_t)(n / LADDER_FILES) * SECTOR);
        printf("%llu\n", (unsigned long long)n);
        fflush(stdout);
    }
}

/* FOLDER ATLEAST: what is there are the numbers from 1 to some number, none missing, and says it.
 */
void verb_ladder_check(int argc, char **argv)
{
    struct sectors *s = sectors_new(7, 7);
    uint64_t at_least = strtoull(argv[1], NULL, 10), last = 0, end = 0;
    char path[300];
    (void)argc;
    for (uint64_t i = 0; i < LADDER_FILES; i++) {
        ladder_path(path, argv[0], i);
        int fd = (int)CALL(open(path, O_RDONLY));
        for (uint64_t n = i; read_all(fd, s->buffer, SECTOR, (off_t)(n / LADDER_FILES) * SECTOR);
             n += LADDER_FILES) {
            if (n)
                sector_check(s->buffer, s->file, n, n);
            end += n != 0;
            last = n > last ? n : last;
        }
        CALL(close(fd));
    }
    if (last != end)
        wrong("%llu is there, but only %llu numbers are", (unsigned long long)last,
              (unsigned long long)end);
    if (last < at_least)
        wrong("%llu was stable, %llu is the last", (unsigned long long)at_least,
              (unsigned long long)last);
    printf("%llu\n", (unsigned long long)last);
}

/* What the programs of the virtual machine have in common: a verb does one thing to files over a
 * mount, says "wrong: ..." and exits 1 at the first thing that is not as it must be, and is silent
 * else. */
#pragma once
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

_Noreturn void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The call's result; -1 is wrong, with the call's text and errno. */
#define CALL(call)                                                                                 \
    ({                                                                                             \
        long call_result = (long)(call);                                                           \
        if (call_result < 0)                                                                       \
            wrong("%s:%d: %s: %s", __FILE__, __LINE__, #call, strerror(errno));                    \
        call_result;                                                                               \
    })
/* The call must fail, with that error. */
#define REFUSED(call, expected)                                                                    \
    do {                                                                                           \
        if ((long)(call) >= 0)                                                                     \
            wrong("%s:%d: %s succeeded", __FILE__, __LINE__, #call);                               \
        if (errno != (expected))                                                                   \
            wrong("%s:%d: %s: %s, not %s", __FILE__, __LINE__, #call, strerror(errno),             \
                  strerror(expected));                                                             \
    } while (0)
#define TRUE(what)                                                                                 \
    do {                                                                                           \
        if (!(what))                                                                               \
            wrong("%s:%d: not so: %s", __FILE__, __LINE__, #what);                                 \
    } while (0)

uint64_t any(uint64_t *state); /* the next number of a seed */
uint64_t any_below(uint64_t *state, uint64_t limit);
void write_all(int fd, const void *bytes, size_t len, off_t at);
/* The number of bytes there were up to the end of the file. */
size_t read_all(int fd, void *bytes, size_t len, off_t at);
/* Nothing clean is kept of any file: the next read asks the server. */
void forget_caches(void);
void put_file(const char *path, const char *text);
bool has_text(const char *path, const char *text);
/* A page-aligned buffer, as direct I/O wants it. */
void *pages(size_t bytes);
bool told_to_stop(const char *stop_file); /* by its existence */
/* Says when it got on, in hundredths of a second since boot, to the script that waits for it. */
void progress(void);

void verb_bytes(int argc, char **argv);
void verb_direct(int argc, char **argv);
void verb_far(int argc, char **argv);
void verb_maps(int argc, char **argv);
void verb_two_mounts(int argc, char **argv);
void verb_durable(int argc, char **argv);
void verb_stamp(int argc, char **argv);
void verb_ladder(int argc, char **argv);
void verb_ladder_check(int argc, char **argv);
void verb_names(int argc, char **argv);
void verb_links(int argc, char **argv);
void verb_open_files(int argc, char **argv);
void verb_big_folder(int argc, char **argv);
void verb_small_files(int argc, char **argv);
void verb_attributes(int argc, char **argv);
void verb_denied(int argc, char **argv);
void verb_replay(int argc, char **argv);
void verb_stale(int argc, char **argv);

/* Records of system calls and the crashes made of them: the tool must find writers with a bug. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/crash_states.h"
#include "tests/lib/engine_drive.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>

#define OK(call) cr_assert((call), "line %d: %s: %s", __LINE__, #call, err.text)

enum bug { NO_BUG, NO_FILE_SYNC, NO_FOLDER_SYNC, WRITES_IN_PLACE };

static const char *text_of(uint64_t version)
{
    static char text[9001];
    memset(text, 'a' + (int)version, sizeof text - 1);
    return text;
}

/* A file that is replaced five times; each time it says so when it is done. */
static bool replace(const char *dir, enum bug bug, uint64_t version, struct err *err)
{
    char path[256];
    char tmp[256];
    str_format(path, sizeof path, "%s/sub/file", dir);
    str_format(tmp, sizeof tmp, "%s/sub/file.tmp", dir);
    bool in_place = bug == WRITES_IN_PLACE;
    AUTO(fd) int fd = sys_open(in_place ? path : tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600, err);
    if (fd < 0 || !sys_write(fd, text_of(version), 4000, tmp, err) ||
        !sys_pwrite(fd, text_of(version), 5000, 4000, tmp, err) ||
        (bug != NO_FILE_SYNC && !sys_fsync(fd, tmp, err)) ||
        (!in_place && !sys_rename(tmp, path, err)))
        return false;
    str_format(path, sizeof path, "%s/sub", dir);
    return (bug == NO_FOLDER_SYNC && version > 1) || sys_fsync_dir(path, err);
}

static bool replaces(const char *dir, enum bug bug, struct err *err)
{
    char path[256];
    str_format(path, sizeof path, "%s/sub", dir);
    if (!sys_mkdir(path, 0700, err) || !sys_fsync_dir(dir, err))
        return false;
    for (uint64_t version = 1; version <= 5; version++) {
        if (!replace(dir, bug, version, err))
            return false;
        sys_record_mark(version);
    }
    return true;
}

/* The last one that was done, whole, or the one after it. */
static bool is_whole(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    (void)arg;
    char path[256];
    size_t len;
    struct err why = {0};
    str_format(path, sizeof path, "%s/sub/file", dir);
    AUTO(mem) char *text = sys_read_file(path, 1 << 20, &len, &why);
    if (!text)
        return mark == 0 || err_set(err, ERR_CORRUPT, "gone after %llu", (unsigned long long)mark);
    for (uint64_t version = mark; version <= mark + 1; version++)
        if (version && len == 9000 && memcmp(text, text_of(version), 9000) == 0)
            return true;
    return err_set(err, ERR_CORRUPT, "%zu bytes '%.3s' after %llu", len, text,
                   (unsigned long long)mark);
}

static bool survives(enum bug bug, unsigned seeds, uint64_t *ret_states, struct err *err)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    char state[256];
    str_format(state, sizeof state, "%s/state", scratch);
    sys_record_begin();
    bool ok = replaces(dir, bug, err);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    struct crash_plan plan = {.record = &record,
                              .root = dir,
                              .scratch = state,
                              .seeds = seeds,
                              .seed = 1,
                              .check = is_whole};
    return ok && crash_states_each(&plan, ret_states, err);
}

Test(sys_record, a_writer_without_a_bug_survives_every_crash)
{
    struct err err = {0};
    uint64_t states = 0;
    cr_assert(survives(NO_BUG, 20, &states, &err), "%s", err.text);
    cr_expect(states > 500, "%llu", (unsigned long long)states);
}

Test(sys_record, planted_bugs_are_found)
{
    struct err err = {0};
    uint64_t states = 0;
    cr_expect(!survives(NO_FILE_SYNC, 0, &states, &err), "rename before the file is on disk");
    err_clear(&err);
    cr_expect(!survives(NO_FOLDER_SYNC, 0, &states, &err), "the folder is not synced");
    err_clear(&err);
    cr_expect(!survives(WRITES_IN_PLACE, 20, &states, &err), "half written in place");
}

/* Some bytes of a file as they are found, "-" when there is none. */
static void look(const char *dir, const char *name, char ret[64])
{
    struct err err = {0};
    char path[256];
    size_t len;
    str_format(path, sizeof path, "%s/%s", dir, name);
    AUTO(mem) char *text = sys_read_file(path, 1 << 20, &len, &err);
    str_copy(ret, 64, text ? text : "-");
}

Test(sys_record, names_and_bytes_are_there_by_their_own_syncs)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    struct err err = {0};
    char path[256];
    char state[256];
    char text[64];
    str_format(state, sizeof state, "%s/state", scratch);
    str_format(path, sizeof path, "%s/a", dir);
    sys_record_begin();
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT, 0600, &err);
    OK(fd >= 0 && sys_pwrite(fd, "bytes", 5, 0, path, &err));
    OK(sys_fdatasync(fd, path, &err) && sys_fsync_dir(dir, &err));
    OK(sys_truncate(fd, 2, path, &err));
    AUTO(fd) int at = sys_open(dir, O_RDONLY | O_DIRECTORY, 0, &err);
    OK(sys_link_at(at, "a", "b", &err) && sys_unlink_at(at, "a", &err));
    OK(sys_rename_at(at, "b", "c", false, &err));
    sys_record_mark(7);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    AUTO(crash_states) struct crash_states *s = crash_states_open(&record, dir, NULL, &err);
    cr_assert(s, "%s", err.text);
    while (crash_states_next(s, &err))
        ;
    cr_assert(crash_states_mark(s) == 7 && crash_states_calls(s) == 9, "%zu",
              crash_states_calls(s));
    OK(crash_states_make(s, CRASH_AS_ISSUED, 0, state, &err));
    look(state, "c", text);
    cr_expect_str_eq(text, "by");
    look(state, "a", text);
    cr_expect_str_eq(text, "-");
    OK(crash_states_make(s, CRASH_AS_SYNCED, 0, state, &err));
    look(state, "a", text);
    cr_expect_str_eq(text, "bytes");
    look(state, "c", text);
    cr_expect_str_eq(text, "-");
    int shorter = 0;
    for (uint64_t seed = 1; seed < 50; seed++) {
        OK(crash_states_make(s, CRASH_MIXED, seed, state, &err));
        look(state, "a", text);
        shorter += str_equal(text, "by");
    }
    cr_expect(shorter > 2 && shorter < 40, "%d", shorter);
}

Test(sys_record, a_start_is_where_it_begins)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *start = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    struct err err = {0};
    char path[256];
    char state[256];
    char text[64];
    str_format(state, sizeof state, "%s/state", scratch);
    for (int i = 0; i < 2; i++) {
        str_format(path, sizeof path, "%s/old", i ? start : dir);
        OK(sys_write_file(path, "old bytes", 9, 0600, &err));
    }
    str_format(path, sizeof path, "%s/old", dir);
    sys_record_begin();
    AUTO(fd) int fd = sys_open(path, O_WRONLY, 0, &err);
    OK(fd >= 0 && sys_pwrite(fd, "new", 3, 0, path, &err));
    AUTO(sys_record) struct sys_record record = sys_record_end();
    AUTO(crash_states) struct crash_states *s = crash_states_open(&record, dir, start, &err);
    cr_assert(s, "%s", err.text);
    while (crash_states_next(s, &err))
        ;
    OK(crash_states_make(s, CRASH_AS_ISSUED, 0, state, &err));
    look(state, "old", text);
    cr_expect_str_eq(text, "new bytes");
    OK(crash_states_make(s, CRASH_AS_SYNCED, 0, state, &err));
    look(state, "old", text);
    cr_expect_str_eq(text, "old bytes");
}

/* Journals: what was synced is replayed, a torn tail is cut, damage is told. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/journal.h"
#include "tests/lib/crash_states.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/fault_loop.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(call) cr_assert((call), "line %d: %s: %s", __LINE__, #call, err.text)

/* What a replay saw: "<state>|kind:text ...". */
struct seen {
    struct str text;
    int records;
    const char *refuse;
};

static bool see_state(void *arg, const void *state, size_t len, struct err *err)
{
    (void)err;
    struct seen *seen = arg;
    str_clear(&seen->text);
    seen->records = 0;
    if (state)
        str_append_n(&seen->text, state, len);
    str_append(&seen->text, state ? "|" : "-|");
    return true;
}

static bool see_record(void *arg, uint8_t kind, struct cursor *payload, struct err *err)
{
    struct seen *seen = arg;
    char text[64];
    if (!cursor_text(payload, text, sizeof text))
        return err_set(err, ERR_CORRUPT, "no text");
    if (seen->refuse && str_equal(seen->refuse, text))
        return err_set(err, ERR_INVALID, "not that");
    str_printf(&seen->text, "%u:%s ", kind, text);
    seen->records++;
    return true;
}

static struct journal *open_it(const char *dir, struct seen *seen, bool *ret_clean, struct err *err)
{
    return journal_open(dir, see_state, see_record, seen, ret_clean, err);
}

static bool add(struct journal *j, const char *text, uint64_t *ret_number, struct err *err)
{
    AUTO(bytes) struct bytes payload = {0};
    return bytes_varint(&payload, strlen(text), err) &&
           bytes_add(&payload, text, strlen(text), err) &&
           journal_add(j, 7, &payload, ret_number, err);
}

static bool add_synced(struct journal *j, const char *text, struct err *err)
{
    uint64_t number;
    return add(j, text, &number, err) && journal_sync(j, number, err);
}

static bool compact(struct journal *j, const char *text, struct err *err)
{
    AUTO(bytes) struct bytes state = {0};
    return bytes_add(&state, text, strlen(text), err) && journal_compact(j, &state, err);
}

Test(journal, replays_the_state_and_what_came_after_it)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    struct seen seen = {0};
    bool clean = false;
    AUTO(journal) struct journal *j = open_it(dir, &seen, &clean, &err);
    cr_assert(j && clean, "%s", err.text);
    cr_expect_str_eq(seen.text.text, "-|");
    OK(add_synced(j, "one", &err));
    OK(add_synced(j, "two", &err));
    journal_free(TAKE(j));
    j = open_it(dir, &seen, &clean, &err);
    cr_assert(j && !clean, "%s", err.text);
    cr_expect_str_eq(seen.text.text, "-|7:one 7:two ");
    OK(compact(j, "state", &err));
    cr_expect(journal_bytes(j) == 0);
    journal_free(TAKE(j));
    j = open_it(dir, &seen, &clean, &err);
    cr_assert(j && !clean, "%s", err.text);
    OK(add_synced(j, "three", &err));
    OK(journal_close(TAKE(j), &err));
    j = open_it(dir, &seen, &clean, &err);
    cr_assert(j && clean, "%s", err.text);
    cr_expect_str_eq(seen.text.text, "state|7:three ");
    journal_free(TAKE(j));
    j = open_it(dir, &seen, &clean, &err);
    cr_expect(j && !clean, "the mark is taken away by opening");
    str_done(&seen.text);
}

Test(journal, refuses_what_it_cannot_hold)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    struct seen seen = {0};
    bool clean;
    uint64_t number;
    AUTO(journal) struct journal *j = open_it(dir, &seen, &clean, &err);
    AUTO(bytes) struct bytes payload = {0};
    cr_assert(j, "%s", err.text);
    cr_expect(!journal_add(j, 0, &payload, &number, &err) && err.code == ERR_INVALID);
    cr_expect(!journal_sync(j, 1000, &err));
    AUTO(mem) char *big = own_alloc(2 << 20, &err);
    OK(bytes_add(&payload, big, 2 << 20, &err));
    cr_expect(!journal_add(j, 1, &payload, &number, &err) && err.code == ERR_INVALID);
    err_clear(&err);
    OK(add_synced(j, "no", &err));
    journal_free(TAKE(j));
    seen.refuse = "no";
    cr_expect(!open_it(dir, &seen, &clean, &err) && err.code == ERR_INVALID, "%s", err.text);
    str_done(&seen.text);
}

/* ---- hostile bytes ---- */

static void file_of(const char *dir, char ret[256]) { str_format(ret, 256, "%s/journal", dir); }

/* Five texts, each synced; the whole file by its bytes. */
static char *five(const char *dir, size_t *ret_len, bool close)
{
    struct err err = {0};
    struct seen seen = {0};
    bool clean;
    char path[256];
    struct journal *j = open_it(dir, &seen, &clean, &err);
    cr_assert(j, "%s", err.text);
    static const char *const texts[] = {"a", "bb", "ccc", "dddd", "eeeee"};
    for (int i = 0; i < 5; i++)
        OK(add_synced(j, texts[i], &err));
    if (close)
        OK(journal_close(j, &err));
    else
        journal_free(j);
    str_done(&seen.text);
    file_of(dir, path);
    char *bytes = sys_read_file(path, 1 << 20, ret_len, &err);
    cr_assert(bytes, "%s", err.text);
    return bytes;
}

/* How many texts come back; -1 for CORRUPT. Always in order, from the first. */
static int texts_in(const char *dir, const char *bytes, size_t len, bool *ret_clean)
{
    static const char *const wanted[] = {"-|",
                                         "-|7:a ",
                                         "-|7:a 7:bb ",
                                         "-|7:a 7:bb 7:ccc ",
                                         "-|7:a 7:bb 7:ccc 7:dddd ",
                                         "-|7:a 7:bb 7:ccc 7:dddd 7:eeeee "};
    struct err err = {0};
    struct seen seen = {0};
    char path[256];
    file_of(dir, path);
    OK(sys_write_file(path, bytes, len, 0600, &err));
    AUTO(journal) struct journal *j = open_it(dir, &seen, ret_clean, &err);
    int records = seen.records;
    if (j) {
        cr_assert_str_eq(seen.text.text, wanted[records]);
        OK(add_synced(j, "more", &err));
    }
    str_done(&seen.text);
    cr_assert(j || err.code == ERR_CORRUPT, "%s", err.text);
    return j ? records : -1;
}

Test(journal, every_prefix_is_a_shorter_journal)
{
    AUTO(drive_dir) char *dir = drive_dir();
    size_t len;
    AUTO(mem) char *bytes = five(dir, &len, true);
    int before = 0;
    for (size_t n = 0; n <= len; n++) {
        bool clean = false;
        int texts = texts_in(dir, bytes, n, &clean);
        cr_assert(texts == before || texts == before + 1, "%zu bytes: %d texts", n, texts);
        cr_assert(!clean || n == len || n == 0, "%zu of %zu bytes are clean", n, len);
        before = texts;
    }
    cr_expect(before == 5);
}

Test(journal, a_flipped_byte_before_the_last_record_is_damage)
{
    AUTO(drive_dir) char *dir = drive_dir();
    size_t len;
    AUTO(mem) char *bytes = five(dir, &len, false);
    enum { NOTE = 29, LAST = 26 + NOTE };
    for (size_t at = 0; at < len; at++) {
        bool clean = true;
        bytes[at] ^= 16;
        int texts = texts_in(dir, bytes, len, &clean);
        bytes[at] ^= 16;
        if (at < len - LAST)
            cr_assert(texts == -1, "byte %zu of %zu: %d texts", at, len, texts);
        else if (at < len - NOTE)
            cr_assert(texts == -1 || texts == 4, "byte %zu of %zu: %d texts", at, len, texts);
        else
            cr_assert(texts == 5 && !clean, "byte %zu of %zu: %d texts", at, len, texts);
    }
}

Test(journal, what_was_never_synced_may_go_in_any_order_and_is_no_damage)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    struct seen seen = {0};
    bool clean;
    uint64_t number;
    char path[256];
    AUTO(journal) struct journal *j = open_it(dir, &seen, &clean, &err);
    cr_assert(j, "%s", err.text);
    OK(add_synced(j, "kept", &err));
    size_t from = journal_bytes(j);
    for (int i = 0; i < 20; i++)
        OK(add(j, "not promised", &number, &err));
    journal_free(TAKE(j));
    file_of(dir, path);
    size_t len;
    AUTO(mem) char *bytes = sys_read_file(path, 1 << 20, &len, &err);
    cr_assert(bytes);
    memset(bytes + from, 0, 100); /* the first page was lost, the next was not */
    OK(sys_write_file(path, bytes, len, 0600, &err));
    j = open_it(dir, &seen, &clean, &err);
    cr_assert(j && !clean, "%s", err.text);
    cr_expect_str_eq(seen.text.text, "-|7:kept ");
    str_done(&seen.text);
}

Test(journal, a_state_that_does_not_check_is_damage)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    struct seen seen = {0};
    bool clean;
    char path[256];
    struct journal *j = open_it(dir, &seen, &clean, &err);
    cr_assert(j && compact(j, "the state", &err), "%s", err.text);
    journal_free(j);
    str_format(path, sizeof path, "%s/state", dir);
    size_t len;
    AUTO(mem) char *bytes = sys_read_file(path, 1 << 20, &len, &err);
    cr_assert(bytes && len == 24 + 9 + 8);
    for (size_t at = 0; at <= len; at++) {
        if (at < len)
            bytes[at] ^= 1;
        OK(sys_write_file(path, bytes, at < len ? len : len - 1, 0600, &err));
        cr_assert(!open_it(dir, &seen, &clean, &err) && err.code == ERR_CORRUPT, "byte %zu", at);
        err_clear(&err);
        if (at < len)
            bytes[at] ^= 1;
    }
    OK(sys_write_file(path, bytes, len, 0600, &err));
    str_format(path, sizeof path, "%s/journal", dir);
    cr_assert(unlink(path) == 0);
    cr_expect(!open_it(dir, &seen, &clean, &err) && err.code == ERR_CORRUPT, "%s", err.text);
    str_done(&seen.text);
}

/* ---- threads ---- */

struct adder {
    struct journal *j;
    int done;
};

static void *add_many(void *arg)
{
    struct adder *a = arg;
    for (int i = 0; i < 300; i++) {
        struct err err = {0};
        if (!add_synced(a->j, "x", &err))
            return NULL;
        a->done++;
    }
    return NULL;
}

Test(journal, adders_at_once_share_syncs_and_lose_nothing)
{
    enum { ADDERS = 4 };
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    struct seen seen = {0};
    bool clean;
    AUTO(journal) struct journal *j = open_it(dir, &seen, &clean, &err);
    cr_assert(j, "%s", err.text);
    pthread_t threads[ADDERS];
    struct adder adders[ADDERS];
    for (int i = 0; i < ADDERS; i++) {
        adders[i] = (struct adder){.j = j};
        cr_assert(pthread_create(&threads[i], NULL, add_many, &adders[i]) == 0);
    }
    for (int i = 0; i < ADDERS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect(adders[i].done == 300);
    }
    journal_free(TAKE(j));
    j = open_it(dir, &seen, &clean, &err);
    cr_assert(j, "%s", err.text);
    cr_expect(seen.records == ADDERS * 300, "%d", seen.records);
    str_done(&seen.text);
}

/* ---- crashes ---- */

/* Texts 1, 2, 3...; each mark is the last one that was promised. A state says how many it holds. */
static bool numbers(const char *dir, struct err *err)
{
    struct seen seen = {0};
    bool clean;
    uint64_t number = 0;
    AUTO(journal) struct journal *j = open_it(dir, &seen, &clean, err);
    str_done(&seen.text);
    for (uint64_t i = 1; j && i <= 40; i++) {
        char text[400];
        str_format(text, sizeof text, "%0*llu", i % 4 ? 8 : 300, (unsigned long long)i);
        if (!add(j, text, &number, err))
            return false;
        if (i % 3 == 0 && !journal_sync(j, number, err))
            return false;
        if (i % 13 == 0) {
            str_format(text, sizeof text, "%08llu", (unsigned long long)i);
            if (!compact(j, text, err))
                return false;
        }
        if (i % 3 == 0 || i % 13 == 0)
            sys_record_mark(i);
    }
    return j && journal_close(TAKE(j), err);
}

struct counted {
    uint64_t last;
    bool unbroken;
};

static bool count_state(void *arg, const void *state, size_t len, struct err *err)
{
    struct counted *c = arg;
    char text[16] = "";
    (void)err;
    if (state && len < sizeof text)
        memcpy(text, state, len);
    *c = (struct counted){strtoull(text, NULL, 10), true};
    return true;
}

static bool count_record(void *arg, uint8_t kind, struct cursor *payload, struct err *err)
{
    struct counted *c = arg;
    char text[400];
    (void)kind;
    (void)err;
    c->unbroken &=
        cursor_text(payload, text, sizeof text) && strtoull(text, NULL, 10) == c->last + 1;
    c->last++;
    return true;
}

static bool check_numbers(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    bool clean;
    struct counted first = {0};
    struct counted second = {0};
    (void)arg;
    AUTO(journal)
    struct journal *j = journal_open(dir, count_state, count_record, &first, &clean, err);
    if (!j || !add_synced(j, "99999", err))
        return false;
    if (clean && first.last < 40 && first.last > 0)
        return err_set(err, ERR_INTERNAL, "clean before it was closed");
    journal_free(TAKE(j));
    AUTO(journal)
    struct journal *again = journal_open(dir, count_state, count_record, &second, &clean, err);
    if (!again)
        return false;
    return (first.unbroken && first.last >= mark && first.last <= mark + 3 && !clean &&
            second.last == first.last + 1) ||
           err_set(err, ERR_INTERNAL, "%llu promised, %llu there, then %llu",
                   (unsigned long long)mark, (unsigned long long)first.last,
                   (unsigned long long)second.last);
}

Test(journal, what_was_synced_survives_every_crash_also_amid_compaction)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    char state[256];
    struct err err = {0};
    uint64_t states = 0;
    str_format(state, sizeof state, "%s/state", scratch);
    sys_record_begin();
    bool ok = numbers(dir, &err);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    cr_assert(ok, "%s", err.text);
    struct crash_plan plan = {.record = &record,
                              .root = dir,
                              .scratch = state,
                              .seeds = getenv("EVERCOPY_LONG") ? 100 : 3,
                              .seed = 1,
                              .check = check_numbers};
    cr_expect(crash_states_each(&plan, &states, &err), "%s", err.text);
    cr_expect(states > 300);
}

/* ---- the fault loop ---- */

static int promised; /* texts whose sync was answered */
static bool compacted;

static bool fault_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    struct seen seen = {0};
    bool clean;
    promised = 0;
    compacted = false;
    AUTO(journal) struct journal *j = open_it(dir, &seen, &clean, err);
    str_done(&seen.text);
    for (int i = 0; i < 3; i++) {
        if (!j || !add_synced(j, "t", err))
            return false;
        promised++;
    }
    if (!compact(j, "ttt", err))
        return false;
    compacted = true;
    if (!add_synced(j, "t", err))
        return false;
    promised++;
    return journal_close(TAKE(j), err);
}

static bool fault_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    struct seen seen = {0};
    bool clean;
    AUTO(journal) struct journal *j = open_it(dir, &seen, &clean, err);
    bool ok = j;
    if (ok && seen.records + (str_starts(seen.text.text, "ttt|") ? 3 : 0) < promised)
        ok = err_set(err, ERR_INTERNAL, "%d promised, '%s'", promised, seen.text.text);
    if (ok && compacted && !str_starts(seen.text.text, "ttt|"))
        ok = err_set(err, ERR_INTERNAL, "compacted, '%s'", seen.text.text);
    if (ok && done && !clean)
        ok = err_set(err, ERR_INTERNAL, "closed and not clean");
    str_done(&seen.text);
    return ok;
}

Test(journal, each_failing_call_keeps_what_was_promised)
{
    static const enum fault_kind kinds[] = {FAULT_IO, FAULT_FULL, FAULT_MEMORY, FAULT_SHORT,
                                            FAULT_CUT};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct fault_case c = {
            .name = "journal", .run = fault_run, .check = fault_check, .least = 25};
        struct fault_report report;
        struct err err = {0};
        cr_expect(fault_loop_run(&c, kinds[i], 1, &report, &err), "%s", err.text);
    }
}

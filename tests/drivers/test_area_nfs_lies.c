/* The area reader against NFS servers that lie: each ends in an error that names the server, soon,
 * with bounded memory; never in wrong bytes. */
#include "drivers/area/area.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/nfs_liar.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    AT_OPEN = 0,    /* the lie begins with the first answer */
    AFTER_OPEN = 3, /* mount, attributes, limits are true */
    IN_READ = 8,    /* and the listing, and opening the file */
    OPERATION_MS = 250,
    BOUND_MS = 2500,       /* for all that is done to one server: several operations */
    MEMORY_KB = 300 << 10, /* with what the sanitizer keeps of freed memory */
};

static const struct area_nfs_options impatient = {.request_ms = 120, .operation_ms = OPERATION_MS};
static const struct area_nfs_options patient = {.request_ms = 5000, .operation_ms = 10000};

static bool is_harmless(enum lie lie)
{
    return lie == LIE_NONE || lie == LIE_RTMAX || lie == LIE_FORGETS;
}

static bool read_f(struct area *area, size_t piece, struct err *err)
{
    AUTO(area_handle) struct area_handle *file = area_file_open(area, "f", err);
    AUTO(mem) uint8_t *bytes = malloc(piece);
    uint64_t size = 0;
    uint64_t mtime_us;
    if (!file || !area_file_stat(file, &size, &mtime_us, err))
        return false;
    cr_assert_eq(size, LIAR_FILE_BYTES);
    for (uint64_t offset = 0; offset < size;) {
        ssize_t n = area_file_read(file, bytes, piece, offset, err);
        if (n < 0)
            return false;
        cr_assert_gt(n, 0, "the file ends at %llu", (unsigned long long)offset);
        for (ssize_t i = 0; i < n; i++) {
            uint64_t at = offset + (uint64_t)i;
            cr_assert_eq(bytes[i], (uint8_t)(at * 7 + at / 4096), "wrong byte at %llu",
                         (unsigned long long)at);
        }
        offset += (uint64_t)n;
    }
    return true;
}

static bool list_all(struct area *area, struct err *err)
{
    AUTO(area_list) struct area_list list = {0};
    if (!area_list(area, 1000, &list, err))
        return false;
    cr_assert_eq(list.count, 2);
    cr_assert_str_eq(list.files[0].path, "d/g");
    cr_assert_str_eq(list.files[1].path, "f");
    return true;
}

static void names_the_server(const struct err *err, enum lie lie)
{
    cr_expect(strstr(err->text, "127.0.0.1"), "%s: '%s'", lie_name(lie), err->text);
}

/* Everything a reader does; true when nothing of it failed. */
static bool all_is_well(enum lie lie, unsigned from, struct err *first)
{
    struct err err = {0};
    AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(lie, from, &err);
    cr_assert(liar, "%s", err.text);
    AUTO(area)
    struct area *area =
        area_nfs_open(nfs_liar_url(liar), NULL, is_harmless(lie) ? &patient : &impatient, first);
    if (!area)
        return false;
    struct err whys[2] = {{0}, {0}};
    bool listed = list_all(area, &whys[0]);
    bool read = read_f(area, 300000, &whys[1]);
    for (size_t i = 0; i < 2; i++) {
        if (whys[i].code == ERR_NONE)
            continue;
        *first = whys[i];
        names_the_server(&whys[i], lie);
    }
    return listed && read;
}

static void tell_lie(enum lie lie, unsigned from, bool *ret_caught)
{
    struct err err = {0};
    struct rusage before;
    struct rusage after;
    getrusage(RUSAGE_SELF, &before);
    uint64_t begun = clock_mono_ms();
    bool well = all_is_well(lie, from, &err);
    uint64_t took = clock_mono_ms() - begun;
    getrusage(RUSAGE_SELF, &after);
    cr_expect_lt(took, BOUND_MS, "%s took %llu ms", lie_name(lie), (unsigned long long)took);
    cr_expect_lt(after.ru_maxrss - before.ru_maxrss, MEMORY_KB, "%s", lie_name(lie));
    if (!well)
        names_the_server(&err, lie);
    *ret_caught |= !well;
    if (getenv("EVERCOPY_SHOW"))
        fprintf(stderr, "%-16s %u %4llu ms %s: %s\n", lie_name(lie), from, (unsigned long long)took,
                err_code_name(err.code), err.text);
}

Test(area_nfs_lies, each_is_caught_in_time_and_named)
{
    for (enum lie lie = LIE_NONE; lie < LIE_FLIP; lie++) {
        bool caught = false;
        tell_lie(lie, AT_OPEN, &caught);
        tell_lie(lie, AFTER_OPEN, &caught);
        tell_lie(lie, IN_READ, &caught);
        cr_expect_eq(caught, !is_harmless(lie), "%s (%s) was %s", lie_name(lie), lie_text(lie),
                     caught ? "held against it" : "believed");
    }
}

/* A bit of the data itself may be another, that only the blocks' own checks see. */
static bool read_whatever(const char *url, struct err *err)
{
    static uint8_t bytes[LIAR_FILE_BYTES];
    AUTO(area_list) struct area_list list = {0};
    AUTO(area) struct area *area = area_nfs_open(url, NULL, &impatient, err);
    if (!area || !area_list(area, 1000, &list, err))
        return false;
    AUTO(area_handle) struct area_handle *file = area_file_open(area, "f", err);
    return file && area_file_read(file, bytes, sizeof bytes, 0, err) >= 0;
}

Test(area_nfs_lies, any_flipped_bit_is_survived)
{
    unsigned rounds = getenv("EVERCOPY_LONG") ? 3000 : 60;
    unsigned refused = 0;
    unsigned begin;
    clock_random(&begin, sizeof begin);
    begin %= 1000000;
    for (unsigned i = 0; i < rounds; i++) {
        struct err err = {0};
        unsigned from = (begin + i) % 9; /* also the seed's beginning */
        AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(LIE_FLIP, from, &err);
        cr_assert(liar, "%s", err.text);
        uint64_t begun = clock_mono_ms();
        refused += !read_whatever(nfs_liar_url(liar), &err);
        cr_expect_lt(clock_mono_ms() - begun, BOUND_MS, "first flip in answer %u", from);
        if (err.code != ERR_NONE)
            names_the_server(&err, LIE_FLIP);
    }
    cr_expect_gt(refused, 0);
}

static bool is_cancelled(void *arg) { return clock_mono_ms() - *(uint64_t *)arg > 200; }

Test(area_nfs_lies, ends_at_once_when_it_is_cancelled)
{
    struct err err = {0};
    AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(LIE_NEVER, 0, &err);
    cr_assert(liar, "%s", err.text);
    uint64_t begun = clock_mono_ms();
    struct area_nfs_options options = {.cancelled = is_cancelled, .arg = &begun};
    AUTO(area) struct area *area = area_nfs_open(nfs_liar_url(liar), NULL, &options, &err);
    cr_expect_null(area);
    cr_expect_eq(err.code, ERR_CANCELLED, "%s", err.text);
    cr_expect_lt(clock_mono_ms() - begun, 1000);
}

static bool list_and_read(const char *url, struct err *err)
{
    AUTO(area) struct area *area = area_nfs_open(url, NULL, &patient, err);
    return area && list_all(area, err) && read_f(area, 300000, err);
}

Test(area_nfs_lies, whatever_call_fails_is_survived_or_reported)
{
    for (int kind = 0; kind < 2; kind++) {
        unsigned reported = 0;
        bool hit = true;
        for (long nth = 1; hit; nth++) {
            struct err err = {0};
            AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(LIE_NONE, 0, &err);
            cr_assert(liar, "%s", err.text);
            IGNORE(kind ? own_fault(nth) : sys_fault(nth, EIO)); /* counts from before */
            bool ok = list_and_read(nfs_liar_url(liar), &err);
            hit = (kind ? own_fault(0) : sys_fault(0, 0)) >= nth;
            reported += !ok;
            cr_assert(ok || hit, "fault %ld: %s", nth, err.text);
            cr_assert(ok || err_is_transient(err.code), "fault %ld: %s", nth, err.text);
        }
        cr_expect(kind == 0 || reported > 0);
    }
}

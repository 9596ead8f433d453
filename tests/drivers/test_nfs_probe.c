/* The look at an export: servers that lie cannot mislead it, hold it up, or make it read what is
 * not there; the list of exports is walked within what came. */
#include "drivers/area/nfs_probe.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/area/nfs_url.h"
#include "tests/lib/nfs_liar.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_MS = 120, BOUND_MS = 2000 };

static struct nfs_found look_at(enum lie lie, unsigned from)
{
    struct err err = {0};
    struct nfs_url url;
    struct nfs_found found;
    AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(lie, from, &err);
    cr_assert(liar && nfs_url_parse(nfs_liar_url(liar), &url, &err), "%s", err.text);
    bool slow = lie == LIE_NEVER || lie == LIE_SLOWLY || lie == LIE_CRUMBS ||
                lie == LIE_ENDLESS_FRAGMENTS || lie == LIE_CUT;
    const struct nfs_probe probe = {.host = url.host,
                                    .path = url.path,
                                    .port = url.nfs_port,
                                    .uid = 54321,
                                    .is_mounted = true,
                                    .timeout_ms = slow ? LOOK_MS : 10000};
    uint64_t began = clock_mono_ms();
    nfs_probe(&probe, &found);
    cr_expect_lt(clock_mono_ms() - began, slow ? BOUND_MS : 10000, "%s", lie_name(lie));
    return found;
}

Test(nfs_probe, finds_nothing_wrong_with_who_tells_the_truth)
{
    struct nfs_found found = look_at(LIE_NONE, 0);
    cr_expect_eq(found.finding, NFS_FOUND_GOOD, "%d: %s", found.finding, found.why);
    cr_expect(found.has_top);
    cr_expect_eq(found.mode, 0644);
}

/* The first answer is MOUNT's, the second ACCESS's. */
Test(nfs_probe, is_not_misled_or_held_up_by_a_lie)
{
    static const enum lie of_mount[] = {LIE_HUGE_MARKER,
                                        LIE_CRUMBS,
                                        LIE_ENDLESS_FRAGMENTS,
                                        LIE_CALL_INSTEAD,
                                        LIE_WRONG_XID,
                                        LIE_CUT,
                                        LIE_LONG,
                                        LIE_CLOSE_EARLY,
                                        LIE_NEVER,
                                        LIE_SLOWLY,
                                        LIE_HANG_UP,
                                        LIE_VERIFIER,
                                        LIE_STATUS,
                                        LIE_DENY,
                                        LIE_HANDLE_LONG,
                                        LIE_HANDLE_EMPTY,
                                        LIE_HANDLE_NEGATIVE,
                                        LIE_FLAVORS};
    static const enum lie of_access[] = {
        LIE_HUGE_MARKER, LIE_CRUMBS, LIE_CALL_INSTEAD, LIE_WRONG_XID, LIE_CUT,   LIE_LONG,
        LIE_NEVER,       LIE_STATUS, LIE_DENY,         LIE_JUKEBOX,   LIE_STALE, LIE_FLAG};
    for (size_t i = 0; i < sizeof of_mount / sizeof *of_mount; i++) {
        struct nfs_found found = look_at(of_mount[i], 0);
        cr_expect(found.finding == NFS_FOUND_NO_ANSWER || found.finding == NFS_FOUND_NO_NFS ||
                      found.finding == NFS_FOUND_UNCLEAR,
                  "%s: %d", lie_name(of_mount[i]), found.finding);
        cr_expect(found.why[0], "%s", lie_name(of_mount[i]));
    }
    for (size_t i = 0; i < sizeof of_access / sizeof *of_access; i++) {
        struct nfs_found found = look_at(of_access[i], 1);
        cr_expect_neq(found.finding, NFS_FOUND_GOOD, "%s", lie_name(of_access[i]));
    }
}

Test(nfs_probe, survives_noise)
{
    static const enum lie noise[] = {LIE_GARBAGE, LIE_NOISE, LIE_FLIP};
    for (size_t i = 0; i < 3; i++)
        for (unsigned from = 0; from < 2; from++)
            look_at(noise[i], from); /* whatever it finds */
}

#define WORD(n) 0, 0, 0, n
Test(nfs_probe, reads_a_list_of_exports_within_what_came)
{
    static const uint8_t list[] = {
        WORD(1), WORD(2), '/', 'A', 0,   0,   WORD(1), WORD(3), 'n', 'e', 't',     0,      WORD(0),
        WORD(1), WORD(5), '/', 'A', '/', 'b', 'c',     0,       0,   0,   WORD(0), WORD(0)};
    cr_expect(nfs_probe_lists(list, sizeof list, "/A"));
    cr_expect(nfs_probe_lists(list, sizeof list, "/A/bc"));
    cr_expect_not(nfs_probe_lists(list, sizeof list, "/A/b"));
    cr_expect_not(nfs_probe_lists(list, sizeof list, ""));
    for (size_t len = 0; len < sizeof list; len++) {
        struct err err = {0};
        AUTO(mem) uint8_t *cut = own_alloc(len + 1, &err); /* its end is the heap's */
        cr_assert(cut);
        memcpy(cut, list, len);
        cr_expect_not(nfs_probe_lists(cut, len, "/A"), "%zu bytes", len);
    }
    uint8_t lie[sizeof list];
    for (size_t i = 0; i < sizeof list; i += 4) {
        memcpy(lie, list, sizeof list);
        memset(lie + i, 0xff, 4);
        IGNORE(nfs_probe_lists(lie, sizeof lie, "/A")); /* ends, and within bounds */
    }
}

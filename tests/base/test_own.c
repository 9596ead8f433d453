/* Ownership: each allocation can be made to fail, and says so; what was there before stays. */
#include "agent/base/own.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static int released;
struct thing {
    int unused;
};
static void thing_free(struct thing *thing) { released += thing != NULL; }
OWN_DEFINE(thing, struct thing, thing_free);

static struct thing *pass(struct thing *given, bool keep)
{
    AUTO(thing) struct thing *thing = given;
    return keep ? TAKE(thing) : NULL;
}

Test(own, auto_releases_unless_taken)
{
    struct thing thing = {0};
    cr_expect_eq(pass(&thing, true), &thing);
    cr_expect_eq(released, 0);
    cr_expect_null(pass(&thing, false));
    cr_expect_eq(released, 1);
}

Test(own, auto_descriptor_closes_and_forgets)
{
    int kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
    {
        AUTO(fd) int fd = kept;
        AUTO(fd) int none = -1;
        cr_assert_geq(fd, 0);
    }
    cr_expect_eq(fcntl(kept, F_GETFD), -1);
}

Test(own, memory_is_zeroed_also_when_none_is_asked)
{
    struct err err = {0};
    AUTO(mem) unsigned char *p = own_alloc(4096, &err);
    AUTO(mem) void *empty = own_alloc(0, &err);
    cr_assert(p && empty);
    for (size_t i = 0; i < 4096; i++)
        cr_assert_eq(p[i], 0);
    AUTO(mem) void *shrunk = own_realloc(own_alloc(10, &err), 0, &err);
    cr_expect(shrunk);
    cr_expect_eq(err.code, ERR_NONE);
}

Test(own, copies_are_cut_and_terminated)
{
    struct err err = {0};
    AUTO(mem) char *whole = own_strdup("archivelog", &err);
    AUTO(mem) char *cut = own_strndup("archivelog", 7, &err);
    AUTO(mem) char *longer = own_strndup("abc", 100, &err);
    char unterminated[3] = {'x', 'y', 'z'};
    AUTO(mem) char *raw = own_strndup(unterminated, 3, &err);
    AUTO(mem) char *empty = own_printf(&err, "%s", "");
    AUTO(mem) char *text = own_printf(&err, "%0*d", 5000, 7);
    cr_assert(whole && cut && longer && raw && empty && text);
    cr_expect_str_eq(whole, "archivelog");
    cr_expect_str_eq(cut, "archive");
    cr_expect_str_eq(longer, "abc");
    cr_expect_str_eq(raw, "xyz");
    cr_expect_str_eq(empty, "");
    cr_expect_eq(strlen(text), 5000);
}

static bool allocate_all(void **ret, struct err *err)
{
    ret[0] = own_alloc(8, err);
    ret[1] = ret[0] ? own_strdup("one", err) : NULL;
    ret[2] = ret[1] ? own_strndup("two", 2, err) : NULL;
    ret[3] = ret[2] ? own_printf(err, "%d", 3) : NULL;
    void *grown = ret[3] ? own_realloc(ret[0], 1 << 20, err) : NULL;
    if (grown)
        ret[0] = grown;
    return grown;
}

Test(own, each_allocation_fails_in_turn_and_says_out_of_memory)
{
    for (long nth = 1; nth <= 6; nth++) {
        struct err err = {0};
        void *got[4] = {0};
        own_fault(nth);
        bool ok = allocate_all(got, &err);
        long seen = own_fault(0);
        cr_expect_eq(seen, nth < 6 ? nth : 5);
        cr_expect_eq(ok, nth == 6);
        cr_expect_eq(err.code, ok ? ERR_NONE : ERR_NO_MEMORY);
        for (int i = 0; i < 4; i++)
            own_free(got[i]);
    }
}

Test(own, a_fault_hits_once_and_off_means_off)
{
    struct err err = {0};
    own_fault(2);
    AUTO(mem) void *a = own_alloc(1, &err);
    AUTO(mem) void *b = own_alloc(1, &err);
    AUTO(mem) void *c = own_alloc(1, &err);
    cr_expect(a && !b && c);
    cr_expect_eq(own_fault(0), 3);
    AUTO(mem) void *d = own_alloc(1, &err);
    cr_expect(d);
    cr_expect_eq(own_fault(0), 0);
}

Test(own, a_list_grows_by_doubling_and_keeps_its_items)
{
    struct err err = {0};
    AUTO(mem) int *items = NULL;
    size_t capacity = 0;
    size_t moves = 0;
    for (size_t count = 0; count < 10000; count++) {
        size_t before = capacity;
        cr_assert(own_grow((void **)&items, &capacity, count, sizeof *items, &err));
        moves += capacity != before;
        cr_assert_gt(capacity, count);
        items[count] = (int)count;
    }
    for (size_t i = 0; i < 10000; i++)
        cr_assert_eq(items[i], (int)i);
    cr_expect_lt(moves, 15);
}

Test(own, a_list_that_cannot_grow_is_untouched)
{
    struct err err = {0};
    AUTO(mem) int *items = NULL;
    size_t capacity = 0;
    cr_assert(own_grow((void **)&items, &capacity, 0, sizeof *items, &err));
    int *before = items;
    size_t old = capacity;
    items[0] = 42;
    own_fault(1);
    cr_expect_not(own_grow((void **)&items, &capacity, old, sizeof *items, &err));
    own_fault(0);
    cr_expect_eq(err.code, ERR_NO_MEMORY);
    cr_expect(items == before && capacity == old && items[0] == 42);
    size_t huge = SIZE_MAX / 4;
    void *none = NULL;
    err_clear(&err);
    cr_expect_not(own_grow(&none, &huge, huge, 64, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_eq(huge, SIZE_MAX / 4);
}

/* driver.c and the registry: names, contexts, faults, and what no driver sees. */
#include "drivers/driver.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/registry.h"
#include "tests/lib/memory_driver.h"
#include "tests/lib/nfs_liar.h"
#include <criterion/criterion.h>
#include <string.h>

static const struct driver_option store = {"store", "test-driver"};

static struct driver_ref *open_memory(void)
{
    struct err err = {0};
    memory_store_reset(store.value);
    registry_add_for_tests(&driver_memory);
    struct driver_ref *d = driver_open("memory", &store, 1, &err);
    cr_assert(d, "%s", err.text);
    cr_assert(driver_volume_create(d, "v", &err), "%s", err.text);
    return d;
}

Test(driver, unknown_name_suggests_the_nearest)
{
    struct err err = {0};
    cr_expect_null(driver_open("reflnk", NULL, 0, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect(strstr(err.text, "'reflink'"), "%s", err.text);
    cr_expect_null(driver_open("qqqqqqqqqq", NULL, 0, &err));
    cr_expect_not(strstr(err.text, "hint"), "%s", err.text);
    cr_expect_null(driver_open(NULL, NULL, 0, &err));
}

Test(driver, the_memory_driver_is_known_only_to_tests)
{
    struct err err = {0};
    cr_expect_null(registry_find("memory", &err));
    size_t before = registry_count();
    registry_add_for_tests(&driver_memory);
    registry_add_for_tests(&driver_memory);
    cr_expect_eq(registry_count(), before + 1);
    cr_expect_eq(registry_row(before), &driver_memory);
}

Test(driver, names_have_rules)
{
    char limit[DRIVER_NAME_MAX + 1];
    memset(limit, 'x', sizeof limit);
    limit[DRIVER_NAME_MAX] = '\0';
    cr_expect_not(driver_name_is_valid(limit));
    limit[DRIVER_NAME_MAX - 1] = '\0';
    cr_expect(driver_name_is_valid(limit));
    const char *const good[] = {"a", "$", "#x", "_", "9", "ORCL-20261121T143207Z-post", "a.b-c_d"};
    const char *const bad[] = {NULL,   "",    ".",   "..",  ".a",  "-a",
                               "a..b", "a/b", "a b", "a\n", "\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_expect(driver_name_is_valid(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(driver_name_is_valid(bad[i]), "%s", bad[i] ? bad[i] : "NULL");
}

Test(driver, errors_say_which_driver_and_volume)
{
    AUTO(driver) struct driver_ref *d = open_memory();
    struct err err = {0};
    cr_expect_not(driver_snapshot_delete(d, "v", "none", NULL, &err));
    cr_expect_str_eq(err.text, "driver 'memory' volume 'v': no snapshot 'none'");
}

Test(driver, what_a_driver_lacks_is_unsupported)
{
    static struct driver bare;
    bare = driver_memory;
    bare.name = "bare";
    bare.can = DRIVER_CAN_SNAPSHOT;
    bare.volume_create = NULL;
    bare.clone_create = NULL;
    bare.clone_list = NULL;
    bare.clone_delete = NULL;
    bare.clone_mount = NULL;
    bare.snapshot_lock = NULL;
    bare.note_put = NULL;
    bare.note_get = NULL;
    registry_add_for_tests(&bare);
    struct err err = {0};
    AUTO(driver) struct driver_ref *d = driver_open("bare", &store, 1, &err);
    cr_assert(d, "%s", err.text);
    size_t count;
    char text[8];
    bool went[] = {
        driver_volume_create(d, "v", &err),
        driver_clone_create(d, "v", "c", "s", NULL, 0, NULL, &err),
        driver_clone_list(d, "v", &count, &err) != NULL,
        driver_clone_delete(d, "v", "c", NULL, &err),
        driver_clone_mount(d, "v", "c", text, sizeof text, &err),
        driver_snapshot_lock(d, "v", "s", 1, &err),
        driver_note_put(d, "v", "s", NULL, "{}", &err),
        driver_note_get(d, "v", "s", NULL, &err) != NULL,
    };
    for (size_t i = 0; i < sizeof went / sizeof *went; i++)
        cr_expect_not(went[i], "%zu", i);
    cr_expect_eq(err.code, ERR_UNSUPPORTED);
}

Test(driver, a_fault_before_leaves_all_as_it_was)
{
    AUTO(driver) struct driver_ref *d = open_memory();
    const char *volume = "v";
    struct err err = {0};
    size_t count = 7;
    driver_fault(2, ERR_UNAVAILABLE, false);
    cr_expect(driver_snapshot_create(d, &volume, 1, "one", NULL, NULL, &err));
    cr_expect_not(driver_snapshot_create(d, &volume, 1, "two", NULL, NULL, &err));
    cr_expect_eq(err.code, ERR_UNAVAILABLE);
    cr_expect(err_is_transient(err.code));
    cr_expect_eq(driver_fault(0, ERR_NONE, false), 2);
    AUTO(mem) struct driver_snapshot_info *rows = driver_snapshot_list(d, "v", &count, &err);
    cr_expect_eq(count, 1);
}

Test(driver, a_fault_after_loses_the_answer_not_the_work)
{
    AUTO(driver) struct driver_ref *d = open_memory();
    const char *volume = "v";
    struct err err = {0};
    size_t count = 7;
    bool atomic = false;
    driver_fault(1, ERR_TIMEOUT, true);
    cr_expect_not(driver_snapshot_create(d, &volume, 1, "one", NULL, &atomic, &err));
    cr_expect_eq(err.code, ERR_TIMEOUT);
    cr_expect_not(atomic, "results stay untouched on failure");
    AUTO(mem) struct driver_snapshot_info *rows = driver_snapshot_list(d, "v", &count, &err);
    cr_expect_eq(count, 1);
    driver_fault(1, ERR_TIMEOUT, true);
    count = 7;
    cr_expect_null(driver_snapshot_list(d, "v", &count, &err));
    cr_expect_eq(count, 7);
    driver_fault(1, ERR_TIMEOUT, true);
    cr_expect_null(driver_open("memory", &store, 1, &err));
    driver_fault(0, ERR_NONE, false);
}

Test(driver, an_empty_handle_is_finished_work)
{
    AUTO(driver) struct driver_ref *d = open_memory();
    struct driver_handle none = {0};
    struct driver_handle foreign = {"job 17"};
    struct err err = {0};
    bool done = false;
    cr_expect(driver_poll(d, &none, &done, &err) && done);
    cr_expect_not(driver_poll(d, &foreign, &done, &err));
    cr_expect_eq(err.code, ERR_INVALID);
}

Test(driver, a_world_outlives_the_driver_and_ends_with_reset)
{
    struct driver_ref *d = open_memory();
    struct err err = {0};
    struct driver_volume_info info;
    driver_close(d);
    d = driver_open("memory", &store, 1, &err);
    cr_expect(driver_volume_info(d, "v", &info, &err), "%s", err.text);
    driver_close(d);
    memory_store_reset(store.value);
    d = driver_open("memory", &store, 1, &err);
    cr_expect_not(driver_volume_info(d, "v", &info, &err));
    driver_close(d);
}

static bool somewhere(struct driver_instance *d, const char *volume, const char *snapshot,
                      const char *clone, char *ret, size_t size, struct err *err)
{
    (void)d, (void)snapshot, (void)clone, (void)err;
    return str_copy(ret, size, volume);
}

static bool is_over(void *arg) { return clock_mono_ms() - *(uint64_t *)arg > 200; }

Test(driver, reading_through_a_server_that_hangs_ends_when_it_is_cancelled)
{
    static struct driver distant;
    struct err err = {0};
    AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(LIE_NEVER, 0, &err);
    cr_assert(liar, "%s", err.text);
    distant = driver_memory;
    distant.name = "distant";
    distant.area_path = somewhere;
    registry_add_for_tests(&distant);
    const struct driver_option options[] = {store, {"reader", nfs_liar_url(liar)}};
    AUTO(driver) struct driver_ref *d = driver_open("distant", options, 2, &err);
    cr_assert(d, "%s", err.text);
    uint64_t begun = clock_mono_ms();
    AUTO(area) struct area *area = driver_area_until(d, "v", NULL, NULL, is_over, &begun, &err);
    cr_expect_null(area);
    cr_expect_eq(err.code, ERR_CANCELLED, "%s", err.text);
    cr_expect_lt(clock_mono_ms() - begun, 1500);
}

Test(driver, a_reader_is_looked_at_when_the_storage_is_opened)
{
    static const struct {
        const char *driver, *reader, *says;
    } rows[] = {
        {"reflink", "nfs://h/srv?uuid=0", "'uid'"},
        {"reflink", "http://h/srv", "'nfs://'"},
        {"memory", "nfs://h/srv", "in one way only"},
    };
    registry_add_for_tests(&driver_memory);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        const struct driver_option options[] = {store, {"reader", rows[i].reader}};
        cr_expect_null(driver_open(rows[i].driver, options, 2, &err), "%s", rows[i].reader);
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect(strstr(err.text, "'reader'") && strstr(err.text, rows[i].says), "%s", err.text);
    }
}

/* Records that the block check refused: a state has them until they are written anew, named while
 * there is room and counted always. */
#include "drivers/vault/store/bad.h"
#include "tests/vault/volume_world.h"

static bool no_x(void *arg, const char *path, uint64_t size, const uint8_t *first, uint64_t record,
                 const uint8_t *bytes, struct err *why)
{
    (void)arg, (void)path, (void)size, (void)first, (void)record;
    return bytes[0] != 'x' || err_set(why, ERR_CORRUPT, "begins with x");
}

static void begin(struct world *w)
{
    world_begin_with(w, &(struct vault_options){.seal_by_hand = true, .check = no_x});
    world_ok(w, vault_volume_create(w->vault, "orcl", &w->err));
}

static void write_records(struct world *w, const char *name, char fill, size_t count,
                          uint64_t record)
{
    world_write(w, "orcl", NULL, name, fill, count * RECORD_BYTES, record * RECORD_BYTES);
}

/* A snapshot, sealed: what it says of itself. */
static uint64_t bad_of(struct world *w, const char *snapshot)
{
    size_t count = 0;
    world_snapshot(w, "orcl", snapshot);
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
    AUTO(mem)
    struct vault_snapshot_info *list = vault_snapshot_list(w->vault, "orcl", &count, &w->err);
    world_ok(w, list && count > 0);
    cr_assert_str_eq(list[count - 1].name, snapshot);
    return list[count - 1].bad_records;
}

Test(bad, record_is_in_every_snapshot_until_it_is_written_anew)
{
    struct world w;
    begin(&w);
    write_records(&w, "a.dbf", 'b', 5, 0);
    write_records(&w, "a.dbf", 'x', 1, 3);
    cr_expect_eq(bad_of(&w, "s1"), 1);
    write_records(&w, "a.dbf", 'b', 1, 0);
    cr_expect_eq(bad_of(&w, "s2"), 1, "nobody mended it");
    write_records(&w, "a.dbf", 'b', 1, 3);
    cr_expect_eq(bad_of(&w, "s3"), 0);
    world_end(&w);
}

Test(bad, record_of_a_layer_that_was_no_snapshot_is_in_the_next_one)
{
    struct world w;
    begin(&w);
    cr_expect_eq(bad_of(&w, "s1"), 0);
    write_records(&w, "a.dbf", 'x', 2, 3);
    world_ok(&w, vault_swap(w.vault, "orcl", NULL, &w.err));
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_crash(&w);
    write_records(&w, "a.dbf", 'b', 1, 0);
    cr_expect_eq(bad_of(&w, "s2"), 2);
    world_reopen(&w);
    write_records(&w, "a.dbf", 'b', 1, 4);
    cr_expect_eq(bad_of(&w, "s3"), 1);
    world_end(&w);
}

static void cut(struct world *w, const char *name, uint64_t size)
{
    struct view_file file;
    AUTO(view) struct view *view = world_view(w, "orcl", NULL, NULL);
    uint64_t number = world_file(w, view, name);
    world_ok(w,
             view_set(view, NULL, number, &(struct view_attributes){.set_size = true, .size = size},
                      &file, NULL, &w->err));
}

Test(bad, records_go_with_their_file)
{
    struct world w;
    begin(&w);
    write_records(&w, "a.dbf", 'x', 4, 0);
    write_records(&w, "b.dbf", 'x', 3, 0);
    cr_expect_eq(bad_of(&w, "s1"), 7);
    cut(&w, "a.dbf", 2 * RECORD_BYTES);
    cr_expect_eq(bad_of(&w, "s2"), 5);
    AUTO(view) struct view *view = world_view(&w, "orcl", NULL, NULL);
    world_ok(&w, view_remove(view, NULL, VIEW_ROOT, "b.dbf", false, NULL, &w.err));
    cr_expect_eq(bad_of(&w, "s3"), 2);
    view_close(TAKE(view));
    world_end(&w);
}

Test(bad, records_beyond_the_list_are_counted)
{
    enum { MANY = 5000 };
    struct world w;
    begin(&w);
    write_records(&w, "a.dbf", 'x', MANY, 0);
    cr_expect_eq(bad_of(&w, "s1"), MANY);
    write_records(&w, "b.dbf", 'x', 10, 0);
    cr_expect_eq(bad_of(&w, "s2"), MANY + 10);
    world_reopen(&w);
    write_records(&w, "a.dbf", 'b', 1, 0);
    cr_expect_eq(bad_of(&w, "s3"), MANY + 9);
    cut(&w, "a.dbf", 0);
    cr_expect_eq(bad_of(&w, "s4"), 10);
    world_end(&w);
}

Test(bad, list_is_bounded_and_its_count_whole)
{
    struct err err = {0};
    AUTO(bad_list) struct bad_list list = {0};
    for (uint64_t i = 0; i < 20000; i++)
        cr_assert(bad_add(&list, &(struct bad_record){1 + i / 4, i % 4}, &err));
    cr_expect_eq(list.count, BAD_MAX);
    cr_expect_eq(bad_total(list.rows, list.count), 20000);
    cr_expect_eq(list.rows[BAD_MAX - 1].file, 0);
    struct bad_record hostile[] = {{1, UINT64_MAX}, {2, UINT64_MAX}, {3, 4}};
    cr_expect_eq(bad_total(hostile, 3), BAD_REST - 1);
}

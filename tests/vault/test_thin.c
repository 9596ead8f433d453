/* What dies in a pack comes back by itself, and after a crash too; at the pace that is allowed. */
#include "tests/lib/engine_drive.h"
#include "tests/lib/random.h"
#include "tests/lib/vault_server.h"
#include "tests/vault/tools_world.h"
#include "tests/vault/volume_world.h"

enum { SIZE = 1 << 20, CHANGED = SIZE * 3 / 4, WAIT_MS = 20000 };

struct thin_world {
    struct world w; /* first */
    struct rnd noise;
    char bytes[SIZE];
};

/* Noise: what it takes in the store is what it is. */
static void write_noise(struct thin_world *t, size_t size)
{
    AUTO(view) struct view *view = world_view(&t->w, "orcl", NULL, NULL);
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word = rnd_next(&t->noise);
        memcpy(t->bytes + i, &word, 8);
    }
    world_ok(&t->w, view_write(view, world_file(&t->w, view, "data"), t->bytes, size, 0, true, NULL,
                               &t->w.err));
}

static uint64_t stored(struct thin_world *t)
{
    struct vault_volume_info info;
    world_ok(&t->w, vault_volume_info(t->w.vault, "orcl", &info, &t->w.err));
    return info.stored_bytes;
}

static void expect_less_than(struct thin_world *t, uint64_t bytes)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (stored(t) >= bytes) {
        cr_assert(clock_mono_ms() < until, "still %llu bytes, expected less than %llu",
                  (unsigned long long)stored(t), (unsigned long long)bytes);
        usleep(10000); /* a bounded poll: nobody is told */
    }
}

static void expect_content(struct thin_world *t)
{
    AUTO(view) struct view *view = world_view(&t->w, "orcl", NULL, NULL);
    AUTO(mem) char *bytes = own_alloc(SIZE, &t->w.err);
    struct view_file file;
    world_ok(&t->w, view_find(view, "data", &file, &t->w.err));
    cr_assert_eq(view_read(view, file.file, bytes, SIZE, 0, &t->w.err), SIZE);
    cr_assert(memcmp(bytes, t->bytes, SIZE) == 0, "what is read is not what was written");
}

/* Two snapshots, three quarters of the file changed between them; nothing is deleted yet. */
static struct thin_world *begin(const struct vault_options *options)
{
    struct err err = {0};
    struct thin_world *t = own_alloc(sizeof *t, &err);
    cr_assert(t != NULL);
    world_begin_with(&t->w, options);
    t->noise = (struct rnd){20261121};
    world_ok(&t->w, vault_volume_create(t->w.vault, "orcl", &t->w.err));
    write_noise(t, SIZE);
    world_snapshot(&t->w, "orcl", "old");
    world_ok(&t->w, vault_seal(t->w.vault, "orcl", &t->w.err));
    write_noise(t, CHANGED);
    world_snapshot(&t->w, "orcl", "new");
    world_ok(&t->w, vault_seal(t->w.vault, "orcl", &t->w.err));
    return t;
}

static void end(struct thin_world *t)
{
    expect_content(t);
    world_end(&t->w);
    own_free(t);
}

Test(thin, what_a_deletion_frees_comes_back_by_itself)
{
    struct thin_world *t = begin(&(struct vault_options){.seal_threads = 1});
    uint64_t before = stored(t);
    cr_assert_gt(before, SIZE + CHANGED - SIZE / 8);
    world_ok(&t->w, vault_snapshot_drop(t->w.vault, "orcl", "old", &t->w.err));
    expect_less_than(t, before - CHANGED * 9 / 10);
    expect_content(t);
    world_reopen(&t->w);
    end(t);
}

Test(thin, what_a_crash_left_undone_is_done_after_it)
{
    struct thin_world *t = begin(&(struct vault_options){.seal_by_hand = true});
    uint64_t before = stored(t);
    world_ok(&t->w, vault_snapshot_drop(t->w.vault, "orcl", "old", &t->w.err));
    cr_assert_gt(stored(t), before - CHANGED / 2, "thinned although nobody is to");
    t->w.options.seal_by_hand = false;
    t->w.options.seal_threads = 1;
    world_crash(&t->w);
    expect_less_than(t, before - CHANGED * 9 / 10);
    end(t);
}

Test(thin, by_hand_it_waits_for_who_is_at_it)
{
    struct thin_world *t = begin(&(struct vault_options){.seal_threads = 1});
    uint64_t before = stored(t), freed;
    world_ok(&t->w, vault_snapshot_drop(t->w.vault, "orcl", "old", &t->w.err));
    world_ok(&t->w, vault_thin(t->w.vault, "orcl", &freed, &t->w.err));
    expect_less_than(t, before - CHANGED * 9 / 10);
    end(t);
}

/* ---- bandwidth ---- */

/* A pack of which half is dead, in a store that thins at this rate. */
static void begin_paced(struct vw *w, uint64_t bytes_per_s)
{
    static const uint8_t box[16] = "a box";
    const struct store_options options = {.threads = 1, .thin_bytes_per_s = bytes_per_s};
    struct err err = {0};
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    tw_small(w, 5, 300);
    *next = w->volumes[0].now;
    for (uint32_t r = 0; r < 300; r += 2)
        next->records[0][r] = 1001 + r;
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    VW_OK(vw_drop_snapshot(w, &w->snapshots[1], &err));
    VW_OK(vw_drop_snapshot(w, &w->snapshots[0], &err));
    vw_close(w);
    w->store = store_open(w->io, box, &options, &err);
    VW_OK(w->store);
    w->family = family_open(w->store, 5, false, &err);
    VW_OK(w->family);
}

static uint64_t moved(struct vw *w)
{
    char name[IO_NAME_MAX];
    uint64_t all = 0;
    for (size_t i = 0; memory_io_name(w->memory, i, name); i++) {
        uint64_t bytes = 0;
        struct err err = {0};
        VW_OK(io_size(w->io, name, &bytes, &err));
        all += str_ends(name, "-0001") ? bytes : 0;
    }
    return all;
}

static uint64_t thin_for_ms(struct vw *w, bool (*stop)(void *arg), void *arg, struct err *err)
{
    uint64_t begun_ms = clock_mono_ms(), freed = 0;
    bool done = family_thin(w->family, stop, arg, &freed, err);
    cr_expect_eq(done, stop == NULL);
    cr_expect_eq(freed > 0, done);
    return clock_mono_ms() - begun_ms;
}

Test(thin, keeps_to_its_bandwidth)
{
    enum { RATE = 1000000 };
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    begin_paced(w, RATE);
    uint64_t ms = thin_for_ms(w, NULL, NULL, &err), bytes = moved(w);
    cr_assert_gt(bytes, RATE / 4);
    cr_expect_geq(ms, bytes * 900 / RATE, "%llu bytes in %llu ms", (unsigned long long)bytes,
                  (unsigned long long)ms);
    vw_check(w);
    vw_end(w);
}

static bool at_the_third_time(void *arg) { return ++*(unsigned *)arg >= 3; }

/* A day's worth of waiting is no reason not to hear a stop. */
Test(thin, hears_a_stop_while_its_bandwidth_makes_it_wait)
{
    struct err err = {0};
    unsigned asked = 0;
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    begin_paced(w, 1);
    cr_expect_lt(thin_for_ms(w, at_the_third_time, &asked, &err), 10000);
    cr_expect_eq(err.code, ERR_CANCELLED, "%s", err.text);
    cr_expect_eq(moved(w), 0, "what it had begun is gone");
    vw_check(w);
    vw_end(w);
}

static void ask(struct vault_server *s, const char *op, const char *name)
{
    struct err err = {0};
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = json_object();
    AUTO(json) json_t *volumes = json_array();
    AUTO(wire) struct wire *wire = wire_connect(s->socket, &err);
    cr_assert(wire && json_put_text(head, "op", op, &err) &&
              json_put_text(head, "volume", "orcl", &err) &&
              json_put_text(head, "name", name, &err) &&
              json_array_append_new(volumes, json_string("orcl")) == 0 &&
              json_object_set(head, "volumes", volumes) == 0);
    cr_assert(wire_call(wire, head, NULL, 0, 60000, &answer, NULL, &err), "%s: %s", op, err.text);
}

/* The key reaches who thins. */
Test(thin, keeps_to_what_the_configuration_allows)
{
    enum { RATE = 200000, LEFT = SIZE - CHANGED };
    struct err err = {0};
    struct rnd noise = {4};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(mem) uint8_t *bytes = own_alloc(SIZE, &err);
    AUTO(vault_server) struct vault_server s = {0};
    cr_assert(vault_server_begin(&s, dir, NULL, "thinrate = 200000\n", &err), "%s", err.text);
    ask(&s, "volume.create", "orcl");
    for (int day = 0; day < 2; day++) {
        for (size_t i = 0; i + 8 <= SIZE; i += 8) {
            uint64_t word = rnd_next(&noise);
            memcpy(bytes + i, &word, 8);
        }
        cr_assert(
            vault_server_write(&s, "orcl", NULL, "data", bytes, day ? CHANGED : SIZE, 0, &err),
            "%s", err.text);
        ask(&s, "snapshot.create", day ? "new" : "old");
        ask(&s, "seal", "");
    }
    uint64_t begun_ms = clock_mono_ms();
    ask(&s, "snapshot.drop", "old");
    ask(&s, "thin", "");
    cr_expect_geq(clock_mono_ms() - begun_ms, LEFT * UINT64_C(900) / RATE);
    cr_assert(vault_server_stop(&s, &err), "%s", err.text);
}

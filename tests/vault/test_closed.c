/* What is damaged stays closed and says why; what is whole beside it opens and works. */
#include "agent/base/exec.h"
#include "agent/base/log.h"
#include "drivers/driver.h"
#include "drivers/vault/volume/journal.h"
#include "drivers/vault/volume/record.h"
#include "tests/lib/random.h"
#include "tests/lib/vault_server.h"
#include "tests/vault/volume_world.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

static void expect_code(struct world *w, bool ok, enum err_code code, const char *text)
{
    cr_assert_not(ok);
    cr_assert_eq(w->err.code, code, "%s: %s", err_code_name(w->err.code), w->err.text);
    cr_assert(strstr(w->err.text, text), "%s", w->err.text);
    err_clear(&w->err);
}

static struct vault_volume_info info_of(struct world *w, const char *name)
{
    struct vault_volume_info info;
    world_ok(w, vault_volume_info(w->vault, name, &info, &w->err));
    return info;
}

/* Two volumes with a snapshot of both, sealed or not, a clone of the first; closed in order. */
static void begin(struct world *w)
{
    const char *both[] = {"bad", "good"};
    log_set_level(LOG_LEVEL_ERROR + 1); /* what is logged here is meant */
    world_begin(w);
    for (size_t i = 0; i < 2; i++) {
        world_ok(w, vault_volume_create(w->vault, both[i], &w->err));
        world_write(w, both[i], NULL, "f", 'a', 50000, 0);
    }
    world_ok(w, vault_snapshot_create(w->vault, both, 2, "s", &w->err));
    world_ok(w, vault_seal(w->vault, "bad", &w->err) && vault_seal(w->vault, "good", &w->err));
    world_ok(w, vault_clone_create(w->vault, "bad", "c", "s", NULL, 0, &w->err));
    world_write(w, "bad", "c", "f", 'c', 100, 0);
    world_write(w, "bad", NULL, "f", 'b', 100, 0);
    world_write(w, "good", NULL, "f", 'b', 100, 0);
    world_ok(w, vault_snapshot_create(w->vault, both, 2, "t", &w->err));
}

static void expect_all_whole(struct world *w)
{
    for (const char *const *v = (const char *const[]){"bad", "good", NULL}; *v; v++) {
        cr_assert_str_eq(info_of(w, *v).closed, "");
        world_expect(w, *v, "s", NULL, "f", 'a', 50000, 0);
        world_expect(w, *v, "t", NULL, "f", 'b', 100, 0);
    }
    world_expect(w, "bad", NULL, "c", "f", 'c', 100, 0);
}

/* Nothing of it can be had, and the other one goes on as if nothing were. */
static void expect_closed(struct world *w, const char *name, const char *why)
{
    size_t count = 0;
    const char *both[] = {name, "good"};
    struct vault_volume_info info = info_of(w, name);
    cr_assert(info.damaged && strstr(info.closed, why), "%s", info.closed);
    expect_code(w, view_open(w->vault, name, NULL, NULL, &w->err), ERR_CORRUPT, why);
    expect_code(w, view_open(w->vault, name, NULL, "c", &w->err), ERR_CORRUPT, why);
    expect_code(w, vault_snapshot_create(w->vault, both, 2, "more", &w->err), ERR_CORRUPT, why);
    expect_code(w, vault_snapshot_list(w->vault, name, &count, &w->err), ERR_CORRUPT, why);
    expect_code(w, vault_clone_list(w->vault, name, &count, &w->err), ERR_CORRUPT, why);
    expect_code(w, vault_seal(w->vault, name, &w->err), ERR_CORRUPT, why);
    expect_code(w, vault_volume_drop(w->vault, name, &w->err), ERR_CORRUPT, why);
    expect_code(w, vault_volume_create(w->vault, name, &w->err), ERR_EXISTS, name);
    AUTO(mem) struct vault_volume_info *rows = vault_volume_list(w->vault, &count, &w->err);
    bool listed = false;
    for (size_t i = 0; rows && i < count; i++)
        listed |= rows[i].damaged && str_equal(rows[i].name, name);
    cr_assert(listed, "it is not listed");
    world_expect(w, "good", "s", NULL, "f", 'a', 50000, 0);
    world_expect(w, "good", "t", NULL, "f", 'b', 100, 0);
    cr_assert_str_eq(info_of(w, "good").closed, "");
}

static void work_on(struct world *w, char with)
{
    world_write(w, "good", NULL, "g", with, 70000, 0);
    char name[8] = {'w', with};
    world_snapshot(w, "good", name);
    world_ok(w, vault_seal(w->vault, "good", &w->err));
    world_expect(w, "good", name, NULL, "g", with, 70000, 0);
}

static void flip(struct world *w, const char *path, off_t offset)
{
    uint8_t byte = 0;
    AUTO(fd) int fd = sys_open(path, O_RDWR | O_CLOEXEC, 0, &w->err);
    world_ok(w, fd >= 0);
    world_ok(w, sys_pread(fd, &byte, 1, (uint64_t)offset, path, &w->err) == 1);
    byte ^= 0x10;
    world_ok(w, sys_pwrite(fd, &byte, 1, (uint64_t)offset, path, &w->err));
}

static void box_file(struct world *w, const char *name, char ret[300])
{
    IGNORE(str_format(ret, 300, "%s/v/%016llx/%s", w->box, (unsigned long long)info_of(w, "bad").id,
                      name));
}

Test(closed, a_volume_with_a_damaged_journal_is_closed_and_opens_once_it_is_mended)
{
    struct world w;
    char journal[300];
    begin(&w);
    box_file(&w, "journal", journal);
    vault_close(TAKE(w.vault));
    flip(&w, journal, 30);
    for (int round = 0; round < 2; round++) {
        world_open(&w);
        expect_closed(&w, "bad", "journal");
        work_on(&w, (char)('x' + round));
        vault_close(TAKE(w.vault));
    }
    flip(&w, journal, 30);
    world_open(&w);
    expect_all_whole(&w);
    world_expect(&w, "good", "wx", NULL, "g", 'x', 70000, 0);
    world_end(&w);
}

static void any_layer(struct world *w, const char *folder, char ret[300])
{
    AUTO(sys_names) struct sys_names names = {0};
    world_ok(w, sys_list(folder, &names, &w->err));
    for (size_t i = 0; i < names.count; i++)
        if (str_starts(names.names[i], "l-")) {
            IGNORE(str_format(ret, 300, "%s/%s/map", folder, names.names[i]));
            return;
        }
    cr_assert_fail("no layer");
}

Test(closed, a_volume_with_a_damaged_layer_is_closed_with_its_clones)
{
    struct world w;
    char folder[300], map[300];
    begin(&w);
    box_file(&w, "", folder);
    any_layer(&w, folder, map); /* of snapshot t, not sealed */
    vault_close(TAKE(w.vault));
    flip(&w, map, 50);
    world_open(&w);
    expect_closed(&w, "bad", "layer");
    cr_assert(info_of(&w, "bad/c").damaged);
    work_on(&w, 'x');
    vault_close(TAKE(w.vault));
    flip(&w, map, 50);
    world_open(&w);
    expect_all_whole(&w);
    world_end(&w);
}

static void hide(struct world *w, const char *path, bool back)
{
    char away[320];
    IGNORE(str_format(away, sizeof away, "%s.away", path));
    world_ok(w, back ? sys_rename(away, path, &w->err) : sys_rename(path, away, &w->err));
}

Test(closed, a_volume_that_misses_a_layer_is_closed)
{
    struct world w;
    char folder[300], map[300];
    begin(&w);
    box_file(&w, "", folder);
    any_layer(&w, folder, map);
    vault_close(TAKE(w.vault));
    *strrchr(map, '/') = '\0'; /* once its log alone, then all of it */
    for (int all = 0; all < 2; all++) {
        char part[310];
        IGNORE(str_format(part, sizeof part, "%s%s", map, all ? "" : "/map"));
        hide(&w, part, false);
        world_open(&w);
        expect_closed(&w, "bad", "layer");
        work_on(&w, all ? 'y' : 'x');
        vault_close(TAKE(w.vault));
        hide(&w, part, true);
    }
    world_open(&w);
    expect_all_whole(&w);
    world_end(&w);
}

/* The journal of a volume, of a clone in the store and of one that it does not know yet: gone, or
 * emptied. */
Test(closed, layers_are_kept_when_the_journal_does_not_know_them)
{
    struct world w;
    char of_volume[300], of_clone[300];
    begin(&w);
    world_ok(&w, vault_snapshot_create(w.vault, (const char *[]){"bad"}, 1, "u", &w.err));
    world_ok(&w, vault_clone_create(w.vault, "bad", "d", "u", NULL, 0, &w.err));
    world_write(&w, "bad", "d", "f", 'd', 100, 0);
    box_file(&w, "journal", of_volume);
    IGNORE(str_format(of_clone, sizeof of_clone, "%s/v/%016llx/journal", w.box,
                      (unsigned long long)info_of(&w, "bad/d").id));
    const char *const journals[] = {of_volume, of_clone};
    for (int i = 0; i < 4; i++) {
        const char *journal = journals[i / 2];
        vault_close(TAKE(w.vault));
        hide(&w, journal, false);
        if (i % 2)
            world_ok(&w, sys_write_file(journal, "", 0, 0600, &w.err));
        for (int round = 0; round < 2; round++) {
            world_open(&w);
            if (i / 2 == 0)
                expect_closed(&w, "bad", "does not know its layers");
            vault_close(TAKE(w.vault));
        }
        hide(&w, journal, true);
        world_open(&w);
        expect_all_whole(&w);
        world_expect(&w, "bad", NULL, "d", "f", 'd', 100, 0);
        world_expect(&w, "bad", NULL, "d", "f", 'a', 100, 100);
    }
    world_end(&w);
}

/* Each object of the family in which its rows lie; returns how many. */
static size_t flip_rows(struct world *w, uint64_t family)
{
    char wanted[40], name[IO_NAME_MAX];
    size_t flipped = 0;
    IGNORE(str_format(wanted, sizeof wanted, "f/%016llx/commit/", (unsigned long long)family));
    for (size_t i = 0; memory_io_name(w->memory, i, name); i++)
        if (str_starts(name, wanted))
            flipped += memory_io_flip(w->memory, name, 60, 1);
    return flipped;
}

Test(closed, a_volume_whose_rows_are_damaged_is_closed_under_its_name_and_its_box_is_left_alone)
{
    struct world w;
    begin(&w);
    uint64_t family = info_of(&w, "bad").id;
    vault_close(TAKE(w.vault));
    cr_assert_gt(flip_rows(&w, family), 0);
    for (int round = 0; round < 2; round++) {
        world_open(&w);
        expect_closed(&w, "bad", "commit");
        work_on(&w, (char)('x' + round));
        vault_close(TAKE(w.vault));
    }
    flip_rows(&w, family);
    world_open(&w);
    expect_all_whole(&w);
    world_end(&w);
}

/* What it stands on is not sealed or let go meanwhile. */
Test(closed, a_damaged_clone_that_the_store_does_not_know_closes_what_it_stands_on)
{
    struct world w;
    char journal[300];
    struct stat st;
    begin(&w);
    world_ok(&w, vault_snapshot_create(w.vault, (const char *[]){"bad"}, 1, "u", &w.err));
    world_ok(&w, vault_clone_create(w.vault, "bad", "d", "u", NULL, 0, &w.err));
    for (char name[] = "a"; name[0] < 'z'; name[0]++)
        world_write(&w, "bad", "d", name, 'd', 100, 0);
    IGNORE(str_format(journal, sizeof journal, "%s/v/%016llx/journal", w.box,
                      (unsigned long long)info_of(&w, "bad/d").id));
    vault_close(TAKE(w.vault));
    world_ok(&w, sys_lstat(journal, &st, &w.err));
    flip(&w, journal, st.st_size / 2);
    for (int round = 0; round < 2; round++) {
        world_open(&w);
        expect_closed(&w, "bad", "journal");
        cr_assert(info_of(&w, "bad/d").damaged && info_of(&w, "bad/c").damaged);
        work_on(&w, (char)('x' + round));
        vault_close(TAKE(w.vault));
    }
    flip(&w, journal, st.st_size / 2);
    world_open(&w);
    expect_all_whole(&w);
    world_expect(&w, "bad", NULL, "d", "y", 'd', 100, 0);
    world_end(&w);
}

static bool no_packs(void *arg, const struct memory_call *call, struct err *err)
{
    (void)arg;
    return call->op != MEMORY_READ || !strstr(call->name, "/pack/") ||
           err_set(err, ERR_UNAVAILABLE, "the store is away");
}

/* What was closed in order stays so: another byte than was written is damage. */
Test(closed, an_opening_that_fails_leaves_a_box_that_was_closed_in_order)
{
    struct world w;
    struct err err = {0};
    char folder[300], path[400];
    begin(&w);
    /* None in the store: its journal is open while the other one's opening fails. */
    world_ok(&w, vault_volume_create(w.vault, "fresh", &w.err));
    world_write(&w, "fresh", NULL, "f", 'f', 50000, 0);
    IGNORE(str_format(folder, sizeof folder, "%s/v/%016llx", w.box,
                      (unsigned long long)info_of(&w, "fresh").id));
    for (int reserve = 0; reserve < 2; reserve++) {
        vault_close(TAKE(w.vault));
        if (reserve) {
            IGNORE(str_format(path, sizeof path, "%s/reserve", w.box));
            world_ok(&w, sys_unlink(path, &w.err) && sys_mkdir(path, 0700, &w.err));
        } else {
            memory_io_hook(w.memory, no_packs, NULL);
        }
        err_clear(&err);
        cr_assert_not(vault_open(w.box, w.io, &w.options, &err), "it opens");
        memory_io_hook(w.memory, NULL, NULL);
        if (reserve)
            world_ok(&w, sys_rmdir(path, &w.err));
        AUTO(sys_names) struct sys_names names = {0};
        any_layer(&w, folder, path);
        *strrchr(path, '/') = '\0';
        world_ok(&w, sys_list(path, &names, &w.err));
        for (size_t i = 0; i < names.count; i++)
            if (str_ends(names.names[i], ".d"))
                IGNORE(str_format(path + strlen(path), 100, "/%s", names.names[i]));
        flip(&w, path, 30000);
        world_open(&w);
        AUTO(view) struct view *view = world_view(&w, "fresh", NULL, NULL);
        struct view_file file;
        char byte;
        world_ok(&w, view_find(view, "f", &file, &w.err));
        expect_code(&w, view_read(view, file.file, &byte, 1, 30000, &w.err) == 1, ERR_CORRUPT, "");
        view_close(TAKE(view));
        flip(&w, path, 30000);
    }
    world_end(&w);
}

/* As after a restore of the store from a backup, or of one whose server lost what it said it had.
 */
Test(closed, a_volume_whose_store_went_back_in_time_is_closed)
{
    struct world w;
    begin(&w);
    struct io *now = w.io;
    memory_io_keep_changes(w.memory);
    world_ok(&w, vault_seal(w.vault, "bad", &w.err));
    world_write(&w, "bad", NULL, "f", 'd', 100, 0);
    vault_close(TAKE(w.vault));
    w.io = memory_io_after(w.memory, 0, NULL, &w.err);
    world_ok(&w, w.io != NULL);
    for (int round = 0; round < 2; round++) {
        world_open(&w);
        expect_closed(&w, "bad", "move '/");
        vault_close(TAKE(w.vault));
    }
    io_close(w.io);
    w.io = now;
    world_open(&w);
    world_expect(&w, "bad", NULL, NULL, "f", 'd', 100, 0);
    world_expect(&w, "bad", "t", NULL, "f", 'b', 100, 0);
    world_expect(&w, "bad", "t", NULL, "f", 'a', 49900, 100);
    world_end(&w);
}

/* As a volume that could not be made and was made again left them, before that was seen to. */
Test(closed, of_two_volumes_of_one_name_the_one_with_more_opens)
{
    struct world w;
    static const uint8_t box[16] = "another box";
    struct store_options options = {.threads = 1};
    struct volume_row row = {.id = 7, .created_us = 1, .name = "bad"};
    size_t count = 0;
    begin(&w);
    vault_close(TAKE(w.vault));
    struct store *store = store_open(w.io, box, &options, &w.err);
    world_ok(&w, store != NULL);
    struct family *family = family_open(store, row.id, true, &w.err);
    world_ok(&w, family && family_volume_add(family, &row, &w.err));
    family_close(family);
    store_close(store);
    for (int round = 0; round < 2; round++) {
        world_open(&w);
        expect_all_whole(&w);
        AUTO(mem) struct vault_volume_info *list = vault_volume_list(w.vault, &count, &w.err);
        cr_assert_eq(count, 3);
        cr_assert(list[2].damaged && strstr(list[2].closed, "another volume has its name 'bad'"));
        cr_assert_str_eq(list[2].name, "0000000000000007");
        work_on(&w, (char)('x' + round));
        vault_close(TAKE(w.vault));
    }
    world_open(&w);
    world_end(&w);
}

static bool has_snapshot(struct world *w, const char *volume, const char *name)
{
    size_t count = 0;
    bool found = false;
    AUTO(mem)
    struct vault_snapshot_info *rows = vault_snapshot_list(w->vault, volume, &count, &w->err);
    world_ok(w, rows != NULL);
    for (size_t i = 0; i < count; i++)
        found |= str_equal(rows[i].name, name);
    return found;
}

/* The keeper waits for the store with a third volume's clone, so that it mends nothing. */
struct holding {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char commits[40];
    bool held, over;
};

static bool hold(void *arg, const struct memory_call *call, struct err *err)
{
    struct holding *h = arg;
    if (call->op != MEMORY_PUT || !str_starts(call->name, h->commits))
        return true;
    pthread_mutex_lock(&h->lock);
    h->held = true;
    pthread_cond_broadcast(&h->changed);
    while (!h->over)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
    return err_set(err, ERR_UNAVAILABLE, "the store is away");
}

static void hold_keeper(struct world *w, struct holding *h)
{
    *h = (struct holding){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    world_ok(w, vault_volume_create(w->vault, "third", &w->err));
    world_write(w, "third", NULL, "f", 'a', 100, 0);
    world_snapshot(w, "third", "s");
    world_ok(w, vault_seal(w->vault, "third", &w->err));
    str_format(h->commits, sizeof h->commits, "f/%016llx/commit/",
               (unsigned long long)info_of(w, "third").id);
    memory_io_hook(w->memory, hold, h);
    world_ok(w, vault_clone_create(w->vault, "third", "c", "s", NULL, 0, &w->err));
    pthread_mutex_lock(&h->lock);
    while (!h->held)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

/* The power goes while the keeper is held. */
static void crash_held(struct world *w, struct holding *h)
{
    AUTO(mem) char *left = own_printf(&w->err, "%s.left", w->box);
    const char *const copy[] = {"/bin/cp", "-a", w->box, left, NULL};
    const char *const none[] = {NULL};
    struct exec_result result;
    struct exec exec = {.argv = copy, .envp = none, .deadline_ms = 20000};
    world_ok(w, exec_run(&exec, &result, &w->err));
    pthread_mutex_lock(&h->lock);
    h->over = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    vault_abandon(TAKE(w->vault));
    memory_io_hook(w->memory, NULL, NULL);
    world_ok(w, sys_remove_tree(w->box, &w->err) && sys_rename(left, w->box, &w->err));
}

/* The nth call fails while a set is taken, then the power goes, and one of the two is damaged.
 * False when there is no such call. */
static bool half_told(long nth, size_t *ret_taken)
{
    struct world w;
    struct holding holding;
    char journal[300];
    const char *both[] = {"bad", "good"};
    begin(&w);
    while (info_of(&w, "good").id < info_of(&w, "bad").id) { /* "bad" is told first */
        world_end(&w);
        begin(&w);
    }
    box_file(&w, "journal", journal);
    hold_keeper(&w, &holding);
    IGNORE(sys_fault(nth, ENOSPC) < 0);
    bool taken = vault_snapshot_create(w.vault, both, 2, "half", &w.err);
    bool fired = sys_fault(0, 0) >= nth;
    err_clear(&w.err);
    crash_held(&w, &holding);
    flip(&w, journal, 30);
    world_open(&w);
    cr_assert(!taken || has_snapshot(&w, "good", "half"), "call %ld: it was acknowledged", nth);
    vault_close(TAKE(w.vault));
    flip(&w, journal, 30);
    world_open(&w);
    cr_assert_eq(has_snapshot(&w, "good", "half"), has_snapshot(&w, "bad", "half"), "half a set");
    *ret_taken += taken && fired;
    world_end(&w);
    return fired;
}

/* A set's last word may lie with the volume that is damaged. */
Test(closed, a_snapshot_of_a_set_is_kept_while_who_may_know_that_it_is_whole_is_closed)
{
    size_t taken = 0;
    long nth = 1;
    while (nth < 200 && half_told(nth, &taken))
        nth++;
    cr_assert_gt(taken, 0, "no failing call left a set of which one member does not know");
    cr_assert_lt(nth, 200);
}

enum then { SEAL, COMPACT, DROP, THENS };

/* The nth call fails while a set is taken; then one of the two loses what it had to say, and the
 * power goes. ret_taken: the set was taken though the call failed. */
static bool half_told_then(long nth, enum then then, bool first, bool *ret_taken)
{
    struct world w;
    struct holding holding;
    const char *both[] = {"bad", "good"};
    begin(&w);
    size_t told_first = info_of(&w, "good").id < info_of(&w, "bad").id;
    const char *victim = both[first ? told_first : !told_first];
    const char *other = both[first ? !told_first : told_first];
    AUTO(view) struct view *view = world_view(&w, victim, NULL, NULL);
    for (unsigned i = 0; then == COMPACT && i < 1200; i++) {
        struct view_file file;
        char name[250];
        str_format(name, sizeof name, "%0200u", i);
        world_ok(&w, view_create(view, NULL, VIEW_ROOT, name, INODE_FILE, NULL, NULL, &file, NULL,
                                 &w.err));
    }
    view_close(TAKE(view));
    hold_keeper(&w, &holding);
    IGNORE(sys_fault(nth, ENOSPC) < 0);
    bool taken = vault_snapshot_create(w.vault, both, 2, "half", &w.err);
    bool fired = sys_fault(0, 0) >= nth;
    err_clear(&w.err);
    *ret_taken = taken && fired;
    bool dropped = false;
    if (*ret_taken && then != DROP)
        world_ok(&w, vault_seal(w.vault, victim, &w.err));
    if (*ret_taken && then == DROP) /* refused when the other one's disk has failed */
        dropped = vault_snapshot_drop(w.vault, victim, "half", &w.err);
    err_clear(&w.err);
    crash_held(&w, &holding);
    world_open(&w);
    cr_assert(!taken || has_snapshot(&w, other, "half"), "call %ld, %d of %s: it was acknowledged",
              nth, (int)then, victim);
    cr_assert(!taken || has_snapshot(&w, victim, "half") == !dropped, "call %ld, %d of %s", nth,
              (int)then, victim);
    world_end(&w);
    return fired;
}

Test(closed, a_snapshot_of_a_set_stays_whatever_becomes_of_the_one_that_knew_it_was_whole)
{
    size_t taken = 0;
    bool fired = true;
    for (long nth = 1; nth < 200 && fired; nth++) {
        bool some = false;
        fired = half_told_then(nth, SEAL, true, &some);
        taken += some;
        for (int i = 1; some && i < 2 * THENS; i++)
            IGNORE(half_told_then(nth, (enum then)(i / 2), i % 2 == 0, &some));
    }
    cr_assert_gt(taken, 0, "no failing call left a set of which one member does not know");
}

static bool no_state(void *arg, const void *state, size_t len, struct err *err)
{
    (void)arg, (void)state, (void)len, (void)err;
    return true;
}

static bool count_whole(void *arg, uint8_t kind, struct cursor *payload, struct err *err)
{
    (void)payload, (void)err;
    *(size_t *)arg += kind == RECORD_WHOLE;
    return true;
}

/* Sets that the volume's journal calls whole, as it lies there. */
static size_t wholes(struct world *w, const char *volume)
{
    char from[300], to[300];
    size_t len = 0, count = 0;
    bool clean;
    str_format(from, sizeof from, "%s/v/%016llx/journal", w->box,
               (unsigned long long)info_of(w, volume).id);
    AUTO(mem) char *copy = own_printf(&w->err, "%s.copy", w->box);
    AUTO(mem) char *bytes = sys_read_file(from, 1 << 20, &len, &w->err);
    str_format(to, sizeof to, "%s/journal", copy);
    world_ok(w, bytes && sys_mkdirs(copy, 0700, &w->err) &&
                    sys_write_file(to, bytes, len, 0600, &w->err));
    journal_free(journal_open(copy, no_state, count_whole, &count, &clean, &w->err));
    world_ok(w, sys_remove_tree(copy, &w->err));
    return count;
}

Test(closed, what_a_journal_could_not_note_of_a_set_is_noted_as_soon_as_it_can)
{
    const char *both[] = {"bad", "good"};
    size_t mended = 0;
    bool fired = true;
    for (long nth = 1; nth < 200 && fired; nth++) {
        struct world w;
        begin(&w);
        IGNORE(sys_fault(nth, ENOSPC) < 0);
        bool taken = vault_snapshot_create(w.vault, both, 2, "half", &w.err);
        fired = sys_fault(0, 0) >= nth;
        err_clear(&w.err);
        uint64_t until = clock_mono_ms() + 20000;
        /* Of a journal whose sync failed nothing is known any more. */
        bool well = !info_of(&w, "bad").closed[0] && !info_of(&w, "good").closed[0];
        while (taken && fired && well && (wholes(&w, "bad") < 3 || wholes(&w, "good") < 3)) {
            cr_assert(clock_mono_ms() < until, "call %ld: not yet", nth);
            usleep(10000); /* a bounded poll: nobody is told */
        }
        mended += taken && fired && well;
        world_end(&w);
    }
    cr_assert_gt(mended, 0, "no failing call left a set of which one member does not know");
}

Test(closed, a_volume_whose_disk_failed_a_sync_says_so_until_it_is_opened_anew)
{
    struct world w;
    struct vault_volume_info info;
    begin(&w);
    AUTO(view) struct view *view = world_view(&w, "bad", NULL, NULL);
    uint64_t file = world_file(&w, view, "f");
    info = info_of(&w, "bad");
    cr_assert_str_eq(info.closed, "");
    /* Whichever call of a stable write fails for good: a sync of data, log or journal among them.
     */
    for (long nth = 1; nth < 60 && !info.closed[0]; nth++) {
        IGNORE(sys_fault(nth, EIO) < 0);
        bool wrote =
            view_write(view, file, "zzzz", 4, (uint64_t)nth * 8192 + 60000, true, NULL, &w.err);
        IGNORE(sys_fault(0, 0) < 0);
        err_clear(&w.err);
        info = info_of(&w, "bad");
        cr_assert(!wrote || !info.closed[0], "a write was acknowledged by a volume that is closed");
    }
    cr_assert(strstr(info.closed, "since:"), "no failing call closed it: '%s'", info.closed);
    cr_assert_not(info.damaged);
    expect_code(&w, view_write(view, file, "y", 1, 0, true, NULL, &w.err), ERR_IO, "since:");
    world_expect(&w, "bad", "s", NULL, "f", 'a', 50000, 0); /* reading goes on */
    work_on(&w, 'x');
    view_close(TAKE(view));
    world_reopen(&w);
    expect_all_whole(&w);
    world_write(&w, "bad", NULL, "f", 'y', 100, 0);
    world_end(&w);
}

/* ---- any byte ---- */

static void collect(struct world *w, const char *folder, char (*files)[300], size_t *count)
{
    AUTO(sys_names) struct sys_names names = {0};
    world_ok(w, sys_list(folder, &names, &w->err));
    for (size_t i = 0; i < names.count && *count < 64; i++) {
        struct stat st;
        char path[300];
        IGNORE(str_format(path, sizeof path, "%s/%s", folder, names.names[i]));
        world_ok(w, sys_lstat(path, &st, &w->err));
        if (S_ISDIR(st.st_mode))
            collect(w, path, files, count);
        else if (st.st_size > 0)
            IGNORE(str_copy(files[(*count)++], 300, path));
    }
}

/* Of what is kept for one volume, on the box or on the store. */
static void damage(struct world *w, uint64_t id, struct rnd *rnd)
{
    static char files[64][300];
    char folder[200], object[IO_NAME_MAX];
    size_t count = 0, objects = 0;
    IGNORE(str_format(folder, sizeof folder, "f/%016llx/", (unsigned long long)id));
    for (size_t i = 0; memory_io_name(w->memory, i, object); i++)
        if (str_starts(object, folder) && objects < 64)
            IGNORE(str_copy(files[objects++], 300, object));
    if (rnd_below(rnd, 2)) {
        const char *name = files[rnd_below(rnd, (uint32_t)objects)];
        uint64_t bytes = 0;
        world_ok(w, io_size(w->io, name, &bytes, &w->err));
        uint64_t at = rnd_below(rnd, (uint32_t)bytes);
        printf("byte %llu of %s\n", (unsigned long long)at, name);
        cr_assert(memory_io_flip(w->memory, name, at, (uint8_t)(1u << rnd_below(rnd, 8))));
        return;
    }
    IGNORE(str_format(folder, sizeof folder, "%s/v/%016llx", w->box, (unsigned long long)id));
    collect(w, folder, files, &count);
    const char *path = files[rnd_below(rnd, (uint32_t)count)];
    struct stat st;
    world_ok(w, sys_lstat(path, &st, &w->err));
    uint32_t at = rnd_below(rnd, (uint32_t)st.st_size);
    printf("byte %u of %s\n", at, path);
    flip(w, path, at);
}

/* What was written, or an error: never other bytes. */
static void expect_true_or_refused(struct world *w, const char *snapshot, const char *clone,
                                   char with)
{
    struct err why = {0};
    struct view_file file;
    char bytes[100];
    AUTO(view) struct view *view = view_open(w->vault, "bad", snapshot, clone, &why);
    if (!view || !view_find(view, "f", &file, &why))
        return;
    ssize_t n = view_read(view, file.file, bytes, sizeof bytes, 0, &why);
    for (ssize_t i = 0; i < n; i++)
        cr_assert_eq(bytes[i], with, "%s/%s: byte %zd is '%c'", snapshot, clone, i, bytes[i]);
}

static void one_byte(const struct world *from, const char *start, uint64_t id, struct rnd *rnd)
{
    struct world w = *from;
    const char *const copy[] = {"/bin/cp", "-a", start, w.box, NULL};
    const char *const none[] = {NULL};
    struct exec_result result;
    struct exec exec = {.argv = copy, .envp = none, .deadline_ms = 20000};
    world_ok(&w, sys_remove_tree(w.box, &w.err) && exec_run(&exec, &result, &w.err));
    w.io = memory_io_after(from->memory, memory_io_changes(from->memory), &w.memory, &w.err);
    world_ok(&w, w.io != NULL);
    damage(&w, id, rnd);
    fflush(stdout);
    for (int round = 0; round < 2; round++) {
        world_open(&w);
        world_expect(&w, "good", "s", NULL, "f", 'a', 50000, 0);
        world_expect(&w, "good", "t", NULL, "f", 'b', 100, 0);
        expect_true_or_refused(&w, "s", NULL, 'a');
        expect_true_or_refused(&w, "t", NULL, 'b');
        expect_true_or_refused(&w, NULL, "c", 'c');
        work_on(&w, (char)('x' + round));
        vault_close(TAKE(w.vault));
    }
    io_close(w.io);
}

Test(closed, whichever_byte_of_one_volume_is_damaged_the_other_opens_and_no_wrong_byte_is_read)
{
    struct world w;
    struct rnd rnd = rnd_begin("closed");
    begin(&w);
    uint64_t id = info_of(&w, "bad").id;
    vault_close(TAKE(w.vault));
    memory_io_keep_changes(w.memory);
    AUTO(mem) char *start = own_printf(&w.err, "%s.start", w.box);
    world_ok(&w, sys_rename(w.box, start, &w.err));
    for (int i = 0; i < (getenv("EVERCOPY_LONG") ? 2000 : 25); i++)
        one_byte(&w, start, id, &rnd);
    io_close(w.io);
    world_ok(&w, sys_remove_tree(w.box, &w.err) && sys_remove_tree(start, &w.err));
}

/* ---- as the agent sees it ---- */

static struct driver_volume_info told(struct driver_ref *d, const char *volume, struct err *err)
{
    struct driver_volume_info info = {0};
    cr_assert(driver_volume_info(d, volume, &info, err), "%s", err->text);
    return info;
}

/* One journal of the box's volumes; which of them is which is not known from outside. */
static void flip_one(struct world *w, const char *folder)
{
    char path[300], volumes[200];
    AUTO(sys_names) struct sys_names names = {0};
    IGNORE(str_format(volumes, sizeof volumes, "%s/box/v", folder));
    world_ok(w, sys_list(volumes, &names, &w->err));
    cr_assert_eq(names.count, 2);
    IGNORE(str_format(path, sizeof path, "%s/%s/journal", volumes, names.names[0]));
    flip(w, path, 30);
}

static void keep_line(void *arg, const char *line, size_t len)
{
    str_append_n(arg, line, len);
    str_append(arg, "\n");
}

static void expect_stat(struct world *w, const char *folder, const char *bad)
{
    char program[512], config[100], wanted[60];
    const char *build = getenv("EVERCOPY_BUILD");
    AUTO(str) struct str out = {0};
    str_format(program, sizeof program, "%s/evercopy-vaultd",
               build ? build : "build/san-address-undefined");
    AUTO(mem) char *whole = realpath(program, NULL);
    str_format(config, sizeof config, "%s/vaultd.conf", folder);
    const char *const argv[] = {whole, "stat", "--config", config, NULL};
    const char *const envp[] = {NULL};
    struct exec exec = {
        .argv = argv, .envp = envp, .deadline_ms = 30000, .line = keep_line, .arg = &out};
    struct exec_result result;
    world_ok(w, exec_run(&exec, &result, &w->err));
    str_format(wanted, sizeof wanted, "closed volume='%s': ", bad);
    cr_assert(out.text && strstr(out.text, wanted), "%s", out.text);
    cr_assert_eq(result.exit_code, 1);
}

Test(closed, the_agent_is_told_which_volume_takes_nothing_and_works_with_the_others)
{
    struct world w = {0};
    char folder[64] = "/tmp/evercopy-closed-XXXXXX";
    cr_assert(mkdtemp(folder));
    AUTO(vault_server) struct vault_server server = {0};
    world_ok(&w, vault_server_begin(&server, folder, NULL, NULL, &w.err));
    struct driver_option option = {"socket", server.socket};
    struct driver_ref *d = driver_open("vault", &option, 1, &w.err);
    world_ok(&w,
             d && driver_volume_create(d, "one", &w.err) && driver_volume_create(d, "two", &w.err));
    cr_assert_str_eq(told(d, "one", &w.err).closed, "");
    driver_close(d);
    world_ok(&w, vault_server_stop(&server, &w.err));
    flip_one(&w, folder);
    world_ok(&w, vault_server_start(&server, &w.err));
    d = driver_open("vault", &option, 1, &w.err);
    world_ok(&w, d != NULL);
    bool one = told(d, "one", &w.err).closed[0], two = told(d, "two", &w.err).closed[0];
    cr_assert_neq(one, two, "one of them is damaged");
    const char *good = one ? "two" : "one", *bad = one ? "one" : "two";
    cr_assert(strstr(told(d, bad, &w.err).closed, "journal"));
    struct driver_handle handle;
    bool atomic;
    world_ok(&w, driver_snapshot_create(d, &good, 1, "s", &handle, &atomic, &w.err));
    expect_code(&w, driver_snapshot_create(d, &bad, 1, "s", &handle, &atomic, &w.err), ERR_CORRUPT,
                "is closed");
    expect_stat(&w, folder, bad);
    driver_close(d);
    world_ok(&w, vault_server_stop(&server, &w.err) && sys_remove_tree(folder, &w.err));
}

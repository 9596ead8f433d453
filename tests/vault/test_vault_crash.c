/* Every crash of the box: after each of its calls, whatever of what was not synced is there, the
 * vault opens and what was acknowledged is whole. */
#include "agent/base/exec.h"
#include "drivers/vault/volume/layer.h"
#include "tests/lib/crash_states.h"
#include "tests/lib/random.h"
#include "tests/vault/volume_world.h"

/* A step is acknowledged when its mark is in the record. */
enum step {
    NONE,
    VOLUMES_MADE,
    A_WRITTEN,     /* v0: a, 20,000 times 'a' */
    B_WRITTEN,     /* v1: b, 9,000 times 'b' */
    SET_TAKEN,     /* s1 of both */
    A_OVERWRITTEN, /* bytes 5,000 to 15,000 are 'c' */
    CLONED,        /* c1 of v0 at s1 */
    CLONE_WRITTEN, /* its first 100 bytes are 'd' */
    A_RENAMED,     /* to e */
    B_REMOVED,
    S1_OF_V1_DROPPED,
    SET_AGAIN, /* s2 of both */
    COMPOSED,  /* c2: a of s1, e of the live area as f */
    E_CUT,     /* to 6,000 bytes */
    CLONE_DROPPED,
    STEPS
};

static void acknowledge(enum step step) { sys_record_mark(step); }

static void both(struct world *w, const char *name)
{
    const char *names[] = {"v0", "v1"};
    world_ok(w, vault_snapshot_create(w->vault, names, 2, name, &w->err));
}

static void change_names(struct world *w)
{
    AUTO(view) struct view *v0 = world_view(w, "v0", NULL, NULL);
    AUTO(view) struct view *v1 = world_view(w, "v1", NULL, NULL);
    world_ok(w, view_rename(v0, NULL, VIEW_ROOT, "a", VIEW_ROOT, "e", NULL, NULL, &w->err));
    acknowledge(A_RENAMED);
    world_ok(w, view_remove(v1, NULL, VIEW_ROOT, "b", false, NULL, &w->err));
    acknowledge(B_REMOVED);
}

static void cut(struct world *w)
{
    AUTO(view) struct view *v0 = world_view(w, "v0", NULL, NULL);
    struct view_attributes a = {.set_size = true, .size = 6000};
    struct view_file file;
    world_ok(w, view_find(v0, "e", &file, &w->err));
    world_ok(w, view_set(v0, NULL, file.file, &a, &file, NULL, &w->err));
    acknowledge(E_CUT);
}

static void work(struct world *w)
{
    world_ok(w, vault_volume_create(w->vault, "v0", &w->err));
    world_ok(w, vault_volume_create(w->vault, "v1", &w->err));
    acknowledge(VOLUMES_MADE);
    world_write(w, "v0", NULL, "a", 'a', 20000, 0);
    acknowledge(A_WRITTEN);
    world_write(w, "v1", NULL, "b", 'b', 9000, 0);
    acknowledge(B_WRITTEN);
    both(w, "s1");
    acknowledge(SET_TAKEN);
    world_write(w, "v0", NULL, "a", 'c', 10000, 5000);
    acknowledge(A_OVERWRITTEN);
    world_ok(w, vault_clone_create(w->vault, "v0", "c1", "s1", NULL, 0, &w->err));
    acknowledge(CLONED);
    world_write(w, "v0", "c1", "a", 'd', 100, 0);
    acknowledge(CLONE_WRITTEN);
    change_names(w);
    world_ok(w, vault_snapshot_drop(w->vault, "v1", "s1", &w->err));
    acknowledge(S1_OF_V1_DROPPED);
    both(w, "s2");
    acknowledge(SET_AGAIN);
    struct vault_part parts[] = {{"s1", "a", NULL}, {NULL, "e", "f"}};
    world_ok(w, vault_clone_create(w->vault, "v0", "c2", NULL, parts, 2, &w->err));
    acknowledge(COMPOSED);
    cut(w);
    world_ok(w, vault_clone_drop(w->vault, "v0", "c1", &w->err));
    acknowledge(CLONE_DROPPED);
}

/* ---- what must be so ---- */

struct look {
    struct vault *vault;
    enum step done;
    struct err *err;
};

/* Whether a step's effect must be there, may be, or must not. */
static bool sure(const struct look *l, enum step step) { return l->done >= step; }
static bool possible(const struct look *l, enum step step) { return l->done + 1u >= step; }

static bool holds(const struct look *l, const char *volume, const char *snapshot, const char *clone,
                  const char *name, size_t size, const char *expected)
{
    AUTO(view) struct view *view = view_open(l->vault, volume, snapshot, clone, l->err);
    char bytes[20001];
    struct view_file file;
    if (!view || !view_find(view, name, &file, l->err))
        return err_wrap(l->err, "'%s' of %s@%s", name, volume, snapshot ? snapshot : "live");
    ssize_t n = view_read(view, file.file, bytes, sizeof bytes, 0, l->err);
    if (n < 0)
        return false;
    if ((size_t)n != size)
        return err_set(l->err, ERR_INTERNAL, "'%s' of %s has %zd bytes", name, volume, n);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != expected[i])
            return err_set(l->err, ERR_INTERNAL, "'%s' of %s@%s: byte %zu is %d, not %d", name,
                           volume, snapshot ? snapshot : "live", i, bytes[i], expected[i]);
    return true;
}

static bool listed(const struct look *l, const char *volume, const char *name)
{
    size_t count = 0;
    AUTO(mem)
    struct vault_snapshot_info *list = vault_snapshot_list(l->vault, volume, &count, l->err);
    for (size_t i = 0; list && i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return true;
    return false;
}

static bool has_clone(const struct look *l, const char *name)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *list = vault_clone_list(l->vault, "v0", &count, l->err);
    for (size_t i = 0; list && i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return true;
    return false;
}

static bool must(const struct look *l, bool ok, const char *what)
{
    return ok || err_set(l->err, ERR_INTERNAL, "after step %d: %s", l->done, what);
}

/* A thing that comes with one step and goes with another. */
static bool comes_and_goes(const struct look *l, bool there, enum step comes, enum step goes,
                           const char *what)
{
    if (sure(l, comes) && !possible(l, goes))
        return must(l, there, what);
    if (!possible(l, comes) || sure(l, goes))
        return must(l, !there, what);
    return true;
}

static bool check_snapshots(const struct look *l)
{
    char a[20000], b[9000];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    bool s1_v0 = listed(l, "v0", "s1"), s1_v1 = listed(l, "v1", "s1");
    bool s2_v0 = listed(l, "v0", "s2"), s2_v1 = listed(l, "v1", "s2");
    return must(l, possible(l, S1_OF_V1_DROPPED) || s1_v0 == s1_v1, "half a set") &&
           must(l, s2_v0 == s2_v1, "half a second set") &&
           comes_and_goes(l, s1_v0, SET_TAKEN, STEPS, "s1 of v0") &&
           comes_and_goes(l, s1_v1, SET_TAKEN, S1_OF_V1_DROPPED, "s1 of v1") &&
           comes_and_goes(l, s2_v0, SET_AGAIN, STEPS, "s2 of v0") &&
           (!s1_v0 || holds(l, "v0", "s1", NULL, "a", sizeof a, a)) &&
           (!s1_v1 || holds(l, "v1", "s1", NULL, "b", sizeof b, b));
}

static bool check_clones(const struct look *l)
{
    char a[20000], e[20000];
    memset(a, 'a', sizeof a);
    memcpy(e, a, sizeof e);
    memset(e + 5000, 'c', 10000);
    bool c1 = has_clone(l, "c1"), c2 = has_clone(l, "c2");
    if (sure(l, CLONE_WRITTEN))
        memset(a, 'd', 100);
    bool settled = sure(l, CLONE_WRITTEN) || !possible(l, CLONE_WRITTEN);
    if (!comes_and_goes(l, c1, CLONED, CLONE_DROPPED, "c1") ||
        !comes_and_goes(l, c2, COMPOSED, STEPS, "c2") ||
        (c1 && settled && !holds(l, "v0", NULL, "c1", "a", sizeof a, a)))
        return false;
    memset(a, 'a', sizeof a);
    return !c2 || (holds(l, "v0", NULL, "c2", "a", sizeof a, a) &&
                   holds(l, "v0", NULL, "c2", "f", sizeof e, e));
}

static bool check_live(const struct look *l)
{
    char a[20000];
    memset(a, 'a', sizeof a);
    if (l->done == A_WRITTEN || l->done == B_WRITTEN || l->done == SET_TAKEN - 1)
        return holds(l, "v0", NULL, NULL, "a", sizeof a, a);
    if (!sure(l, A_OVERWRITTEN))
        return true; /* in the midst of a write */
    memset(a + 5000, 'c', 10000);
    if (!possible(l, A_RENAMED))
        return holds(l, "v0", NULL, NULL, "a", sizeof a, a);
    if (sure(l, A_RENAMED) && !possible(l, E_CUT))
        return holds(l, "v0", NULL, NULL, "e", sizeof a, a);
    return !sure(l, E_CUT) || holds(l, "v0", NULL, NULL, "e", 6000, a);
}

struct explorer {
    struct memory_io *memory;
    struct vault_options options;
};

static bool check(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    struct explorer *x = arg;
    struct memory_io *memory;
    AUTO(io) struct io *io = memory_io_after(x->memory, memory_io_changes(x->memory), &memory, err);
    if (!io)
        return false;
    bool ok = true;
    /* Twice: what the first opening mends it mends for good. */
    for (int round = 0; ok && round < 2; round++) {
        struct look l = {vault_open(dir, io, &x->options, err), (enum step)mark, err};
        ok = l.vault &&
             (mark < VOLUMES_MADE || (check_snapshots(&l) && check_clones(&l) && check_live(&l)));
        if (round == 0 && mark % 2)
            vault_abandon(l.vault);
        else
            vault_close(l.vault);
    }
    return ok;
}

Test(vault_crash, leaves_all_that_was_acknowledged_whichever_call_was_the_last)
{
    struct world w;
    struct rnd rnd = rnd_begin("vault crash");
    char scratch[64];
    struct vault_options options = {.seal_by_hand = true};
    world_begin_with(&w, &options);
    vault_close(w.vault); /* the folder is known from here on; the record begins with it empty */
    world_ok(&w, sys_remove_tree(w.box, &w.err));
    world_ok(&w, sys_mkdir(w.box, 0700, &w.err));
    memory_io_keep_changes(w.memory);
    sys_record_begin();
    world_open(&w);
    work(&w);
    vault_abandon(w.vault);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    struct explorer explorer = {w.memory, w.options};
    str_format(scratch, sizeof scratch, "%s.state", w.box);
    bool all = getenv("EVERCOPY_LONG") != NULL;
    struct crash_plan plan = {.record = &record,
                              .root = w.box,
                              .scratch = scratch,
                              .step = all ? 1 : 9,
                              .seeds = all ? 2 : 1,
                              .seed = rnd_next(&rnd),
                              .check = check,
                              .arg = &explorer};
    uint64_t states = 0;
    bool ok = crash_states_each(&plan, &states, &w.err);
    cr_log_info("%llu states", (unsigned long long)states);
    world_ok(&w, ok);
    cr_assert_gt(states, 20);
    struct err ignored = {0};
    IGNORE(sys_remove_tree(scratch, &ignored));
    world_open(&w);
    world_end(&w);
}

/* ---- what lies below ---- */

static bool check_below(const char *dir, struct io *io, const struct vault_options *options,
                        const char *snapshot, struct err *err)
{
    char expected[20001];
    struct look l = {vault_open(dir, io, options, err), NONE, err};
    memset(expected, 'a', sizeof expected);
    expected[20000] = 'b';
    bool ok = l.vault && holds(&l, "v", snapshot, NULL, "f", 20001, expected);
    vault_abandon(l.vault);
    return ok;
}

/* Written and not committed, swapped; written again and told to be on disk: then the power goes. */
static void cut_below(bool by_commit)
{
    struct world w;
    char scratch[64], bytes[20000];
    const char *volume = "v";
    world_begin(&w);
    world_ok(&w, vault_volume_create(w.vault, "v", &w.err));
    struct view *view = world_view(&w, "v", NULL, NULL);
    uint64_t file = world_file(&w, view, "f");
    vault_close((view_close(view), w.vault));
    str_format(scratch, sizeof scratch, "%s.state", w.box);
    AUTO(mem) char *start = own_printf(&w.err, "%s.start", w.box);
    world_ok(&w, sys_rename(w.box, start, &w.err));
    const char *const copy[] = {"/bin/cp", "-a", start, w.box, NULL};
    const char *const none[] = {NULL};
    struct exec_result result;
    struct exec exec = {.argv = copy, .envp = none, .deadline_ms = 20000};
    world_ok(&w, exec_run(&exec, &result, &w.err) && result.exit_code == 0);
    sys_record_begin();
    world_open(&w);
    view = world_view(&w, "v", NULL, NULL);
    memset(bytes, 'a', sizeof bytes);
    world_ok(&w, view_write(view, file, bytes, sizeof bytes, 0, false, NULL, &w.err));
    world_ok(&w, vault_swap(w.vault, "v", NULL, &w.err));
    world_ok(&w, view_write(view, file, "b", 1, 20000, false, NULL, &w.err));
    bool said = by_commit ? view_commit(view, UINT64_MAX, NULL, &w.err)
                          : vault_snapshot_create(w.vault, &volume, 1, "s", &w.err);
    view_close(view);
    vault_abandon(w.vault);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    AUTO(crash_states)
    struct crash_states *states = crash_states_open(&record, w.box, start, &w.err);
    world_ok(&w, said && states);
    while (crash_states_next(states, &w.err))
        ;
    world_ok(&w, w.err.code == ERR_NONE &&
                     crash_states_make(states, CRASH_AS_SYNCED, 1, scratch, &w.err) &&
                     check_below(scratch, w.io, &w.options, by_commit ? NULL : "s", &w.err));
    world_ok(&w, sys_remove_tree(scratch, &w.err) && sys_remove_tree(start, &w.err));
    world_open(&w);
    world_end(&w);
}

Test(vault_crash, a_commit_tells_of_a_layer_that_was_swapped_away_before) { cut_below(true); }

Test(vault_crash, a_snapshot_has_what_lies_in_the_layers_below_it_on_disk) { cut_below(false); }

/* ---- records that the log knows before the size ---- */

/* The folder of the newest layer of the only volume, and its sequence. */
static uint64_t newest_layer(struct world *w, char ret[300])
{
    AUTO(sys_names) struct sys_names volumes = {0};
    AUTO(sys_names) struct sys_names names = {0};
    char path[200];
    str_format(path, sizeof path, "%s/v", w->box);
    world_ok(w, sys_list(path, &volumes, &w->err) && volumes.count == 1);
    str_format(path, sizeof path, "%s/v/%s", w->box, volumes.names[0]);
    world_ok(w, sys_list(path, &names, &w->err));
    const char *newest = "";
    for (size_t i = 0; i < names.count; i++)
        if (strncmp(names.names[i], "l-", 2) == 0)
            newest = names.names[i];
    str_format(ret, 300, "%s/%s", path, newest);
    return strtoull(newest + 2, NULL, 16);
}

/* An extending write is under way, somebody else's commit takes what it has written so far, and the
 * process ends. */
static void extend_without_a_size(struct world *w, uint64_t file)
{
    uint64_t seed = store_seed(vault_store(w->vault));
    char path[300];
    char bytes[2 * RECORD_BYTES];
    memset(bytes, 'b', sizeof bytes);
    memset(bytes, 'a', 5000);
    vault_abandon(w->vault);
    memory_io_forget_writers(w->memory);
    uint64_t sequence = newest_layer(w, path);
    AUTO(layer) struct layer *layer = layer_open(path, sequence, seed, false, &w->err);
    world_ok(w, layer && layer_write(layer, file, 0, 2, bytes, &w->err) &&
                    layer_commit(layer, file, &w->err));
}

Test(vault_crash, nothing_shows_of_an_extension_whose_size_was_not_logged)
{
    struct world w;
    struct view_attributes grow = {.set_size = true, .size = 20000};
    struct view_file now;
    char bytes[20000], expected[20000] = {0};
    world_begin(&w);
    world_ok(&w, vault_volume_create(w.vault, "v", &w.err));
    world_write(&w, "v", NULL, "f", 'a', 5000, 0);
    world_ok(&w, vault_swap(w.vault, "v", NULL, &w.err)); /* the next layer knows no size of it */
    struct view *view = world_view(&w, "v", NULL, NULL);
    uint64_t file = world_file(&w, view, "f");
    view_close(view);
    extend_without_a_size(&w, file);
    world_open(&w);
    view = world_view(&w, "v", NULL, NULL);
    world_ok(&w, view_set(view, NULL, file, &grow, &now, NULL, &w.err));
    world_ok(&w, view_read(view, file, bytes, sizeof bytes, 0, &w.err) == sizeof bytes);
    memset(expected, 'a', 5000);
    for (size_t i = 0; i < sizeof bytes; i++)
        cr_assert_eq(bytes[i], expected[i], "byte %zu is %d", i, bytes[i]);
    view_close(view);
    world_end(&w);
}

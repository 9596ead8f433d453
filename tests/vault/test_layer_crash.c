/* Layers against a model: random writes, cuts and commits; after every crash that could come, what
 * was committed is there and nothing shows that was never written. EVERCOPY_SEED repeats a run. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/layer.h"
#include "tests/lib/crash_states.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/fault_loop.h"
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEED = 4,
    SEQUENCE = 9,
    R = RECORD_BYTES,
    PAGE = 4096,
    FILES = 3,
    RECORDS = 90, /* more than a chunk */
    OPS_MAX = 400,
    VERSIONS = OPS_MAX + 2,
};

enum op_kind { OP_CREATE, OP_WRITE, OP_ZEROS, OP_TRUNCATE, OP_FORGET, OP_COMMIT, OP_COMMIT_ALL };
struct op {
    enum op_kind kind;
    uint64_t file, record, count, size;
};

/* What a record may be: below, a hole, or the bytes of an operation. */
struct version {
    enum layer_has has;
    uint32_t op;
};
struct cell {
    struct version committed, now;
    struct version since[VERSIONS]; /* every one since the commit */
    size_t count;
};
struct model {
    const struct op *ops;
    size_t op_count, at; /* operations that are done */
    struct cell cells[FILES][RECORDS];
    uint64_t sizes[FILES][VERSIONS]; /* UINT64_MAX: not told; the first is the committed one */
    size_t size_count[FILES];
    uint64_t checks;
};

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = random_state;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) % n;
}

static void fill(uint8_t *to, uint32_t op, uint64_t file, uint64_t record)
{
    for (uint32_t k = 0; k < R; k += 4) {
        uint32_t word = (op + 1) * 2654435761U + (uint32_t)(file * 97 + record) * 40503U + k;
        memcpy(to + k, &word, 4);
    }
}

static void make_ops(struct op *ops, size_t count)
{
    ops[0] = (struct op){.kind = OP_CREATE};
    for (size_t i = 1; i < count; i++) {
        uint64_t dice = random_below(100);
        struct op *op = &ops[i];
        op->file = random_below(FILES);
        /* Often the same few records and the same size: such commits save a sync. */
        op->record = random_below(random_below(2) ? 3 : RECORDS);
        op->count = 1 + random_below(random_below(5) ? 4 : RECORDS);
        if (op->count > RECORDS - op->record)
            op->count = RECORDS - op->record;
        op->size = random_below(6) ? RECORDS * R : random_below(RECORDS * R);
        op->kind = dice < 48   ? OP_WRITE
                   : dice < 53 ? OP_ZEROS
                   : dice < 61 ? OP_TRUNCATE
                   : dice < 63 ? OP_FORGET
                   : dice < 90 ? OP_COMMIT
                               : OP_COMMIT_ALL;
        if (op->kind == OP_TRUNCATE)
            op->size = random_below(RECORDS * R);
    }
    /* Begins with what dice seldom throw: a hole between two commits of the same bytes' place, and
     * a cut that only takes what came after an earlier one. */
    static const struct op first[] = {
        {OP_WRITE, 1, 2, 2, RECORDS * R},
        {OP_COMMIT, 1, 0, 0, 0},
        {OP_ZEROS, 1, 2, 2, 0},
        {OP_COMMIT, 1, 0, 0, 0},
        {OP_WRITE, 1, 2, 2, RECORDS * R},
        {OP_COMMIT, 1, 0, 0, 0},
        {OP_WRITE, 2, 50, 1, R},
        {OP_COMMIT, 2, 0, 0, 0},
        {OP_TRUNCATE, 1, 0, 0, R},
        {OP_COMMIT, 1, 0, 0, 0},
        {OP_WRITE, 1, 20, 3, RECORDS * R},
        {OP_COMMIT, 1, 0, 0, 0},
        {OP_TRUNCATE, 1, 0, 0, 21 * R},
        {OP_COMMIT, 1, 0, 0, 0},
    };
    memcpy(ops + 1, first, sizeof first);
    /* Ends with a commit that saves its sync, and with the one that may not. */
    static const struct op last[] = {
        {OP_WRITE, 1, 2, 2, RECORDS * R}, {OP_COMMIT_ALL, 0, 0, 0, 0},
        {OP_WRITE, 1, 2, 2, RECORDS * R}, {OP_COMMIT, 1, 0, 0, 0},
        {OP_COMMIT_ALL, 0, 0, 0, 0},
    };
    memcpy(ops + count - 5, last, sizeof last);
}

/* ---- doing ---- */

static bool do_op(struct layer *layer, const struct op *op, uint32_t number, struct err *err)
{
    AUTO(mem) uint8_t *bytes = own_alloc((size_t)op->count * R + 1, err);
    if (!bytes)
        return false;
    switch (op->kind) {
    case OP_WRITE:
        for (uint64_t i = 0; i < op->count; i++)
            fill(bytes + i * R, number, op->file, op->record + i);
        layer_attributes(layer, op->file, op->size, number);
        return layer_write(layer, op->file, op->record, op->count, bytes, err);
    case OP_ZEROS:
        return layer_write(layer, op->file, op->record, op->count, bytes, err);
    case OP_TRUNCATE:
        return layer_truncate(layer, op->file, op->size, err);
    case OP_FORGET:
        return layer_forget(layer, op->file, err);
    case OP_COMMIT:
        return layer_commit(layer, op->file, err);
    default:
        return layer_commit(layer, UINT64_MAX, err);
    }
}

static bool run_ops(const char *dir, const struct op *ops, size_t count, struct err *err)
{
    char path[256];
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_create(path, SEQUENCE, SEED, err);
    if (!layer)
        return false;
    sys_record_mark(1);
    for (size_t i = 1; i < count; i++) {
        if (!do_op(layer, &ops[i], (uint32_t)i, err))
            return err_wrap(err, "operation %zu", i);
        sys_record_mark(i + 1);
    }
    return true;
}

/* ---- the model ---- */

static void model_init(struct model *m, const struct op *ops, size_t count)
{
    memset(m, 0, sizeof *m);
    m->ops = ops;
    m->op_count = count;
    for (size_t f = 0; f < FILES; f++) {
        m->sizes[f][0] = UINT64_MAX;
        m->size_count[f] = 1;
    }
}

/* What an operation makes of a record; false: nothing. */
static bool effect(const struct op *op, uint32_t number, uint64_t file, uint64_t record,
                   struct version *ret)
{
    bool touched = op->file == file && record >= op->record && record < op->record + op->count;
    *ret = (struct version){LAYER_HOLE, number};
    switch (op->kind) {
    case OP_WRITE:
        ret->has = LAYER_PRESENT;
        return touched;
    case OP_ZEROS:
        return touched;
    case OP_TRUNCATE:
        return op->file == file && record >= (op->size + R - 1) / R;
    case OP_FORGET:
        return op->file == file;
    default:
        return false;
    }
}

static void model_commit(struct model *m, uint64_t file)
{
    for (size_t r = 0; r < RECORDS; r++) {
        struct cell *cell = &m->cells[file][r];
        cell->committed = cell->now;
        cell->count = 0;
    }
    m->sizes[file][0] = m->sizes[file][m->size_count[file] - 1];
    m->size_count[file] = 1;
}

static void model_step(struct model *m)
{
    uint32_t number = (uint32_t)m->at;
    const struct op *op = &m->ops[m->at++];
    for (size_t f = 0; f < FILES; f++) {
        if (op->kind == OP_COMMIT_ALL || (op->kind == OP_COMMIT && op->file == f))
            model_commit(m, f);
        for (size_t r = 0; r < RECORDS; r++) {
            struct cell *cell = &m->cells[f][r];
            struct version next;
            if (effect(op, number, f, r, &next))
                cell->since[cell->count++] = cell->now = next;
        }
    }
    if (op->kind == OP_WRITE || op->kind == OP_FORGET)
        m->sizes[op->file][m->size_count[op->file]++] =
            op->kind == OP_WRITE ? op->size : UINT64_MAX;
}

static bool page_is(const uint8_t *bytes, size_t page, uint32_t op, uint64_t file, uint64_t record)
{
    uint8_t wanted[R];
    fill(wanted, op, file, record);
    return memcmp(bytes + page * PAGE, wanted + page * PAGE, PAGE) == 0;
}

/* Pages of any version since the commit; whole ones when the log cannot have known the record. */
static bool bytes_are_possible(const struct version *all, size_t count, bool may_be_torn,
                               const uint8_t *bytes, uint64_t file, uint64_t record)
{
    bool first = false;
    bool second = false;
    for (size_t i = 0; i < count; i++) {
        if (all[i].has != LAYER_PRESENT)
            continue;
        bool a = page_is(bytes, 0, all[i].op, file, record);
        bool b = page_is(bytes, 1, all[i].op, file, record);
        if (a && b)
            return true;
        first |= a;
        second |= b;
    }
    return may_be_torn && first && second;
}

static bool check_record(const struct model *m, struct layer *layer, uint64_t file, uint64_t record,
                         struct err *err)
{
    const struct cell *cell = &m->cells[file][record];
    struct version all[VERSIONS + 2];
    size_t count = 0;
    uint8_t bytes[R];
    all[count++] = cell->committed;
    for (size_t i = 0; i < cell->count; i++)
        all[count++] = cell->since[i];
    /* The operation that was under way. */
    if (m->at < m->op_count && effect(&m->ops[m->at], (uint32_t)m->at, file, record, &all[count]))
        count++;
    enum layer_has has = layer_has(layer, file, record);
    bool known = false;
    for (size_t i = 0; i < count; i++)
        known |= all[i].has == has;
    if (!known)
        return err_set(err, ERR_INTERNAL, "file %" PRIu64 " record %" PRIu64 ": %d, committed %d",
                       file, record, has, cell->committed.has);
    if (has != LAYER_PRESENT)
        return true;
    if (!layer_read(layer, file, record, 1, bytes, err))
        return false;
    bool torn = cell->committed.has == LAYER_PRESENT;
    return bytes_are_possible(all, count, torn, bytes, file, record) ||
           err_set(err, ERR_INTERNAL, "file %" PRIu64 " record %" PRIu64 ": bytes nobody wrote",
                   file, record);
}

static bool check_sizes(const struct model *m, struct layer *layer, struct err *err)
{
    size_t count;
    AUTO(mem) struct layer_file *files = layer_files(layer, &count, err);
    if (!files)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t file = files[i].file;
        uint64_t size = files[i].sized ? files[i].size : UINT64_MAX;
        bool known = false;
        for (size_t k = 0; k < m->size_count[file]; k++)
            known |= m->sizes[file][k] == size;
        const struct op *next = m->at < m->op_count ? &m->ops[m->at] : NULL;
        if (next && next->file == file)
            known |= next->kind == OP_WRITE && next->size == size;
        if (!known)
            return err_set(err, ERR_INTERNAL, "file %" PRIu64 " has %" PRIu64 " bytes", file, size);
    }
    return true;
}

static bool check_layer(const struct model *m, struct layer *layer, struct err *err)
{
    for (uint64_t f = 0; f < FILES; f++)
        for (uint64_t r = 0; r < RECORDS; r++)
            if (!check_record(m, layer, f, r, err))
                return false;
    return check_sizes(m, layer, err);
}

/* Whoever opened it goes on working: a write, and the same again after an orderly stop. */
static bool goes_on(struct layer *layer, const char *path, struct err *err)
{
    uint8_t bytes[R];
    uint64_t file;
    uint64_t record;
    fill(bytes, 5000, 7, 3);
    if (!layer_write(layer, 7, 3, 1, bytes, err) || !layer_commit(layer, UINT64_MAX, err))
        return false;
    AUTO(layer) struct layer *again = layer_open(path, SEQUENCE, SEED, true, err);
    return again && layer_verify(again, &file, &record, err) &&
           layer_read(again, 7, 3, 1, bytes, err) &&
           (page_is(bytes, 0, 5000, 7, 3) || err_set(err, ERR_INTERNAL, "not what was added"));
}

static bool check_state(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    struct model *m = arg;
    char path[256];
    while (m->at < mark)
        model_step(m);
    if (!mark)
        return true;
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_open(path, SEQUENCE, SEED, false, err);
    return layer && check_layer(m, layer, err) &&
           (m->checks++ % 5 != 0 || goes_on(layer, path, err));
}

static uint64_t first_seed(void)
{
    const char *text = getenv("EVERCOPY_SEED");
    return text ? strtoull(text, NULL, 10) : clock_wall_us();
}

/* Runs it in a fresh folder, then looks at what a crash may leave of it: of its `last` calls only,
 * or 0 of all. The plan says the rest. */
static bool crash(bool (*run)(void *arg, const char *dir, struct err *err), void *arg,
                  struct crash_plan plan, size_t last, uint64_t *ret_states, struct err *err)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    char state[256];
    str_format(state, sizeof state, "%s/state", scratch);
    sys_record_begin();
    bool ok = run(arg, dir, err);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    plan.record = &record;
    plan.root = dir;
    plan.scratch = state;
    plan.from = last ? record.count - last : 0;
    return ok && crash_states_each(&plan, ret_states, err);
}

struct history {
    struct op ops[OPS_MAX];
    size_t count;
};

static bool run_history(void *arg, const char *dir, struct err *err)
{
    const struct history *history = arg;
    return run_ops(dir, history->ops, history->count, err);
}

static bool explore(uint64_t seed, size_t count, size_t step, unsigned seeds, uint64_t *ret_states,
                    struct err *err)
{
    struct history history = {.count = count};
    AUTO(mem) struct model *model = own_alloc(sizeof *model, err);
    if (!model)
        return false;
    random_state = seed;
    make_ops(history.ops, count);
    model_init(model, history.ops, count);
    struct crash_plan plan = {
        .step = step, .seeds = seeds, .seed = seed, .check = check_state, .arg = model};
    return crash(run_history, &history, plan, 0, ret_states, err);
}

Test(layer_crash, what_was_committed_survives_every_crash)
{
    uint64_t seed = first_seed();
    bool more = getenv("EVERCOPY_LONG");
    printf("seed %" PRIu64 "\n", seed);
    for (uint64_t i = 0; i < (more ? 8 : 2); i++) {
        struct err err = {0};
        uint64_t states;
        cr_assert(explore(seed + i, more ? 100 : 50, more ? 1 : 3, more ? 4 : 2, &states, &err),
                  "EVERCOPY_SEED=%" PRIu64 ": %s", seed + i, err.text);
    }
}

/* What a stop in order relies on: after a commit of all, the disk alone says it all. */
static bool check_clean(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    struct model *m = arg;
    char path[256];
    uint64_t file;
    uint64_t record;
    if (mark < m->op_count)
        return true;
    while (m->at < mark)
        model_step(m);
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_open(path, SEQUENCE, SEED, true, err);
    return layer && layer_verify(layer, &file, &record, err) && check_layer(m, layer, err);
}

Test(layer_crash, after_a_commit_of_all_the_disk_alone_says_all)
{
    uint64_t seed = first_seed();
    printf("seed %" PRIu64 "\n", seed);
    for (uint64_t i = 0; i < 8; i++) {
        struct history history = {.count = 50};
        struct op *ops = history.ops;
        struct err err = {0};
        uint64_t states;
        random_state = seed + i;
        make_ops(ops, 50);
        /* Half of them end with new bytes of a record that the disk knows already. */
        ops[46] = ops[48] = (struct op){.kind = OP_WRITE, .count = 1, .size = R};
        ops[47].kind = OP_COMMIT_ALL;
        ops[48].kind = i % 2 ? OP_WRITE : OP_TRUNCATE;
        AUTO(mem) struct model *model = own_alloc(sizeof *model, &err);
        cr_assert(model, "%s", err.text);
        model_init(model, ops, 50);
        struct crash_plan plan = {
            .step = 1000000, .seeds = 20, .seed = seed, .check = check_clean, .arg = model};
        cr_assert(crash(run_history, &history, plan, 0, &states, &err),
                  "EVERCOPY_SEED=%" PRIu64 ": %s", seed + i, err.text);
        cr_assert(model->at == 50);
    }
}

/* ---- killed, opened again, and then the power goes ---- */

static bool write_version(struct layer *layer, uint64_t file, uint32_t version, struct err *err)
{
    uint8_t bytes[R];
    fill(bytes, version, file, 0);
    return layer_write(layer, file, 0, 1, bytes, err);
}

/* Known to the log; then overwritten by a process that does not live to commit it: file 1 with
 * other bytes, file 2 at last with the same. */
static bool overwrite_and_die(const char *path, struct err *err)
{
    AUTO(layer) struct layer *layer = layer_create(path, SEQUENCE, SEED, err);
    return layer && write_version(layer, 1, 1, err) && write_version(layer, 2, 1, err) &&
           layer_commit(layer, UINT64_MAX, err) && write_version(layer, 1, 2, err) &&
           write_version(layer, 2, 3, err) && write_version(layer, 2, 1, err);
}

/* The next one takes what it finds, and promises it. */
static bool open_and_promise(const char *path, struct err *err)
{
    AUTO(layer) struct layer *layer = layer_open(path, SEQUENCE, SEED, false, err);
    if (!layer)
        return false;
    layer_freeze(layer);
    if (!layer_commit(layer, UINT64_MAX, err))
        return false;
    sys_record_mark(1);
    return true;
}

static bool holds_version(struct layer *layer, uint64_t file, uint32_t version, struct err *err)
{
    uint8_t bytes[R];
    return layer_read(layer, file, 0, 1, bytes, err) &&
           ((page_is(bytes, 0, version, file, 0) && page_is(bytes, 1, version, file, 0)) ||
            err_set(err, ERR_INTERNAL, "file %" PRIu64 " has other bytes", file));
}

static bool check_promised(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    char path[256];
    (void)arg;
    if (!mark)
        return true;
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_open(path, SEQUENCE, SEED, true, err);
    return layer && holds_version(layer, 1, 2, err) && holds_version(layer, 2, 1, err);
}

static bool die_and_promise(void *arg, const char *dir, struct err *err)
{
    char path[256];
    (void)arg;
    str_format(path, sizeof path, "%s/layer", dir);
    return overwrite_and_die(path, err) && open_and_promise(path, err);
}

Test(layer_crash, what_a_killed_process_wrote_is_on_disk_before_it_is_promised)
{
    struct err err = {0};
    uint64_t states = 0;
    struct crash_plan plan = {.step = 1000000, .seeds = 20, .check = check_promised};
    cr_assert(crash(die_and_promise, NULL, plan, 0, &states, &err), "%s", err.text);
    cr_expect(states > 20);
}

/* ---- a time that a client set ---- */

static bool check_time(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    char path[256];
    size_t count;
    (void)arg;
    if (!mark)
        return true;
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_open(path, SEQUENCE, SEED, false, err);
    AUTO(mem) struct layer_file *files = layer ? layer_files(layer, &count, err) : NULL;
    return files && ((count == 1 && files[0].mtime_us >= mark) ||
                     err_set(err, ERR_INTERNAL, "an older time than %" PRIu64, mark));
}

static bool set_times(void *arg, const char *dir, struct err *err)
{
    char path[256];
    (void)arg;
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_create(path, SEQUENCE, SEED, err);
    bool ok = layer && write_version(layer, 1, 1, err);
    for (uint64_t time = 1; ok && time < 4; time++) {
        ok = write_version(layer, 1, (uint32_t)time, err);
        layer_attributes(layer, 1, R, time);
        ok = ok && layer_commit(layer, 1, err);
        layer_attributes_set(layer, 1, R, time < 3 ? time : 7);
        ok = ok && layer_commit(layer, 1, err);
        sys_record_mark(time < 3 ? time : 7);
    }
    return ok;
}

/* A write's time may be lost with the log's end, a client's may not: not even when it sets the one
 * that a write has left in that end. */
Test(layer_crash, a_time_that_a_client_set_is_on_disk_with_its_commit)
{
    struct err err = {0};
    uint64_t states = 0;
    struct crash_plan plan = {.seeds = 3, .check = check_time};
    cr_assert(crash(set_times, NULL, plan, 0, &states, &err), "%s", err.text);
}

/* ---- a log that is replaced ---- */

static uint64_t log_bytes(const char *dir)
{
    char path[256];
    struct stat st = {0};
    struct err err = {0};
    str_format(path, sizeof path, "%s/layer/map", dir);
    IGNORE(sys_stat(path, &st, &err)); /* 0 then */
    return (uint64_t)st.st_size;
}

static bool write_and_mark(struct layer *layer, uint32_t version, struct err *err)
{
    uint8_t bytes[R];
    fill(bytes, version, 1, 0);
    if (!layer_write(layer, 1, 0, 1, bytes, err) || !layer_commit(layer, 1, err))
        return false;
    sys_record_mark(version);
    return true;
}

/* Attributes until the log is nearly full, then writes until it is replaced, then some more. */
static bool fill_the_log(struct layer *layer, const char *dir, struct err *err)
{
    uint8_t bytes[R];
    uint32_t version = 1;
    fill(bytes, 77, 2, 5);
    if (!layer_write(layer, 2, 5, 1, bytes, err) || !layer_truncate(layer, 3, 4 * R, err) ||
        !layer_forget(layer, 4, err) || !write_and_mark(layer, version++, err))
        return false;
    for (uint64_t i = 0; log_bytes(dir) < (1 << 20); i++) {
        layer_attributes(layer, 5, 100, i);
        if (!layer_commit(layer, i ? 5 : UINT64_MAX, err))
            return false;
    }
    for (uint64_t before = 0; log_bytes(dir) >= before && version < 1000;) {
        before = log_bytes(dir);
        layer_attributes(layer, 1, version, version);
        if (!write_and_mark(layer, version++, err))
            return false;
    }
    return version < 1000 && write_and_mark(layer, version++, err) &&
           write_and_mark(layer, version, err);
}

static bool check_replaced(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    char path[256];
    uint8_t bytes[R];
    (void)arg;
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_open(path, SEQUENCE, SEED, false, err);
    if (!layer || !layer_read(layer, 2, 5, 1, bytes, err))
        return false;
    bool ok = page_is(bytes, 0, 77, 2, 5) && page_is(bytes, 1, 77, 2, 5) &&
              layer_has(layer, 3, 3) == LAYER_BELOW && layer_has(layer, 3, 4) == LAYER_HOLE &&
              layer_has(layer, 4, 0) == LAYER_HOLE && layer_has(layer, 2, 4) == LAYER_BELOW;
    if (!layer_read(layer, 1, 0, 1, bytes, err))
        return false;
    for (size_t page = 0; page < 2; page++)
        ok = ok && (page_is(bytes, page, (uint32_t)mark, 1, 0) ||
                    page_is(bytes, page, (uint32_t)mark + 1, 1, 0));
    return ok || err_set(err, ERR_INTERNAL, "not what was committed as %" PRIu64, mark);
}

static bool replace_the_log(void *arg, const char *dir, struct err *err)
{
    char path[256];
    (void)arg;
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_create(path, SEQUENCE, SEED, err);
    return layer && fill_the_log(layer, dir, err) &&
           (log_bytes(dir) < 4096 || err_set(err, ERR_INTERNAL, "the log was not replaced"));
}

Test(layer_crash, a_log_is_replaced_whole)
{
    struct err err = {0};
    uint64_t states = 0;
    struct crash_plan plan = {.seeds = 3, .check = check_replaced};
    cr_assert(crash(replace_the_log, NULL, plan, 28, &states, &err), "%s", err.text);
    cr_expect(states > 100);
}

/* ---- the fault loop ---- */

struct faulty {
    struct op ops[40];
    size_t done; /* operations that went well; the first failure ends the run */
};

static bool fault_run(void *arg, const char *dir, struct err *err)
{
    struct faulty *f = arg;
    char path[256];
    f->done = 0;
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_create(path, SEQUENCE, SEED, err);
    if (!layer)
        return false;
    f->done = 1;
    for (; f->done < 40; f->done++)
        if (!do_op(layer, &f->ops[f->done], (uint32_t)f->done, err))
            return false;
    return true;
}

static bool fault_check(void *arg, const char *dir, bool done, struct err *err)
{
    struct faulty *f = arg;
    char path[256];
    (void)done;
    AUTO(mem) struct model *model = own_alloc(sizeof *model, err);
    if (!model || !f->done)
        return model;
    model_init(model, f->ops, 40);
    while (model->at < f->done)
        model_step(model);
    str_format(path, sizeof path, "%s/layer", dir);
    AUTO(layer) struct layer *layer = layer_open(path, SEQUENCE, SEED, false, err);
    return layer && check_layer(model, layer, err);
}

Test(layer_crash, each_failing_call_loses_nothing_that_was_committed)
{
    static const enum fault_kind kinds[] = {FAULT_IO, FAULT_FULL, FAULT_MEMORY, FAULT_SHORT,
                                            FAULT_CUT};
    AUTO(mem) struct faulty *f = NULL;
    struct err err = {0};
    f = own_alloc(sizeof *f, &err);
    cr_assert(f);
    random_state = 11;
    make_ops(f->ops, 40);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct fault_case c = {
            .name = "layer", .run = fault_run, .check = fault_check, .arg = f, .least = 60};
        struct fault_report report;
        cr_expect(fault_loop_run(&c, kinds[i], 1, &report, &err), "%s", err.text);
        err_clear(&err);
    }
}

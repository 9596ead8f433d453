/* Dead lists: gathered, sorted into chunks of runs, and walked from a birth on. */
#include "drivers/vault/store/dead.h"
#include <stdlib.h>

enum { MEMORY_MIN = 512 << 10 };
static const uint64_t POSITIONS = (uint64_t)FRAMES_MAX * FRAME_ITEMS;

/* Items of a pack that follow each other, born together. */
struct dead_run {
    uint64_t birth, at, len; /* at: 16 * frame + item */
    uint32_t pack;
};

struct dead_writer {
    dead_put *put;
    void *arg;
    struct dead_run *runs;
    size_t count, capacity, limit;
    struct dead_list *lists;
    size_t list_count, list_capacity;
};

void dead_list_done(struct dead_list *list)
{
    own_free(list->chunks);
    *list = (struct dead_list){0};
}

void dead_abandon(struct dead_writer *writer)
{
    if (!writer)
        return;
    for (size_t i = 0; i < writer->list_count; i++)
        dead_list_done(&writer->lists[i]);
    own_free(writer->lists);
    own_free(writer->runs);
    own_free(writer);
}

struct dead_writer *dead_writer_new(size_t memory_max, dead_put *put, void *arg, struct err *err)
{
    struct dead_writer *writer = own_alloc(sizeof *writer, err);
    if (!writer)
        return NULL;
    writer->put = put;
    writer->arg = arg;
    writer->limit = (memory_max > MEMORY_MIN ? memory_max : MEMORY_MIN) / sizeof *writer->runs;
    return writer;
}

/* ---- writing ---- */

static int by_birth(const void *a, const void *b)
{
    const struct dead_run *x = a, *y = b;
    if (x->birth != y->birth)
        return x->birth < y->birth ? -1 : 1;
    if (x->pack != y->pack)
        return x->pack < y->pack ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static bool follows(const struct dead_run *run, uint32_t pack, uint64_t at, uint64_t birth)
{
    return run->birth == birth && run->pack == pack && run->at + run->len == at;
}

/* Sorts and joins what is gathered. An item told twice would be freed twice: refused. */
static bool tidy(struct dead_writer *writer, struct err *err)
{
    struct dead_run *runs = writer->runs;
    size_t kept = 0;
    if (writer->count == 0)
        return true;
    qsort(runs, writer->count, sizeof *runs, by_birth);
    for (size_t i = 1; i < writer->count; i++) {
        struct dead_run *last = &runs[kept];
        if (follows(last, runs[i].pack, runs[i].at, runs[i].birth)) {
            last->len += runs[i].len;
        } else if (last->birth == runs[i].birth && last->pack == runs[i].pack &&
                   last->at + last->len > runs[i].at) {
            return err_set(err, ERR_CORRUPT, "item %u of frame %u of pack %u died twice",
                           (unsigned)(runs[i].at % FRAME_ITEMS),
                           (unsigned)(runs[i].at / FRAME_ITEMS), runs[i].pack);
        } else {
            runs[++kept] = runs[i];
        }
    }
    writer->count = kept + 1;
    return true;
}

static bool put_chunk(struct dead_writer *writer, const struct dead_run *runs, size_t count,
                      struct dead_list *list, struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    struct dead_chunk chunk = {.birth_min = runs[0].birth, .birth_max = runs[count - 1].birth};
    uint64_t before = 0;
    if (!bytes_varint(&bytes, count, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!bytes_varint(&bytes, runs[i].birth - before, err) ||
            !bytes_varint(&bytes, runs[i].pack, err) || !bytes_varint(&bytes, runs[i].at, err) ||
            !bytes_varint(&bytes, runs[i].len, err))
            return false;
        before = runs[i].birth;
        chunk.items += runs[i].len;
    }
    if (!writer->put(writer->arg, &bytes, &chunk.addr, err) ||
        !own_grow((void **)&list->chunks, &list->capacity, list->count, sizeof *list->chunks, err))
        return false;
    list->chunks[list->count++] = chunk;
    list->items += chunk.items;
    return true;
}

/* What is gathered and tidy becomes a list. */
static bool flush(struct dead_writer *writer, struct err *err)
{
    AUTO(dead_list) struct dead_list list = {0};
    if (writer->count == 0)
        return true;
    for (size_t at = 0; at < writer->count; at += DEAD_CHUNK_RUNS) {
        size_t left = writer->count - at;
        if (!put_chunk(writer, writer->runs + at, left < DEAD_CHUNK_RUNS ? left : DEAD_CHUNK_RUNS,
                       &list, err))
            return false;
    }
    if (!own_grow((void **)&writer->lists, &writer->list_capacity, writer->list_count,
                  sizeof *writer->lists, err))
        return false;
    writer->lists[writer->list_count++] = list;
    list = (struct dead_list){0};
    writer->count = 0;
    return true;
}

/* Room for one more run: sorting joins many, and only what is then over half is written. */
static bool make_room(struct dead_writer *writer, struct err *err)
{
    if (writer->runs && writer->count < writer->capacity)
        return true;
    if (writer->capacity < writer->limit) {
        size_t wanted = writer->capacity ? writer->capacity * 2 : 64;
        if (wanted > writer->limit)
            wanted = writer->limit;
        struct dead_run *grown = own_realloc(writer->runs, wanted * sizeof *grown, err);
        if (!grown)
            return false;
        writer->runs = grown;
        writer->capacity = wanted;
        return true;
    }
    return tidy(writer, err) && (writer->count <= writer->limit / 2 || flush(writer, err));
}

bool dead_add(struct dead_writer *writer, struct addr addr, uint64_t birth, struct err *err)
{
    uint64_t at = (uint64_t)addr.frame * FRAME_ITEMS + addr.item;
    if (addr.item >= FRAME_ITEMS || at >= POSITIONS || birth == 0)
        return err_set(err, ERR_INVALID, "item %u of frame %u, born at %llu, cannot die", addr.item,
                       addr.frame, (unsigned long long)birth);
    struct dead_run *last = writer->count > 0 ? &writer->runs[writer->count - 1] : NULL;
    if (last && follows(last, addr.pack, at, birth)) {
        last->len++;
        return true;
    }
    if (!make_room(writer, err))
        return false;
    writer->runs[writer->count++] =
        (struct dead_run){.birth = birth, .at = at, .len = 1, .pack = addr.pack};
    return true;
}

bool dead_finish(struct dead_writer *writer, struct dead_list **ret_lists, size_t *ret_count,
                 struct err *err)
{
    AUTO(dead_writer) struct dead_writer *owned = writer;
    if (!tidy(owned, err) || !flush(owned, err))
        return false;
    *ret_lists = TAKE(owned->lists);
    *ret_count = owned->list_count;
    owned->list_count = 0;
    return true;
}

/* ---- reading ---- */

/* The next run, in order and not touching the one before; `before` is zeros for the first. */
static bool run_decode(struct cursor *c, const struct dead_run *before, struct dead_run *ret)
{
    uint64_t distance = cursor_varint(c), pack = cursor_varint(c);
    struct dead_run run = {.birth = before->birth + distance, .pack = (uint32_t)pack};
    run.at = cursor_varint(c);
    run.len = cursor_varint(c);
    if (c->bad || pack > UINT32_MAX || run.birth < distance || run.birth == 0 || run.len == 0 ||
        run.at >= POSITIONS || run.len > POSITIONS - run.at)
        return false;
    if (before->birth == run.birth &&
        (run.pack < before->pack ||
         (run.pack == before->pack && run.at <= before->at + before->len)))
        return false;
    *ret = run;
    return true;
}

static bool chunk_decode(const struct dead_chunk *chunk, const struct bytes *bytes,
                         struct dead_run *ret_runs, size_t *ret_count)
{
    struct cursor c = cursor_over(bytes->data, bytes->len);
    struct dead_run before = {0};
    uint64_t count = cursor_varint(&c), items = 0;
    if (c.bad || count == 0 || count > DEAD_CHUNK_RUNS)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!run_decode(&c, &before, &ret_runs[i]))
            return false;
        before = ret_runs[i];
        items += before.len;
    }
    if (cursor_left(&c) > 0 || items != chunk->items || ret_runs[0].birth != chunk->birth_min ||
        before.birth != chunk->birth_max)
        return false;
    *ret_count = (size_t)count;
    return true;
}

static bool tell_run(const struct dead_run *run, dead_item *fn, void *arg, struct err *err)
{
    for (uint64_t at = run->at; at < run->at + run->len; at++) {
        struct addr addr = {run->pack, (uint32_t)(at / FRAME_ITEMS), (uint8_t)(at % FRAME_ITEMS)};
        if (!fn(arg, addr, run->birth, err))
            return false;
    }
    return true;
}

bool dead_walk(const struct map_source *source, const struct dead_list *list, uint64_t after,
               uint64_t cut, dead_item *fn, void *arg, struct err *err)
{
    AUTO(mem) struct dead_run *runs = own_alloc(DEAD_CHUNK_RUNS * sizeof *runs, err);
    if (!runs)
        return false;
    for (size_t i = 0; i < list->count; i++) {
        const struct dead_chunk *chunk = &list->chunks[i];
        AUTO(bytes) struct bytes bytes = {0};
        size_t count;
        if (chunk->birth_max <= after || chunk->birth_min > cut)
            continue;
        if (!source->node(source->arg, chunk->addr, &bytes, err))
            return false;
        if (!chunk_decode(chunk, &bytes, runs, &count))
            return err_set(err, ERR_CORRUPT, "the dead list in frame %u of pack %u makes no sense",
                           chunk->addr.frame, chunk->addr.pack);
        for (size_t k = 0; k < count; k++)
            if (runs[k].birth > after && runs[k].birth <= cut && !tell_run(&runs[k], fn, arg, err))
                return false;
    }
    return true;
}

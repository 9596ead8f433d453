/* A pack's directory: read whole or not at all, looked up by frame. */
#include "drivers/vault/store/pack_int.h"
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct part {
    uint32_t offset, bytes;
};

struct pack_dir {
    struct pack_key key;
    uint64_t object_bytes;
    uint32_t frames;
    uint64_t items;
    struct part subject_part, hash_part;
    uint64_t sum_before_subjects, sum_with_subjects, hash_sum;
    struct bytes rows; /* as they are in the pack */
    uint64_t *births;
    size_t birth_count;
    pthread_mutex_t lock; /* over what is loaded when asked for; once there it stays as it is */
    atomic_bool hashed, subjected; /* true: no lock is needed any more */
    struct bytes subjects, hashes;
    uint32_t *subject_at; /* per frame: where its subject begins */
    uint32_t *hash_at;    /* per frame: how many hashes come before its own */
};

static struct held {
    pthread_mutex_t *lock;
} hold(struct pack_dir *dir)
{
    pthread_mutex_lock(&dir->lock);
    return (struct held){&dir->lock};
}
static void held_done(struct held *held) { pthread_mutex_unlock(held->lock); }
OWN_DEFINE_INPLACE(held, struct held, held_done);

static bool corrupt(const struct pack_dir *dir, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "pack %08x-%04x: %s", dir->key.pack, dir->key.generation,
                   what);
}

static struct pack_dir *dir_new(const struct pack_key *key, struct err *err)
{
    struct pack_dir *dir = own_alloc(sizeof *dir, err);
    if (!dir)
        return NULL;
    dir->key = *key;
    pthread_mutex_init(&dir->lock, NULL);
    return dir;
}

void pack_dir_free(struct pack_dir *dir)
{
    if (!dir)
        return;
    bytes_done(&dir->rows);
    bytes_done(&dir->subjects);
    bytes_done(&dir->hashes);
    own_free(dir->births);
    own_free(dir->subject_at);
    own_free(dir->hash_at);
    pthread_mutex_destroy(&dir->lock);
    own_free(dir);
}

const struct pack_key *pack_dir_key(const struct pack_dir *dir) { return &dir->key; }
uint32_t pack_dir_frames(const struct pack_dir *dir) { return dir->frames; }

size_t pack_dir_memory(const struct pack_dir *dir)
{
    struct pack_dir *own = (struct pack_dir *)(uintptr_t)dir; /* only its lock is touched */
    AUTO(held) struct held held = hold(own);
    return sizeof *dir + dir->rows.capacity + dir->birth_count * sizeof *dir->births +
           dir->subjects.capacity + dir->hashes.capacity +
           (dir->subject_at ? dir->frames * sizeof *dir->subject_at : 0) +
           (dir->hash_at ? dir->frames * sizeof *dir->hash_at : 0);
}

bool pack_dir_row(const struct pack_dir *dir, uint32_t frame, struct pack_row *ret)
{
    if (frame >= dir->frames)
        return false;
    const uint8_t *row = dir->rows.data + (size_t)frame * PACK_ROW;
    struct pack_row found = {.offset = (uint32_t)pack_take(row, 4),
                             .bytes = (uint32_t)pack_take(row + 4, 4),
                             .kind = row[8],
                             .present = (uint16_t)pack_take(row + 10, 2)};
    if (found.present == 0)
        return false;
    found.birth = dir->births[pack_take(row + 12, 4)]; /* checked when it was read */
    *ret = found;
    return true;
}

/* ---- reading it ---- */

static bool copy(struct bytes *to, const void *from, size_t len, struct err *err)
{
    uint8_t *data = own_realloc(NULL, len, err);
    if (!data)
        return false;
    if (len > 0)
        memcpy(data, from, len);
    bytes_done(to);
    *to = (struct bytes){.data = data, .len = len, .capacity = len};
    return true;
}

static bool births_take(struct pack_dir *dir, const uint8_t *bytes, size_t len, struct err *err)
{
    struct cursor c = cursor_over(bytes, len);
    uint64_t count = cursor_varint(&c);
    if (c.bad || count > PACK_FRAMES_MAX || cursor_left(&c) != count * sizeof *dir->births)
        return corrupt(dir, "its births are damaged", err);
    dir->births = own_alloc((size_t)count * sizeof *dir->births, err);
    if (!dir->births)
        return false;
    for (uint64_t i = 0; i < count; i++)
        dir->births[i] = cursor_u64(&c);
    dir->birth_count = (size_t)count;
    return true;
}

static bool row_is_right(const struct pack_dir *dir, const uint8_t *row, uint64_t offset,
                         uint32_t *ret_bytes, int *ret_data, int *ret_items)
{
    static const uint8_t nothing[PACK_ROW];
    uint16_t present = (uint16_t)pack_take(row + 10, 2);
    *ret_bytes = (uint32_t)pack_take(row + 4, 4);
    *ret_items = __builtin_popcount(present);
    *ret_data = row[8] == FRAME_DATA ? *ret_items : 0;
    if (present == 0)
        return memcmp(row, nothing, sizeof nothing) == 0;
    return pack_take(row, 4) == offset && *ret_bytes > PACK_FRAME_HEADER &&
           *ret_bytes <= PACK_FRAME_MAX && row[8] >= FRAME_DATA && row[8] <= FRAME_SEAL &&
           row[9] == 0 && pack_take(row + 12, 4) < dir->birth_count;
}

/* Frames lie one behind the other from the header to `end`. */
static bool rows_are_right(struct pack_dir *dir, uint64_t end, struct err *err)
{
    uint64_t offset = PACK_HEADER, hashes = 0, items = 0;
    for (uint32_t i = 0; i < dir->frames; i++) {
        uint32_t bytes;
        int data, present;
        if (!row_is_right(dir, dir->rows.data + (size_t)i * PACK_ROW, offset, &bytes, &data,
                          &present))
            return corrupt(dir, "a row of its directory is wrong", err);
        offset += bytes;
        hashes += (uint64_t)data;
        items += (uint64_t)present;
    }
    if (offset != end || hashes * HASH_BYTES != dir->hash_part.bytes || items != dir->items)
        return corrupt(dir, "its rows do not add up", err);
    return true;
}

/* What a footer says, checked against the object's length. */
struct footer {
    struct part parts[4]; /* rows, births, subjects, hashes */
    uint32_t frames, items;
    uint64_t sum, hash_sum;
};

static bool footer_take(const struct pack_key *key, uint64_t object_bytes,
                        const uint8_t from[PACK_FOOTER], struct footer *ret, struct err *err)
{
    uint8_t header[PACK_HEADER];
    pack_header(key, header);
    struct format_piece whole[] = {{header, sizeof header}, {from, 72}};
    bool good = memcmp(from + 68, "ECPE", 4) == 0 && pack_take(from + 64, 4) == 0 &&
                format_sum_of(pack_seed(key), whole, 2) == pack_take(from + 72, 8);
    if (!good)
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x: its footer is damaged", key->pack,
                       key->generation);
    for (size_t i = 0; i < 4; i++)
        ret->parts[i] = (struct part){(uint32_t)pack_take(from + 8 * i, 4),
                                      (uint32_t)pack_take(from + 8 * i + 4, 4)};
    ret->frames = (uint32_t)pack_take(from + 32, 4);
    ret->items = (uint32_t)pack_take(from + 36, 4);
    ret->sum = pack_take(from + 40, 8);
    ret->hash_sum = pack_take(from + 48, 8);
    uint64_t at = ret->parts[0].offset;
    good = at >= PACK_HEADER && ret->frames <= PACK_FRAMES_MAX &&
           ret->parts[0].bytes == ret->frames * PACK_ROW &&
           ret->parts[1].bytes <= 10 + 8 * (uint64_t)ret->frames &&
           ret->parts[2].bytes <= PACK_SUBJECT_MAX * (uint64_t)ret->frames &&
           ret->parts[3].bytes <= (uint64_t)ret->frames * FRAME_ITEMS * HASH_BYTES;
    for (size_t i = 0; i < 4; i++) {
        good = good && ret->parts[i].offset == at;
        at += ret->parts[i].bytes;
    }
    if (!good || at + PACK_FOOTER != object_bytes)
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x: its footer does not fit it", key->pack,
                       key->generation);
    return true;
}

static bool read_whole(struct io *io, const struct pack_key *key, void *to, size_t len,
                       uint64_t offset, struct err *err)
{
    char name[IO_NAME_MAX];
    pack_name(key, name);
    ssize_t got = io_read(io, name, to, len, offset, err);
    if (got < 0)
        return false;
    return (size_t)got == len ||
           err_set(err, ERR_CORRUPT, "pack %08x-%04x: cut off", key->pack, key->generation);
}

/* A header says first what it is a pack of, so that the message can. */
static bool header_is_right(const struct pack_key *key, const uint8_t from[PACK_HEADER],
                            struct err *err)
{
    uint8_t wanted[PACK_HEADER];
    pack_header(key, wanted);
    if (memcmp(from, wanted, sizeof wanted) == 0)
        return true;
    bool sound = memcmp(from, wanted, 8) == 0 &&
                 (uint32_t)format_sum(key->seed, from, 28) == pack_take(from + 28, 4);
    uint32_t version = (uint32_t)pack_take(from + 8, 4);
    if (sound && version > VAULT_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "pack %08x-%04x is of version %u, this program knows up to %d", key->pack,
                       key->generation, version, VAULT_VERSION);
    if (sound)
        return err_set(
            err, ERR_CORRUPT, "pack %08x-%04x holds pack %08x-%04x of family %016llx instead",
            key->pack, key->generation, (uint32_t)pack_take(from + 12, 4),
            (uint32_t)pack_take(from + 24, 2), (unsigned long long)pack_take(from + 16, 8));
    return err_set(err, ERR_CORRUPT, "pack %08x-%04x: its header is damaged", key->pack,
                   key->generation);
}

bool pack_dir_fetch(struct io *io, const struct pack_key *key, uint64_t object_bytes,
                    struct bytes *ret, struct err *err)
{
    uint8_t header[PACK_HEADER], last[PACK_FOOTER];
    if (object_bytes < PACK_HEADER + PACK_FOOTER || object_bytes > PACK_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x has %llu bytes", key->pack,
                       key->generation, (unsigned long long)object_bytes);
    struct footer f = {0};
    if (!read_whole(io, key, header, sizeof header, 0, err) || !header_is_right(key, header, err) ||
        !read_whole(io, key, last, sizeof last, object_bytes - sizeof last, err) ||
        !footer_take(key, object_bytes, last, &f, err))
        return false;
    size_t len = (size_t)f.parts[0].bytes + f.parts[1].bytes + f.parts[2].bytes;
    AUTO(bytes) struct bytes made = {.data = own_realloc(NULL, len + sizeof last, err)};
    if (!made.data || !read_whole(io, key, made.data, len, f.parts[0].offset, err))
        return false;
    memcpy(made.data + len, last, sizeof last);
    made.len = made.capacity = len + sizeof last;
    bytes_done(ret);
    *ret = made;
    made = (struct bytes){0};
    return true;
}

struct pack_dir *pack_dir_open(const struct pack_key *key, uint64_t object_bytes, const void *bytes,
                               size_t len, struct err *err)
{
    AUTO(pack_dir) struct pack_dir *dir = dir_new(key, err);
    if (!dir)
        return NULL;
    const uint8_t *at = bytes;
    struct footer f = {0};
    if (len < PACK_FOOTER) {
        corrupt(dir, "its directory is cut off", err);
        return NULL;
    }
    if (!footer_take(key, object_bytes, at + len - PACK_FOOTER, &f, err))
        return NULL;
    const struct format_piece pieces[] = {
        {at, f.parts[0].bytes},
        {at + f.parts[0].bytes, f.parts[1].bytes},
        {at + f.parts[0].bytes + f.parts[1].bytes, f.parts[2].bytes}};
    dir->object_bytes = object_bytes;
    dir->frames = f.frames;
    dir->items = f.items;
    dir->subject_part = f.parts[2];
    dir->hash_part = f.parts[3];
    dir->hash_sum = f.hash_sum;
    if (len - PACK_FOOTER != pieces[0].len + pieces[1].len + pieces[2].len) {
        corrupt(dir, "its directory has the wrong length", err);
        return NULL;
    }
    dir->sum_before_subjects = format_sum_of(pack_seed(key), pieces, 2);
    dir->sum_with_subjects = format_sum_of(dir->sum_before_subjects, pieces + 2, 1);
    if (dir->sum_with_subjects != f.sum) {
        corrupt(dir, "its directory is damaged", err);
        return NULL;
    }
    if (!births_take(dir, pieces[1].data, pieces[1].len, err) ||
        !copy(&dir->rows, pieces[0].data, pieces[0].len, err) ||
        !rows_are_right(dir, f.parts[0].offset, err))
        return NULL;
    return TAKE(dir);
}

struct pack_dir *pack_dir_read(struct io *io, const struct pack_key *key, uint64_t object_bytes,
                               struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    return pack_dir_fetch(io, key, object_bytes, &bytes, err)
               ? pack_dir_open(key, object_bytes, bytes.data, bytes.len, err)
               : NULL;
}

struct pack_dir *pack_dir_of(const struct pack_key *key, struct pack_index *index, struct err *err)
{
    AUTO(pack_dir) struct pack_dir *dir = dir_new(key, err);
    if (!dir)
        return NULL;
    dir->frames = index->frames;
    dir->items = index->items;
    dir->rows = index->rows;
    dir->subjects = index->subjects;
    dir->hashes = index->hashes;
    dir->births = index->births;
    dir->birth_count = index->birth_count;
    *index = (struct pack_index){0};
    return TAKE(dir);
}

/* ---- hashes ---- */

/* Held; hashes are there. */
static bool hash_index(struct pack_dir *dir, struct err *err)
{
    uint32_t *at = own_alloc((dir->frames + 1) * sizeof *at, err);
    if (!at)
        return false;
    uint32_t count = 0;
    for (uint32_t i = 0; i < dir->frames; i++) {
        const uint8_t *row = dir->rows.data + (size_t)i * PACK_ROW;
        at[i] = count;
        if (row[8] == FRAME_DATA)
            count += (uint32_t)__builtin_popcount((uint16_t)pack_take(row + 10, 2));
    }
    own_free(dir->hash_at);
    dir->hash_at = at;
    dir->hashed = true;
    return true;
}

static bool hashes_set(struct pack_dir *dir, const void *bytes, size_t len, struct err *err)
{
    if (len != dir->hash_part.bytes ||
        format_sum(pack_seed(&dir->key), bytes, len) != dir->hash_sum)
        return corrupt(dir, "its hashes are damaged", err);
    return copy(&dir->hashes, bytes, len, err) && hash_index(dir, err);
}

bool pack_dir_give_hashes(struct pack_dir *dir, const void *bytes, size_t len, struct err *err)
{
    AUTO(held) struct held held = hold(dir);
    return dir->hashed || hashes_set(dir, bytes, len, err);
}

bool pack_dir_has_hashes(struct pack_dir *dir) { return dir->hashed; }

bool pack_dir_fetch_hashes(struct pack_dir *dir, struct io *io, struct bytes *ret, struct err *err)
{
    AUTO(bytes) struct bytes made = {.data = own_realloc(NULL, dir->hash_part.bytes, err)};
    if (!made.data ||
        !read_whole(io, &dir->key, made.data, dir->hash_part.bytes, dir->hash_part.offset, err))
        return false;
    made.len = made.capacity = dir->hash_part.bytes;
    if (!pack_dir_give_hashes(dir, made.data, made.len, err))
        return false;
    bytes_done(ret);
    *ret = made;
    made = (struct bytes){0};
    return true;
}

/* Whether the hashes are there afterwards. Many may come at once; then some read in vain. */
static bool hashes_load(struct pack_dir *dir, struct io *io, struct err *err)
{
    if (dir->hashed)
        return true;
    {
        AUTO(held) struct held held = hold(dir);
        if (dir->hashes.data || dir->object_bytes == 0)
            return hash_index(dir, err); /* of a scan */
    }
    AUTO(bytes) struct bytes bytes = {0};
    return pack_dir_fetch_hashes(dir, io, &bytes, err);
}

bool pack_dir_hash(struct pack_dir *dir, struct io *io, uint32_t frame, uint8_t item,
                   struct hash *ret, struct err *err)
{
    struct pack_row row;
    int place = pack_dir_row(dir, frame, &row) && row.kind == FRAME_DATA
                    ? pack_item_place(row.present, item)
                    : -1;
    if (place < 0)
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x has no record %u in frame %u",
                       dir->key.pack, dir->key.generation, item, frame);
    if (!hashes_load(dir, io, err))
        return false;
    memcpy(ret, dir->hashes.data + ((size_t)dir->hash_at[frame] + (size_t)place) * HASH_BYTES,
           HASH_BYTES);
    return true;
}

/* ---- subjects ---- */

/* Held; subjects are there. Every one is read, so that later ones can be trusted. */
static bool subject_index(struct pack_dir *dir, struct err *err)
{
    AUTO(mem) uint32_t *at = own_alloc((dir->frames + 1) * sizeof *at, err);
    if (!at)
        return false;
    struct cursor c = cursor_over(dir->subjects.data, dir->subjects.len);
    for (uint32_t i = 0; i < dir->frames; i++) {
        const uint8_t *row = dir->rows.data + (size_t)i * PACK_ROW;
        uint64_t file, records[FRAME_ITEMS];
        at[i] = (uint32_t)(dir->subjects.len - cursor_left(&c));
        int present = __builtin_popcount((uint16_t)pack_take(row + 10, 2));
        if (row[8] == FRAME_DATA && !subject_take(&c, present, &file, records))
            break;
    }
    if (c.bad || cursor_left(&c) > 0)
        return corrupt(dir, "its subjects do not add up", err);
    own_free(dir->subject_at);
    dir->subject_at = TAKE(at);
    dir->subjected = true;
    return true;
}

static bool subjects_load(struct pack_dir *dir, struct io *io, struct err *err)
{
    if (dir->subjected)
        return true;
    {
        AUTO(held) struct held held = hold(dir);
        if (dir->subjects.data || dir->object_bytes == 0)
            return subject_index(dir, err);
    }
    size_t len = dir->subject_part.bytes;
    AUTO(bytes) struct bytes made = {.data = own_realloc(NULL, len, err)};
    if (!made.data || !read_whole(io, &dir->key, made.data, len, dir->subject_part.offset, err))
        return false;
    made.len = made.capacity = len;
    if (format_sum(dir->sum_before_subjects, made.data, len) != dir->sum_with_subjects)
        return corrupt(dir, "its subjects are damaged", err);
    AUTO(held) struct held held = hold(dir);
    if (dir->subjected)
        return true;
    bytes_done(&dir->subjects);
    dir->subjects = made;
    made = (struct bytes){0};
    return subject_index(dir, err);
}

bool pack_dir_subject(struct pack_dir *dir, struct io *io, uint32_t frame, uint64_t *ret_file,
                      uint64_t ret_records[FRAME_ITEMS], uint8_t *ret_count, struct err *err)
{
    struct pack_row row;
    if (!pack_dir_row(dir, frame, &row) || row.kind != FRAME_DATA)
        return err_set(err, ERR_NOT_FOUND, "pack %08x-%04x has no records in frame %u",
                       dir->key.pack, dir->key.generation, frame);
    if (!subjects_load(dir, io, err))
        return false;
    size_t at = dir->subject_at[frame];
    struct cursor c = cursor_over(dir->subjects.data + at, dir->subjects.len - at);
    *ret_count = (uint8_t)__builtin_popcount(row.present);
    return subject_take(&c, *ret_count, ret_file, ret_records) ||
           corrupt(dir, "its subjects do not add up", err);
}

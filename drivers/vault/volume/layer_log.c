/* The presence log: what a layer says of its files and records, as checked records on disk. */
#include "drivers/vault/volume/layer_int.h"
#include <endian.h>
#include <string.h>

static const char magic[8] = "ECLAYER1";

bool log_header(const struct layer *layer, struct bytes *to, struct err *err)
{
    size_t from = to->len;
    return bytes_add(to, magic, sizeof magic, err) && bytes_u32(to, VAULT_VERSION, err) &&
           bytes_u32(to, 0, err) && bytes_u64(to, layer->sequence, err) &&
           bytes_u64(to, format_sum(layer->seed, to->data + from, LOG_HEADER - 8), err);
}

static bool put_record(const struct layer *layer, struct bytes *to, const uint64_t fixed[5],
                       const struct log_pair *pairs, size_t count, struct err *err)
{
    size_t from = to->len;
    size_t bytes = LOG_FIXED + count * sizeof *pairs;
    bool ok = bytes_u32(to, (uint32_t)bytes, err);
    for (int i = 0; ok && i < 5; i++)
        ok = bytes_u64(to, fixed[i], err);
    for (size_t i = 0; ok && i < count; i++)
        ok = bytes_u64(to, pairs[i].record, err) && bytes_u64(to, pairs[i].sum, err);
    return ok && bytes_u32(to, (uint32_t)format_sum(layer->seed, to->data + from, bytes - 4), err);
}

bool log_file(const struct layer *layer, struct bytes *to, const struct lfile *f,
              const struct log_pair *pairs, size_t count, struct err *err)
{
    uint64_t fixed[5] = {f->file, f->sized ? f->size : NONE, f->mtime_us, f->cut, f->trim};
    size_t done = 0;
    do {
        size_t some = count - done < LOG_RECORDS_MAX ? count - done : LOG_RECORDS_MAX;
        if (!put_record(layer, to, fixed, pairs + done, some, err))
            return false;
        fixed[4] = NONE;
        done += some;
    } while (done < count);
    return true;
}

bool log_mark(const struct layer *layer, struct bytes *to, struct err *err)
{
    return put_record(layer, to, (uint64_t[]){NONE, layer->log_synced, 0, 0, NONE}, NULL, 0, err);
}

/* ---- replay ---- */

struct found {
    uint64_t fixed[5]; /* file, size, mtime, cut, trim */
    struct cursor pairs;
    size_t count, bytes;
};

static bool parse(const struct layer *layer, const uint8_t *at, size_t left, struct found *ret)
{
    struct cursor c = cursor_over(at, left);
    uint32_t bytes = cursor_u32(&c);
    if (c.bad || bytes < LOG_FIXED || bytes > left ||
        bytes > LOG_FIXED + LOG_RECORDS_MAX * sizeof(struct log_pair) ||
        (bytes - LOG_FIXED) % sizeof(struct log_pair) != 0)
        return false;
    for (int i = 0; i < 5; i++)
        ret->fixed[i] = cursor_u64(&c);
    ret->bytes = bytes;
    ret->count = (bytes - LOG_FIXED) / sizeof(struct log_pair);
    ret->pairs = cursor_over(cursor_take(&c, bytes - LOG_FIXED), bytes - LOG_FIXED);
    return cursor_u32(&c) == (uint32_t)format_sum(layer->seed, at, bytes - 4);
}

static bool damaged(const struct layer *layer, size_t at, const char *how, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "presence log of layer %llu: %s at byte %zu",
                   (unsigned long long)layer->sequence, how, at);
}

static bool apply(struct layer *layer, struct found *found, struct err *err)
{
    const uint64_t *fixed = found->fixed;
    if (fixed[0] >> FILE_BITS || (fixed[1] != NONE && fixed[1] > UINT64_C(1) << FILE_MAX_SHIFT))
        return false;
    struct lfile *f = layer_file_get(layer, fixed[0], err);
    if (!f || !layer_room(layer, found->count, err))
        return false;
    f->sized = fixed[1] != NONE;
    f->size = f->sized ? fixed[1] : 0;
    f->mtime_us = fixed[2];
    f->cut = fixed[3];
    if (fixed[4] != NONE)
        layer_trim(layer, f, fixed[4]);
    for (size_t i = 0; i < found->count; i++) {
        uint64_t record = cursor_u64(&found->pairs);
        uint64_t sum = cursor_u64(&found->pairs);
        if (record >= RECORDS_MAX)
            return false;
        layer_set(layer, f, record, sum);
        struct presence_cell *cell = presence_find(&layer->cells, cell_key(f->file, record));
        cell->key &= ~(CELL_LOGGED | CELL_DIRTY);
        cell->key |= sum ? CELL_LOGGED : 0;
    }
    f->dirty_count = 0;
    return true;
}

/* What does not check was never promised, unless a mark behind it says that it was on disk. */
static bool tail_is_torn(const struct layer *layer, const uint8_t *bytes, size_t len, size_t end,
                         struct err *err)
{
    for (size_t at = end + 1; at + LOG_FIXED <= len; at++) {
        struct found found;
        uint32_t length;
        uint64_t file;
        memcpy(&length, bytes + at, sizeof length);
        memcpy(&file, bytes + at + 4, sizeof file);
        if (le32toh(length) == LOG_FIXED && file == NONE &&
            parse(layer, bytes + at, len - at, &found) && found.fixed[1] > end &&
            found.fixed[1] <= at)
            return damaged(layer, end, "damage before what was on disk", err);
    }
    return true;
}

bool log_replay(struct layer *layer, const uint8_t *bytes, size_t len, bool clean, struct err *err)
{
    struct cursor c = cursor_over(bytes, len);
    const uint8_t *head = cursor_take(&c, LOG_HEADER - 8);
    uint64_t sum = cursor_u64(&c);
    if (c.bad || memcmp(head, magic, sizeof magic) != 0 ||
        sum != format_sum(layer->seed, head, LOG_HEADER - 8))
        return damaged(layer, 0, "no header", err);
    c = cursor_over(head + sizeof magic, LOG_HEADER - 8 - sizeof magic);
    if (cursor_u32(&c) > VAULT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "a layer of a newer version");
    cursor_u32(&c);
    if (cursor_u64(&c) != layer->sequence)
        return damaged(layer, 0, "another layer's header", err);
    size_t end = LOG_HEADER;
    struct found found;
    for (; parse(layer, bytes + end, len - end, &found); end += found.bytes)
        if (found.fixed[0] != NONE && !apply(layer, &found, err))
            return err->code ? false : damaged(layer, end, "impossible numbers", err);
    /* After an orderly stop only the last mark, which is not synced, may be missing. */
    if (clean && len - end > LOG_FIXED)
        return damaged(layer, end, "damage", err);
    layer->log_end = end;
    return tail_is_torn(layer, bytes, len, end, err);
}

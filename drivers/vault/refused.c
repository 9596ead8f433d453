/* Refused records by path and block: the list says which, the check is asked again why. */
#include "drivers/vault/refused.h"

#include "agent/base/str.h"
#include "drivers/vault/check.h"
#include "drivers/vault/store/bad.h"
#include "drivers/vault/store/listing.h"
#include <inttypes.h>
#include <string.h>

enum { HEAD_RECORDS = 2 };

struct telling {
    struct family *family;
    struct listing listing;
    struct finding finding; /* what all of them share */
    finding_fn *found;
    void *arg;
    uint64_t held; /* the file of which `head` is the beginning */
    bool has_head;
    uint8_t head[HEAD_RECORDS * RECORD_BYTES], bytes[RECORD_BYTES];
};

static void telling_done(struct telling *t) { listing_done(&t->listing); }
OWN_DEFINE_INPLACE(telling, struct telling, telling_done);

bool refused_count(struct family *family, const struct snapshot_row *row, uint64_t *ret_count,
                   struct err *err)
{
    size_t count = 0;
    AUTO(mem)
    struct bad_record *rows = family_bad_records(family, row->volume, row->sequence, &count, err);
    *ret_count = rows ? bad_total(rows, count) : 0;
    return rows != NULL;
}

static const struct listing_file *find_file(const struct telling *t, uint64_t file)
{
    for (size_t i = 0; i < t->listing.count; i++)
        if (t->listing.files[i].inode.file == file)
            return &t->listing.files[i];
    return NULL;
}

/* What cannot be read, or is found good by today's check, is told all the same: it was refused. */
static void ask_again(struct telling *t, const struct listing_file *file, uint64_t record,
                      struct err *why)
{
    const struct inode *inode = &file->inode;
    if (t->held != inode->file) {
        memset(t->head, 0, sizeof t->head);
        t->has_head = family_read(t->family, &inode->root, 0, 1, t->head, why) &&
                      (inode->size <= RECORD_BYTES ||
                       family_read(t->family, &inode->root, 1, 1, t->head + RECORD_BYTES, why));
        t->held = inode->file;
    }
    if (t->has_head && family_read(t->family, &inode->root, record, 1, t->bytes, why) &&
        check_record(NULL, file->path, inode->size, t->head, record, t->bytes, why))
        err_clear(why);
}

static void tell_row(struct telling *t, const struct bad_record *row)
{
    const struct listing_file *file = find_file(t, row->file);
    struct finding finding = t->finding;
    struct err why = {0};
    uint64_t rest = bad_rest(row);
    char text[sizeof why.text];
    finding.path = file ? file->path : NULL;
    finding.first = row->record;
    finding.count = rest ? 0 : 1;
    if (rest)
        IGNORE(str_format(text, sizeof text, "%" PRIu64 " more are not named", rest));
    else if (file)
        ask_again(t, file, row->record, &why);
    finding.text = rest ? text : why.text[0] ? why.text : "the block check refused it";
    t->found(t->arg, &finding);
}

bool refused_tell(struct family *family, const char *volume, const struct snapshot_row *row,
                  finding_fn *found, void *arg, struct err *err)
{
    AUTO(telling)
    struct telling t = {
        .family = family,
        .found = found,
        .arg = arg,
        .finding = {.kind = FINDING_REFUSED, .volume = volume, .snapshot = row->name}};
    size_t count = 0;
    AUTO(mem)
    struct bad_record *rows = family_bad_records(family, row->volume, row->sequence, &count, err);
    if (!rows || count == 0)
        return rows != NULL;
    if (!listing_read(family, &row->table, row->slots, &t.listing, err))
        return false;
    for (size_t i = 0; i < count; i++)
        tell_row(&t, &rows[i]);
    return true;
}

/* What a file is, by its content: the first question about everything found in an area. */
#include "agent/oracle/identify.h"

#include "agent/base/str.h"
#include "agent/oracle/bytes.h"
#include "agent/oracle/datafile.h"
#include "agent/oracle/redo.h"
#include <ctype.h>

enum {
    KCBH_DATAFILE = 0x0b, /* block 1 of real datafiles, control files and spfiles */
    KCBH_CONTROLFILE = 0x15,
    KCBH_SPFILE = 0x43,
    FORMAT_512 = 0x22,
    FLAG_CHECKSUM = 0x04,
    PASSWORD_WITHIN = 1024,
    DUMP_WITHIN = 4096,
};

struct head {
    const uint8_t *bytes;
    size_t len;
    struct block_zero zero;
    const uint8_t *one; /* block 1, whole */
    struct manifest_entry *entry;
};

static void decide(struct manifest_entry *entry, enum file_kind kind, enum file_state state,
                   const char *why)
{
    entry->kind = kind;
    entry->state = state;
    str_copy(entry->why, sizeof entry->why, why);
}

/* The spfile has no block 0: a parameter block comes first. Bytes 0..17 seen in a 19c one. */
static bool is_spfile(const struct head *h)
{
    static const uint8_t little[8] = {KCBH_SPFILE, FORMAT_512, 0, 0, 1, 0, 0, 0};
    static const uint8_t big[8] = {KCBH_SPFILE, FORMAT_512, 0, 0, 0, 0, 0, 1};
    if (h->len < sizeof little)
        return false;
    bool is_big = memcmp(h->bytes, big, sizeof big) == 0;
    if (!is_big && memcmp(h->bytes, little, sizeof little) != 0)
        return false;
    h->entry->order = is_big ? ORDER_BIG : ORDER_LITTLE;
    h->entry->block_size = BLOCK_SIZE_MIN;
    if (h->len < BLOCK_SIZE_MIN || h->entry->size % BLOCK_SIZE_MIN != 0)
        decide(h->entry, FILE_SPFILE, STATE_TRUNCATED, "it ends inside a block");
    else if ((h->bytes[15] & FLAG_CHECKSUM) && block_fold(h->bytes, BLOCK_SIZE_MIN) != 0)
        decide(h->entry, FILE_SPFILE, STATE_DAMAGED, "its first block is damaged: checksum wrong");
    else
        decide(h->entry, FILE_SPFILE, STATE_GOOD, "");
    return true;
}

static bool is_password_file(const struct head *h)
{
    size_t len = h->len < PASSWORD_WITHIN ? h->len : PASSWORD_WITHIN;
    if (bytes_find(h->bytes, len, "ORACLE Remote Password file") < 0)
        return false;
    decide(h->entry, FILE_PASSWORD, STATE_GOOD, "");
    return true;
}

/* "11.02.00.04.00": the release, as Data Pump writes it. */
static bool has_release_text(const uint8_t *bytes, size_t len)
{
    enum { PARTS = 5, TEXT = 14 };
    for (size_t i = 0; i + TEXT <= len; i++) {
        size_t n = 0;
        while (n < TEXT && (n % 3 == 2 ? bytes[i + n] == '.' : isdigit(bytes[i + n]) != 0))
            n++;
        if (n == TEXT)
            return true;
    }
    return false;
}

/* Data Pump: version first, high byte first (03 01 = 3.1, 11.2), then the job's quoted name. */
static bool is_dump(const struct head *h)
{
    size_t len = h->len < DUMP_WITHIN ? h->len : DUMP_WITHIN;
    if (len < 2 || h->bytes[0] < 1 || h->bytes[0] > 9 || h->bytes[1] > 9)
        return false;
    bool quoted = bytes_find(h->bytes, len, "\".\"") >= 0;
    if (!quoted || (bytes_find(h->bytes, len, "\".\"SYS_") < 0 && !has_release_text(h->bytes, len)))
        return false;
    decide(h->entry, FILE_DUMP, STATE_GOOD, "");
    return true;
}

/* exp: 03, two bytes of character set, then the word. */
static bool is_exp_dump(const struct head *h)
{
    size_t len = h->len < 32 ? h->len : 32;
    ptrdiff_t at = bytes_find(h->bytes, len, "EXPORT:V");
    if (len < 3 || h->bytes[0] != 0x03 || at < 3 || at > 5)
        return false;
    decide(h->entry, FILE_EXP_DUMP, STATE_GOOD, "");
    return true;
}

/* No control signs; bytes above 0x7f may be any character set, but not the most of it. */
static bool is_text(const struct head *h)
{
    size_t high = 0;
    for (size_t i = 0; i < h->len; i++) {
        uint8_t c = h->bytes[i];
        bool blank = (c >= '\t' && c <= '\r') || c == 0x1b || c == '\b';
        if ((c < 0x20 && !blank) || c == 0x7f)
            return false;
        high += c > 0x7f;
    }
    bool utf8 = h->len < h->entry->size || str_is_utf8((const char *)h->bytes, h->len);
    if (high > h->len / 4 && !utf8)
        return false;
    decide(h->entry, FILE_TEXT, STATE_OTHER, "");
    return true;
}

/* Kinds that share the header at 20 and are only named, with size and checksum looked at. */
static const struct {
    enum file_type type;
    enum file_kind kind;
} plain_kinds[] = {
    {TYPE_CONTROLFILE, FILE_CONTROLFILE},   {TYPE_BACKUP_CONTROLFILE, FILE_CONTROLFILE},
    {TYPE_BACKUP_PIECE, FILE_BACKUP_PIECE}, {TYPE_TEMPFILE, FILE_TEMPFILE},
    {TYPE_TRACKING, FILE_TRACKING},         {TYPE_FLASHBACK_LOG, FILE_FLASHBACK_LOG},
};

static enum file_kind plain_kind(uint16_t type)
{
    for (size_t i = 0; i < sizeof plain_kinds / sizeof *plain_kinds; i++)
        if (plain_kinds[i].type == type)
            return plain_kinds[i].kind;
    return FILE_UNKNOWN;
}

static void check_plain(struct head *h, enum file_kind kind)
{
    struct manifest_entry *entry = h->entry;
    struct file_header file;
    file_header_read(h->one + FILE_HEADER_AT, h->zero.order, &file);
    entry->kind = kind;
    entry->compatible = file.compatible;
    entry->dbid = file.dbid;
    str_copy(entry->db_name, sizeof entry->db_name, file.db_name);
    str_copy(entry->datafile.tag, sizeof entry->datafile.tag, file.tag);
    entry->datafile.type = file.type;
    entry->datafile.file_no = file.file_no;
    if ((h->one[15] & FLAG_CHECKSUM) && block_fold(h->one, h->zero.block_size) != 0)
        decide(entry, kind, STATE_DAMAGED, "its header block is damaged: checksum wrong");
    else if (file.block_size != h->zero.block_size)
        decide(entry, kind, STATE_DAMAGED, "block size in the header differs from block 0");
    else
        manifest_entry_check_size(entry);
}

/* Block 1 is there whole and block 0 can be trusted for size and order. */
static void judge_by_block_one(struct head *h)
{
    struct file_header file;
    file_header_read(h->one + FILE_HEADER_AT, h->zero.order, &file);
    enum file_kind kind = plain_kind(file.type);
    if (bytes_are_zero(h->one, h->zero.block_size))
        decide(h->entry, FILE_UNKNOWN, STATE_IN_FLIGHT, "its header block is not written yet");
    else if (redo_header_fits(h->one, &h->zero))
        redo_header_check(h->one, &h->zero, h->entry);
    else if (kind != FILE_UNKNOWN)
        check_plain(h, kind);
    else if (h->one[0] == KCBH_DATAFILE)
        datafile_header_check(h->one, &h->zero, h->entry);
    else
        decide(h->entry, FILE_UNKNOWN, STATE_DAMAGED,
               "an Oracle file whose header block is damaged or of no known kind");
}

static void judge_oracle_file(struct head *h)
{
    struct manifest_entry *entry = h->entry;
    uint32_t size = h->zero.block_size;
    entry->order = h->zero.order;
    entry->block_size = size;
    entry->blocks = h->zero.blocks;
    if (h->len < 2 * (size_t)size) {
        bool cut = entry->size < 2 * (uint64_t)size;
        decide(entry, FILE_UNKNOWN, cut ? STATE_IN_FLIGHT : STATE_UNREADABLE,
               cut ? "it ends before its header: still being written or cut"
                   : "too little of its beginning could be read");
        return;
    }
    h->one = h->bytes + size;
    judge_by_block_one(h);
    if (entry->state != STATE_DAMAGED && !block_zero_is_intact(h->bytes, &h->zero)) {
        entry->state = STATE_DAMAGED;
        str_copy(entry->why, sizeof entry->why, "block 0 is damaged: checksum or address wrong");
    }
}

/* A damaged block 0 hides size and order: a sound datafile or log header at one of the possible
 * places tells what the file was. Oracle will not open it before block 0 is repaired. */
static bool has_lost_block_zero(struct head *h)
{
    for (uint32_t size = BLOCK_SIZE_MIN; size <= BLOCK_SIZE_MAX; size *= 2) {
        if (h->len < 2 * (size_t)size)
            return false;
        const uint8_t *one = h->bytes + size;
        for (enum byte_order order = ORDER_LITTLE; order <= ORDER_BIG; order++) {
            struct block_zero zero = {order, size, 0};
            bool log = redo_header_fits(one, &zero) && bytes_u4(one + 4, order) == 1;
            bool data = one[0] == KCBH_DATAFILE && one[1] == block_size_code(size);
            if ((!log && !data) || block_fold(one, size) != 0)
                continue;
            struct file_header file;
            file_header_read(one + (log ? FILE_HEADER_AT_REDO : FILE_HEADER_AT), order, &file);
            if (file.block_size != size)
                continue;
            zero.blocks = file.blocks;
            if (log)
                redo_header_check(one, &zero, h->entry);
            else
                datafile_header_check(one, &zero, h->entry);
            h->entry->state = STATE_DAMAGED;
            str_copy(h->entry->why, sizeof h->entry->why, "block 0 is damaged or missing");
            return true;
        }
    }
    return false;
}

static void judge_content(struct head *h)
{
    struct manifest_entry *entry = h->entry;
    if (entry->size == 0) {
        decide(entry, FILE_EMPTY, STATE_OTHER, "it is empty");
        return;
    }
    if (h->len == 0) {
        decide(entry, FILE_UNKNOWN, STATE_UNREADABLE, "nothing of it could be read");
        return;
    }
    switch (block_zero_read(h->bytes, h->len, &h->zero)) {
    case BLOCK_ZERO_GOOD:
        judge_oracle_file(h);
        return;
    case BLOCK_ZERO_INCONSISTENT:
        if (!has_lost_block_zero(h))
            decide(entry, FILE_UNKNOWN, STATE_DAMAGED, "block 0 is damaged");
        return;
    default:
        break;
    }
    if (is_spfile(h) || is_password_file(h) || is_exp_dump(h) || is_dump(h) || is_text(h))
        return;
    if (block_zero_read(h->bytes, h->len, &h->zero) == BLOCK_ZERO_OLD)
        decide(entry, FILE_OLD_ORACLE, STATE_UNUSABLE, "made before Oracle 10g: not supported");
    else if (bytes_are_zero(h->bytes, h->len))
        decide(entry, FILE_UNKNOWN, STATE_IN_FLIGHT, "nothing but zeros so far: not written yet");
    else if (!has_lost_block_zero(h))
        decide(entry, FILE_UNKNOWN, STATE_OTHER, "no Oracle file");
}

void oracle_identify(const uint8_t *head, size_t head_len, uint64_t file_size, const char *path,
                     struct manifest_entry *ret_entry)
{
    struct head h = {.bytes = head, .entry = ret_entry};
    h.len = head_len < file_size ? head_len : (size_t)file_size;
    ret_entry->size = file_size;
    judge_content(&h);
    const char *slash = path ? strrchr(path, '/') : NULL;
    const char *name = slash ? slash + 1 : path;
    /* dNFS writes under a dot name and renames when done; a leftover of that kind never counts. */
    if (name && name[0] == '.' && ret_entry->kind != FILE_TEXT) {
        ret_entry->state = STATE_IN_FLIGHT;
        str_copy(ret_entry->why, sizeof ret_entry->why,
                 "its name begins with a dot: still being written, or left over from that");
    }
}

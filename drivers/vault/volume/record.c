/* Records of a volume's journal: one table says which field goes into which kind, in what order. */
#include "drivers/vault/volume/record.h"
#include <string.h>

enum field_type { U8, U16, U32, U64, TEXT, BOOT, MEMBERS };

#define IN(kind) (1u << RECORD_##kind)
#define NAMES (IN(CREATE) | IN(REMOVE) | IN(RENAME) | IN(LINK))
#define ASKED (NAMES | IN(ATTRIBUTES) | IN(ANSWER))
#define ROW(type, member, kinds)                                                                   \
    {                                                                                              \
        offsetof(struct record, member), type, kinds                                               \
    }

/* The order of this table is the format (README.md). */
static const struct {
    size_t at;
    enum field_type type;
    uint32_t kinds;
} fields[] = {
    ROW(U64, client, ASKED),
    ROW(U32, xid, ASKED),
    ROW(U64, sum, ASKED),
    ROW(U8, asked, IN(ANSWER)),
    ROW(U64, time_us, NAMES | IN(ATTRIBUTES) | IN(FACTS) | IN(SNAPSHOT)),
    ROW(U64, sequence,
        IN(FACTS) | IN(LAYER) | IN(SWAP) | IN(SNAPSHOT) | IN(DELETED) | IN(SEALED) | IN(LOCKED)),
    ROW(U64, next, IN(SWAP)),
    ROW(U64, id, IN(SNAPSHOT) | IN(WHOLE)),
    ROW(U64, volume, IN(FACTS) | IN(SNAPSHOT)),
    ROW(U64, family, IN(FACTS)),
    ROW(U8, clone, IN(FACTS)),
    ROW(U8, mapped, IN(FACTS)),
    ROW(U64, file, ASKED | IN(PART)),
    ROW(U64, folder, NAMES),
    ROW(U64, to_folder, IN(RENAME)),
    ROW(U64, replaced, IN(RENAME)),
    ROW(U64, below, IN(PART) | IN(LINK)),
    ROW(U64, size, IN(CREATE) | IN(PART)),
    ROW(U8, source, IN(PART)),
    ROW(U8, file_kind, IN(CREATE)),
    ROW(U8, mask, IN(ATTRIBUTES)),
    ROW(U16, mode, IN(CREATE) | IN(ATTRIBUTES)),
    ROW(U32, uid, IN(CREATE) | IN(ATTRIBUTES)),
    ROW(U32, gid, IN(CREATE) | IN(ATTRIBUTES)),
    ROW(U64, mtime_us, IN(CREATE) | IN(ATTRIBUTES) | IN(PART)),
    ROW(U64, atime_us, IN(CREATE) | IN(ATTRIBUTES)),
    ROW(U64, remaining_ms, IN(LOCKED)),
    ROW(U64, until_boot_ms, IN(LOCKED)),
    ROW(BOOT, boot_id, IN(LOCKED)),
    ROW(TEXT, name, IN(FACTS) | IN(SNAPSHOT) | IN(CREATE) | IN(RENAME) | IN(LINK)),
    ROW(TEXT, origin, IN(FACTS)),
    ROW(MEMBERS, member_count, IN(FACTS) | IN(SNAPSHOT)),
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static bool members_encode(const struct record *record, struct bytes *to, struct err *err)
{
    bool ok = bytes_u8(to, record->member_count, err);
    for (uint8_t i = 0; ok && i < record->member_count; i++)
        ok = bytes_u64(to, record->members[i].volume, err) &&
             bytes_u64(to, record->members[i].sequence, err);
    return ok;
}

bool record_encode(const struct record *record, struct bytes *to, struct err *err)
{
    const char *base = (const char *)record;
    bool ok = true;
    for (size_t i = 0; ok && i < FIELDS; i++) {
        const void *at = base + fields[i].at;
        if (!(fields[i].kinds & 1u << record->kind))
            continue;
        switch (fields[i].type) {
        case U8:
            ok = bytes_u8(to, *(const uint8_t *)at, err);
            break;
        case U16:
            ok = bytes_u16(to, *(const uint16_t *)at, err);
            break;
        case U32:
            ok = bytes_u32(to, *(const uint32_t *)at, err);
            break;
        case U64:
            ok = bytes_u64(to, *(const uint64_t *)at, err);
            break;
        case TEXT:
        case BOOT:
            ok = bytes_text(to, at, err);
            break;
        case MEMBERS:
            ok = members_encode(record, to, err);
            break;
        }
    }
    return ok;
}

static void members_decode(struct cursor *c, struct record *record)
{
    record->member_count = cursor_u8(c);
    c->bad |= record->member_count > RECORD_MEMBERS_MAX;
    for (uint8_t i = 0; !c->bad && i < record->member_count; i++) {
        record->members[i].volume = cursor_u64(c);
        record->members[i].sequence = cursor_u64(c);
    }
}

bool record_decode(uint8_t kind, struct cursor *c, struct record *ret, struct err *err)
{
    if (kind == 0 || kind >= RECORD_KINDS)
        return err_set(err, ERR_CORRUPT, "a journal's record is of kind %u", kind);
    *ret = (struct record){.kind = kind};
    char *base = (char *)ret;
    for (size_t i = 0; i < FIELDS; i++) {
        void *at = base + fields[i].at;
        if (!(fields[i].kinds & 1u << kind))
            continue;
        switch (fields[i].type) {
        case U8:
            *(uint8_t *)at = cursor_u8(c);
            break;
        case U16:
            *(uint16_t *)at = cursor_u16(c);
            break;
        case U32:
            *(uint32_t *)at = cursor_u32(c);
            break;
        case U64:
            *(uint64_t *)at = cursor_u64(c);
            break;
        case TEXT:
            IGNORE(cursor_text(c, at, RECORD_TEXT_MAX)); /* the cursor remembers */
            break;
        case BOOT:
            IGNORE(cursor_text(c, at, sizeof ret->boot_id));
            break;
        case MEMBERS:
            members_decode(c, ret);
            break;
        }
    }
    if (c->bad || cursor_left(c) > 0)
        return err_set(err, ERR_CORRUPT, "a journal's record of kind %u makes no sense", kind);
    return true;
}

bool record_append(struct bytes *list, const struct record *record, struct err *err)
{
    AUTO(bytes) struct bytes one = {0};
    return record_encode(record, &one, err) && bytes_varint(list, one.len, err) &&
           bytes_u8(list, record->kind, err) && bytes_add(list, one.data, one.len, err);
}

bool record_walk(const void *list, size_t len, record_each *fn, void *arg, struct err *err)
{
    struct cursor c = cursor_over(list, len);
    while (cursor_left(&c) > 0) {
        uint64_t bytes = cursor_varint(&c);
        uint8_t kind = cursor_u8(&c);
        const uint8_t *at = bytes <= cursor_left(&c) ? cursor_take(&c, (size_t)bytes) : NULL;
        if (c.bad || !at)
            return err_set(err, ERR_CORRUPT, "a list of a journal's records makes no sense");
        struct cursor payload = cursor_over(at, (size_t)bytes);
        struct record record;
        if (!record_decode(kind, &payload, &record, err) || !fn(arg, &record, err))
            return false;
    }
    return true;
}

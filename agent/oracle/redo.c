/* Redo logs: the header, and the full check that decides whether an archived log counts. */
#include "agent/oracle/redo.h"

#include "agent/base/str.h"
#include "agent/oracle/bytes.h"
#include <assert.h>
#include <inttypes.h>

/* Offsets in a block's 16-byte header and in block 1: a real 11.2.0.4 online log; names and big
 * endian from OpenLogReplicator and oracdc. */
enum {
    BLOCK_NUMBER = 4,
    BLOCK_SEQUENCE = 8,
    BLOCK_FIRST_RECORD = 12,
    BLOCK_CHECKSUM = 14,
    BLOCK_TYPE = 0x01,
    CODE_512 = 0x22,
    AT_DESCRIPTION = 92,
    AT_NEXT_BLOCK = 156,
    AT_RESETLOGS_ID = 160,
    AT_RESETLOGS_SCN = 164,
    AT_THREAD = 176,
    AT_FIRST_SCN = 180,
    AT_FIRST_TIME = 188,
    AT_NEXT_SCN = 192,
    AT_NEXT_TIME = 200,
    AT_END_OF_THREAD = 204,
    AT_ENABLED_SCN = 208,
    AT_CLOSED_SCN = 220,
    AT_FLAGS = 236,
    AT_PRIOR_RESETLOGS_SCN = 284,
    AT_PRIOR_RESETLOGS_ID = 292,
    DESCRIPTION_BYTES = 64,
};

/* Record header at the start of a block, offsets in the block (OpenLogReplicator). */
enum {
    RECORD_AT = 16,
    RECORD_FLAGS = 20,
    RECORD_LWN_START = 0x04,
    RECORD_LWN_BLOCKS = 44,
    RECORD_LWN_SCN = 56,
    RECORD_LWN_TIME = 80,
    RECORD_LWN_BYTES = 68,
};

static const char *const fault_texts[REDO_FAULT_COUNT] = {
    [REDO_FAULT_NONE] = "good",
    [REDO_FAULT_ZERO] = "not written",
    [REDO_FAULT_FORMAT] = "no redo block",
    [REDO_FAULT_NUMBER] = "carries another block's number",
    [REDO_FAULT_SEQUENCE] = "old content of another sequence",
    [REDO_FAULT_CHECKSUM] = "checksum wrong",
};

void redo_header_read(const uint8_t *block, enum byte_order order, struct redo_header *ret_header)
{
    struct redo_header h = {
        .sequence = bytes_u4(block + BLOCK_SEQUENCE, order),
        .next_block = bytes_u4(block + AT_NEXT_BLOCK, order),
        .resetlogs_id = bytes_u4(block + AT_RESETLOGS_ID, order),
        .resetlogs_scn = scn_read(block + AT_RESETLOGS_SCN, order),
        .prior_resetlogs_id = bytes_u4(block + AT_PRIOR_RESETLOGS_ID, order),
        .prior_resetlogs_scn = scn_read(block + AT_PRIOR_RESETLOGS_SCN, order),
        .thread = bytes_u2(block + AT_THREAD, order),
        .first_scn = scn_read(block + AT_FIRST_SCN, order),
        .first_time = bytes_u4(block + AT_FIRST_TIME, order),
        .next_scn = scn_read(block + AT_NEXT_SCN, order),
        .next_time = bytes_u4(block + AT_NEXT_TIME, order),
        .end_of_thread = block[AT_END_OF_THREAD] != 0,
        .enabled_scn = scn_read(block + AT_ENABLED_SCN, order),
        .closed_scn = scn_read(block + AT_CLOSED_SCN, order),
        .flags = bytes_u4(block + AT_FLAGS, order),
    };
    file_header_read(block + FILE_HEADER_AT_REDO, order, &h.file);
    bytes_name(block + AT_DESCRIPTION, DESCRIPTION_BYTES, h.description);
    *ret_header = h;
}

static bool is_log_type(uint16_t type)
{
    return type == TYPE_LOG || type == TYPE_ARCHIVED_LOG || type == TYPE_FOREIGN_LOG;
}

static bool is_log_block_size(uint32_t block_size)
{
    return block_size == 512 || block_size == 1024 || block_size == 4096;
}

static bool code_fits(uint8_t code, uint32_t block_size)
{
    return code == block_size_code(block_size) || (block_size == 1024 && code == CODE_512);
}

bool redo_header_fits(const uint8_t *block, const struct block_zero *zero)
{
    struct file_header h;
    file_header_read(block + FILE_HEADER_AT_REDO, zero->order, &h);
    return is_log_block_size(zero->block_size) && block[0] == BLOCK_TYPE && is_log_type(h.type);
}

/* NONE also for a block without checksum; *ret_unverifiable tells the two apart. */
static enum redo_fault judge_block(const uint8_t *block, const struct block_zero *zero,
                                   uint64_t block_no, uint32_t sequence, bool *ret_unverifiable)
{
    *ret_unverifiable = false;
    if (block[0] == 0 && block[1] == 0)
        return REDO_FAULT_ZERO;
    if (block[0] != BLOCK_TYPE || !code_fits(block[1], zero->block_size))
        return REDO_FAULT_FORMAT;
    if (bytes_u4(block + BLOCK_SEQUENCE, zero->order) != sequence)
        return REDO_FAULT_SEQUENCE;
    if (bytes_u4(block + BLOCK_NUMBER, zero->order) != block_no)
        return REDO_FAULT_NUMBER;
    if (block_fold(block, zero->block_size) == 0)
        return REDO_FAULT_NONE;
    /* Absent with DB_BLOCK_CHECKSUM=OFF: then the field is 0. */
    *ret_unverifiable = block[BLOCK_CHECKSUM] == 0 && block[BLOCK_CHECKSUM + 1] == 0;
    return *ret_unverifiable ? REDO_FAULT_NONE : REDO_FAULT_CHECKSUM;
}

static void fill(struct manifest_entry *entry, const struct redo_header *h)
{
    entry->compatible = h->file.compatible;
    entry->dbid = h->file.dbid;
    entry->resetlogs_id = h->resetlogs_id;
    entry->resetlogs_scn = h->resetlogs_scn;
    entry->prior_resetlogs_id = h->prior_resetlogs_id;
    entry->prior_resetlogs_scn = h->prior_resetlogs_scn;
    entry->log.thread = h->thread;
    entry->log.sequence = h->sequence;
    entry->log.activation = h->file.activation;
    entry->log.first_scn = h->first_scn;
    entry->log.next_scn = h->next_scn;
    entry->log.first_time = h->first_time;
    entry->log.next_time = h->next_time;
    entry->log.end_of_thread = h->end_of_thread;
    str_copy(entry->db_name, sizeof entry->db_name, h->file.db_name);
}

static void decide(struct manifest_entry *entry, enum file_state state, const char *why)
{
    entry->state = state;
    str_copy(entry->why, sizeof entry->why, why);
}

/* An archived log is cut to what was used; a file of the full allocated size that was not full is a
 * group's member, whose blocks behind the end are those of older logs. */
static bool is_group_member(const struct redo_header *h, const struct block_zero *zero)
{
    return h->file.blocks == zero->blocks && h->next_block <= zero->blocks;
}

/* The header's own story, once the block itself is sound. */
static void judge_header(const struct redo_header *h, const struct block_zero *zero,
                         struct manifest_entry *entry)
{
    entry->state = STATE_GOOD;
    bool open = scn_is_none(h->next_scn) || h->next_block == UINT32_MAX;
    bool online = open || h->file.compatible == 0 || is_group_member(h, zero);
    entry->kind = online ? FILE_ONLINE_LOG : FILE_ARCHIVED_LOG;
    if (h->file.compatible == 0)
        decide(entry, STATE_OPEN, "a log that was never used");
    else if (open)
        decide(entry, STATE_OPEN, "the log is not closed: it has no next SCN or no end");
    else if (h->file.type == TYPE_FOREIGN_LOG)
        decide(entry, STATE_FOREIGN, "a foreign archived log (file type 12)");
    else if (h->file.block_size != zero->block_size)
        decide(entry, STATE_DAMAGED, "block size in the header differs from block 0");
    else if (h->next_block < 2 || h->next_block > (uint64_t)zero->blocks + 1)
        decide(entry, STATE_DAMAGED, "the log's end lies outside the file's blocks");
    else if (h->thread == 0 || h->sequence == 0)
        decide(entry, STATE_DAMAGED, "thread or sequence in the header is 0");
    else if (scn_less(h->next_scn, h->first_scn))
        decide(entry, STATE_DAMAGED, "next SCN is lower than first SCN");
    else if (is_group_member(h, zero))
        decide(entry, STATE_OPEN, "an online log's own file, not an archived copy");
    else
        manifest_entry_check_size(entry);
}

void redo_header_check(const uint8_t *block, const struct block_zero *zero,
                       struct manifest_entry *entry)
{
    entry->order = zero->order;
    entry->block_size = zero->block_size;
    entry->blocks = zero->blocks;
    entry->kind = FILE_ARCHIVED_LOG;
    if (bytes_are_zero(block, REDO_HEADER_BYTES)) {
        decide(entry, STATE_IN_FLIGHT, "its header block is not written yet");
        return;
    }
    struct redo_header h;
    redo_header_read(block, zero->order, &h);
    fill(entry, &h);
    bool unverifiable;
    enum redo_fault fault = judge_block(block, zero, 1, h.sequence, &unverifiable);
    if (fault != REDO_FAULT_NONE || !is_log_type(h.file.type)) {
        entry->state = STATE_DAMAGED;
        str_format(entry->why, sizeof entry->why, "its header block is damaged: %s",
                   fault != REDO_FAULT_NONE ? fault_texts[fault] : "type wrong");
        return;
    }
    judge_header(&h, zero, entry);
}

void redo_check_init(struct redo_check *check, uint64_t file_size)
{
    memset(check, 0, sizeof *check);
    check->file_size = file_size;
    check->moment_stride = 1;
    check->entry.size = file_size;
}

/* Nothing after this is looked at; finish tells state and why. */
static void refuse(struct redo_check *check, enum file_state state, const char *why)
{
    check->refused = true;
    decide(&check->entry, state, why);
}

static void take_zero(struct redo_check *check, const uint8_t *block)
{
    enum block_zero_verdict verdict = block_zero_read(block, BLOCK_SIZE_MIN, &check->zero);
    check->knows_zero = verdict == BLOCK_ZERO_GOOD;
    if (verdict == BLOCK_ZERO_ABSENT && bytes_are_zero(block, BLOCK_SIZE_MIN))
        refuse(check, STATE_IN_FLIGHT, "its first block is not written yet");
    else if (verdict == BLOCK_ZERO_OLD)
        refuse(check, STATE_UNUSABLE, "made before Oracle 10g: not supported");
    else if (verdict == BLOCK_ZERO_INCONSISTENT)
        refuse(check, STATE_DAMAGED, "block 0 is damaged: size and size code disagree");
    else if (verdict == BLOCK_ZERO_ABSENT || !is_log_block_size(check->zero.block_size))
        refuse(check, STATE_OTHER, "not a redo log");
}

static void take_header(struct redo_check *check, const uint8_t *block)
{
    struct redo_header h;
    redo_header_read(block, check->zero.order, &h);
    redo_header_check(block, &check->zero, &check->entry);
    check->knows_header = true;
    /* A log that is short or in doubt is still read to its end, for the moments. */
    if (check->entry.state == STATE_DAMAGED || h.next_block == UINT32_MAX)
        check->refused = true;
    bool unverifiable;
    IGNORE(judge_block(block, &check->zero, 1, h.sequence, &unverifiable)); /* judged above */
    check->unverifiable += unverifiable;
    check->sequence = h.sequence;
    check->first_scn = h.first_scn;
    check->next_scn = h.next_scn;
    check->end_block = h.next_block;
}

/* Keeps every stride-th moment; when full, every second one goes and the stride doubles. */
static void keep_moment(struct redo_check *check, struct log_moment moment)
{
    check->last_moment = moment;
    if (check->on_moment)
        check->on_moment(check->arg, &moment);
    bool due = check->moments_seen++ % check->moment_stride == 0;
    if (!due)
        return;
    if (check->moment_count == REDO_MOMENTS_MAX - 1) {
        size_t kept = 0;
        for (size_t i = 0; i < check->moment_count; i += 2)
            check->moments[kept++] = check->moments[i];
        check->moment_count = kept;
        check->moment_stride *= 2;
        if ((check->moments_seen - 1) % check->moment_stride != 0)
            return;
    }
    check->moments[check->moment_count++] = moment;
}

/* A log write begins with a record at the block's start; whatever does not fit is no such record.
 */
static void look_for_moment(struct redo_check *check, const uint8_t *block)
{
    enum byte_order order = check->zero.order;
    if (!(block[RECORD_FLAGS] & RECORD_LWN_START) ||
        (bytes_u2(block + BLOCK_FIRST_RECORD, order) & 0x7fff) != RECORD_AT ||
        bytes_u4(block + RECORD_AT, order) < RECORD_LWN_BYTES)
        return;
    struct log_moment moment = {scn_read(block + RECORD_LWN_SCN, order),
                                bytes_u4(block + RECORD_LWN_TIME, order)};
    uint64_t blocks = bytes_u4(block + RECORD_LWN_BLOCKS, order);
    struct header_time ignored;
    bool ordered = check->moments_seen == 0 || scn_less(check->last_moment.scn, moment.scn);
    if (ordered && blocks >= 1 && blocks <= check->end_block - check->block_no &&
        !scn_less(moment.scn, check->first_scn) && scn_less(moment.scn, check->next_scn) &&
        header_time_read(moment.time, &ignored))
        keep_moment(check, moment);
}

static void take_block(struct redo_check *check, const uint8_t *block)
{
    uint64_t block_no = check->block_no;
    if (block_no >= check->end_block)
        return;
    bool unverifiable;
    enum redo_fault fault =
        judge_block(block, &check->zero, block_no, check->sequence, &unverifiable);
    check->unverifiable += unverifiable;
    if (fault == REDO_FAULT_NONE) {
        look_for_moment(check, block);
        return;
    }
    if (check->bad++ == 0) {
        check->first_bad = block_no;
        check->first_fault = fault;
    }
    check->mixed_faults |= fault != check->first_fault;
}

static void take(struct redo_check *check, const uint8_t *block)
{
    if (check->refused)
        return;
    if (check->block_no == 0) {
        if (!block_zero_is_intact(block, &check->zero))
            refuse(check, STATE_DAMAGED, "block 0 is damaged: checksum wrong");
    } else if (check->block_no == 1) {
        take_header(check, block);
    } else {
        take_block(check, block);
    }
    check->block_no++;
}

/* Adds to the carry until it holds wanted bytes; returns what was used. */
static size_t carry_until(struct redo_check *check, const uint8_t *bytes, size_t len, size_t wanted)
{
    size_t n = wanted > check->carried ? wanted - check->carried : 0;
    if (n > len)
        n = len;
    memcpy(check->carry + check->carried, bytes, n);
    check->carried += n;
    return n;
}

void redo_check_feed(struct redo_check *check, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    check->fed += len;
    while (len && !check->refused) {
        size_t size = check->knows_zero ? check->zero.block_size : BLOCK_SIZE_MIN;
        size_t used = size;
        if (check->carried == 0 && check->knows_zero && len >= size) {
            take(check, at);
        } else {
            used = carry_until(check, at, len, size);
            if (check->carried < size)
                return;
            if (!check->knows_zero)
                take_zero(check, check->carry);
            if (check->knows_zero && check->carried == check->zero.block_size) {
                take(check, check->carry);
                check->carried = 0;
            }
        }
        at += used;
        len -= used;
    }
}

/* Blocks that are all of one sort up to the end are a tail nobody has written yet. */
static void judge_blocks(struct redo_check *check)
{
    struct manifest_entry *e = &check->entry;
    uint64_t end = check->block_no < check->end_block ? check->block_no : check->end_block;
    if (check->bad == 0)
        return;
    bool tail =
        !check->mixed_faults && check->bad == end - check->first_bad &&
        (check->first_fault == REDO_FAULT_ZERO || check->first_fault == REDO_FAULT_SEQUENCE);
    e->state = tail ? STATE_IN_FLIGHT : STATE_DAMAGED;
    if (tail)
        str_format(e->why, sizeof e->why, "still being written: from block %" PRIu64 " on %s",
                   check->first_bad, fault_texts[check->first_fault]);
    else
        str_format(e->why, sizeof e->why,
                   "block %" PRIu64 " is damaged: %s (%" PRIu64 " bad in all)", check->first_bad,
                   fault_texts[check->first_fault], check->bad);
}

static void judge_end(struct redo_check *check)
{
    struct manifest_entry *e = &check->entry;
    if (!check->knows_header && !check->refused) {
        e->kind = check->knows_zero ? FILE_ARCHIVED_LOG : FILE_UNKNOWN;
        decide(e, check->file_size ? STATE_IN_FLIGHT : STATE_OTHER,
               check->file_size ? "it ends before its header: still being written or cut"
                                : "it is empty");
        return;
    }
    bool whole = e->state == STATE_GOOD;
    if (whole || e->state == STATE_IN_FLIGHT || e->state == STATE_TRUNCATED)
        judge_blocks(check);
    if (whole && check->fed != check->file_size)
        decide(e, STATE_IN_FLIGHT, "its size changed while it was read");
}

static bool give_moments(struct redo_check *check, struct manifest_entry *entry, struct err *err)
{
    size_t count = check->moment_count;
    if (count && check->moments[count - 1].scn.n != check->last_moment.scn.n) {
        assert(count < REDO_MOMENTS_MAX);
        check->moments[count++] = check->last_moment;
    }
    if (!count)
        return true;
    entry->log.moments = own_alloc(count * sizeof *entry->log.moments, err);
    if (!entry->log.moments)
        return err_wrap(err, "keep the moments of a log");
    memcpy(entry->log.moments, check->moments, count * sizeof *entry->log.moments);
    entry->log.moment_count = count;
    return true;
}

bool redo_check_finish(struct redo_check *check, struct manifest_entry *entry, struct err *err)
{
    judge_end(check);
    struct manifest_entry found = check->entry;
    found.log.unverifiable = check->unverifiable;
    if (!give_moments(check, &found, err))
        return false;
    found.path = TAKE(entry->path);
    found.mtime_us = entry->mtime_us;
    manifest_entry_done(entry);
    *entry = found;
    return true;
}

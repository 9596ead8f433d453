/* A volume's journal: records appended under one lock, syncs shared, a torn tail told from damage.
 */
#include "drivers/vault/volume/journal.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/base/waiting.h"
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

enum {
    HEAD_BYTES = 16,
    TAIL_BYTES = 4,
    PAYLOAD_MAX = 1 << 20,
    LIMIT_BYTES = 256 << 20,
    OWN_SHARE = 256, /* of the limit: room above it that journal_add has and names have not */
    FILE_MAX_BYTES = LIMIT_BYTES + 2 * (LIMIT_BYTES / OWN_SHARE), /* with the journal's notes */
    STATE_HEAD = 24,
    STATE_MAX = 256 << 20,
    KIND_NOTE = 0, /* the journal's own: what and a number */
};
enum note { NOTE_OPENED, NOTE_CLOSED, NOTE_SYNCED };

static const char state_magic[8] = "ECSTATE1";

struct journal {
    pthread_mutex_t lock;
    pthread_cond_t synced_more;
    char *folder; /* shorter than PATH_MAX - 64 */
    int fd;
    uint64_t limit;
    uint64_t end;    /* of the file */
    uint64_t last;   /* number of the last record */
    uint64_t synced; /* records up to this are on disk */
    bool unnamed;    /* its entry in the folder was never synced */
    bool syncing, broken;
    char *why; /* of broken; NULL when there was no memory for it */
    struct bytes record;
};

/* ---- records ---- */

static uint32_t sum32(const void *data, size_t len) { return (uint32_t)format_sum(0, data, len); }

struct found {
    uint8_t kind;
    uint64_t number;
    struct cursor payload;
    size_t bytes; /* of the whole record */
};

/* Whether a whole record stands at `at`; its sum is only taken when the rest may be right. */
static bool parse_record(const uint8_t *at, size_t left, struct found *ret)
{
    struct cursor c = cursor_over(at, left);
    uint32_t len = cursor_u32(&c);
    ret->kind = cursor_u8(&c);
    const uint8_t *zeros = cursor_take(&c, 3);
    ret->number = cursor_u64(&c);
    if (len > PAYLOAD_MAX || !zeros || zeros[0] || zeros[1] || zeros[2])
        return false;
    const uint8_t *payload = cursor_take(&c, len);
    uint32_t sum = cursor_u32(&c);
    if (c.bad || sum != sum32(at, HEAD_BYTES + len))
        return false;
    ret->payload = cursor_over(payload, len);
    ret->bytes = HEAD_BYTES + len + TAIL_BYTES;
    return true;
}

static bool build_record(struct bytes *to, uint8_t kind, uint64_t number, const void *payload,
                         size_t len, struct err *err)
{
    to->len = 0;
    return bytes_u32(to, (uint32_t)len, err) && bytes_u32(to, kind, err) &&
           bytes_u64(to, number, err) && bytes_add(to, payload, len, err) &&
           bytes_u32(to, sum32(to->data, to->len), err);
}

static bool is_broken(const struct journal *j, struct err *err)
{
    if (j->broken)
        err_set(err, ERR_IO, "journal of '%s' is closed to changes since: %s", j->folder,
                j->why ? j->why : "a failure");
    return j->broken;
}

static void break_it(struct journal *j, const struct err *why)
{
    struct err none = {0};
    if (!j->broken)
        j->why = own_strdup(why->text, &none);
    j->broken = true;
}

/* Under the lock. What a failed append left is cut away, or nothing more is taken. */
static bool append(struct journal *j, uint8_t kind, const void *payload, size_t len,
                   struct err *err)
{
    struct err why = {0};
    if (!build_record(&j->record, kind, j->last + 1, payload, len, err))
        return false;
    if (!sys_pwrite(j->fd, j->record.data, j->record.len, j->end, "journal", &why)) {
        struct err second = {0};
        if (!sys_truncate(j->fd, j->end, "journal", &second))
            break_it(j, &second);
        *err = why;
        return false;
    }
    j->end += j->record.len;
    j->last++;
    return true;
}

static bool append_note(struct journal *j, enum note note, uint64_t number, struct err *err)
{
    uint8_t payload[9] = {(uint8_t)note};
    for (int i = 0; i < 8; i++)
        payload[1 + i] = (uint8_t)(number >> (8 * i));
    return append(j, KIND_NOTE, payload, sizeof payload, err);
}

/* ---- replay ---- */

struct replay {
    const uint8_t *bytes;
    size_t len, end;      /* end: behind the last good record */
    uint64_t last, state; /* numbers: of the last record, of the state */
    bool any, closed;
};

static bool apply_note(struct replay *r, struct cursor *payload)
{
    r->closed = cursor_u8(payload) == NOTE_CLOSED;
    return !payload->bad;
}

static bool replay_records(struct replay *r, journal_fn *fn, void *arg, struct err *err)
{
    struct found found;
    while (parse_record(r->bytes + r->end, r->len - r->end, &found)) {
        /* The first may be older than the state: a compaction stopped before it emptied us. */
        bool follows = r->any ? found.number == r->last + 1
                              : found.number >= 1 && found.number <= r->state + 1;
        if (!follows)
            return err_set(err, ERR_CORRUPT, "record %llu of the journal follows %llu",
                           (unsigned long long)found.number, (unsigned long long)r->last);
        r->any = true;
        r->last = found.number;
        r->closed = false;
        if (found.kind == KIND_NOTE
                ? !apply_note(r, &found.payload)
                : found.number > r->state && !fn(arg, found.kind, &found.payload, err))
            return err->code ? err_wrap(err, "record %llu of the journal",
                                        (unsigned long long)found.number)
                             : err_set(err, ERR_CORRUPT, "record %llu of the journal says nothing",
                                       (unsigned long long)found.number);
        r->end += found.bytes;
    }
    return true;
}

/* Behind bytes that do not check: a note that they once were on disk makes them damage; without
 * one they never were promised. */
static bool tail_is_torn(const struct replay *r, struct err *err)
{
    uint64_t covered = r->last > r->state ? r->last : r->state;
    for (size_t at = r->end + 1; at + HEAD_BYTES + TAIL_BYTES <= r->len; at++) {
        struct found found;
        struct cursor head = cursor_over(r->bytes + at, HEAD_BYTES);
        uint32_t len = cursor_u32(&head);
        if (r->bytes[at + 4] != KIND_NOTE || len != 9)
            continue;
        if (!parse_record(r->bytes + at, r->len - at, &found) || found.number <= r->last)
            continue;
        cursor_u8(&found.payload);
        uint64_t synced = cursor_u64(&found.payload);
        if (synced > covered)
            return err_set(err, ERR_CORRUPT,
                           "record %llu of the journal does not check, and %llu behind it says it "
                           "was on disk",
                           (unsigned long long)r->last + 1, (unsigned long long)found.number);
    }
    return true;
}

/* ---- state ---- */

static bool read_state(struct journal *j, struct replay *r, journal_state_fn *fn, void *arg,
                       bool *ret_there, struct err *err)
{
    char path[PATH_MAX];
    struct err why = {0};
    size_t len;
    str_format(path, sizeof path, "%s/state", j->folder);
    AUTO(mem) char *text = sys_read_file(path, STATE_MAX, &len, &why);
    *ret_there = text;
    if (!text && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    if (!text)
        return fn(arg, NULL, 0, err);
    struct cursor c = cursor_over(text, len);
    const uint8_t *magic = cursor_take(&c, sizeof state_magic);
    r->state = cursor_u64(&c);
    uint64_t bytes = cursor_u64(&c);
    const uint8_t *state = len >= STATE_HEAD + 8 ? c.at : NULL;
    if (!magic || memcmp(magic, state_magic, sizeof state_magic) != 0 || !state ||
        bytes != len - STATE_HEAD - 8 || !cursor_take(&c, (size_t)bytes) ||
        cursor_u64(&c) != format_sum(0, text, len - 8))
        return err_set(err, ERR_CORRUPT, "'%s' does not check", path);
    return fn(arg, state, (size_t)bytes, err);
}

static int make_file(const char *folder, const char *name, struct err *err)
{
    char path[PATH_MAX];
    str_format(path, sizeof path, "%s/%s", folder, name);
    return sys_open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, err);
}

/* The folder's entry of it is on disk when it returns. */
static bool open_file(struct journal *j, bool state_there, struct err *err)
{
    char path[PATH_MAX];
    struct err why = {0};
    str_format(path, sizeof path, "%s/journal", j->folder);
    j->fd = sys_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, &why);
    if (j->fd >= 0)
        return sys_fsync_dir(j->folder, err);
    if (why.code != ERR_NOT_FOUND || state_there) {
        *err = why;
        if (why.code == ERR_NOT_FOUND)
            err->code = ERR_CORRUPT; /* a state without its journal */
        return false;
    }
    j->fd = make_file(j->folder, "journal", err);
    return j->fd >= 0 && sys_fsync(j->fd, path, err) && sys_fsync_dir(j->folder, err);
}

static char *read_all(int fd, size_t *ret_len, struct err *err)
{
    struct stat st;
    if (!sys_fstat(fd, &st, "journal", err))
        return NULL;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES) {
        err_set(err, ERR_CORRUPT, "a journal of %lld bytes", (long long)st.st_size);
        return NULL;
    }
    AUTO(mem) char *bytes = own_alloc((size_t)st.st_size + 1, err);
    ssize_t n = bytes ? sys_pread(fd, bytes, (size_t)st.st_size, 0, "journal", err) : -1;
    if (n < 0)
        return NULL;
    *ret_len = (size_t)n;
    return TAKE(bytes);
}

static bool load(struct journal *j, journal_state_fn *state, journal_fn *record, void *arg,
                 bool *ret_clean, struct err *err)
{
    struct replay r = {0};
    bool there;
    if (!read_state(j, &r, state, arg, &there, err) || !open_file(j, there, err))
        return false;
    AUTO(mem) char *bytes = read_all(j->fd, &r.len, err);
    if (!bytes)
        return false;
    r.bytes = (const uint8_t *)bytes;
    r.last = r.state;
    if (!replay_records(&r, record, arg, err) || !tail_is_torn(&r, err))
        return false;
    /* All records older than the state: numbers go on behind it. */
    j->last = r.last > r.state ? r.last : r.state;
    j->end = r.end;
    *ret_clean = r.end == r.len && (r.closed || (!r.any && !there));
    if (r.any && r.last < r.state) {
        /* Emptied at last, so that numbers stay unbroken in the file. */
        j->end = 0;
        if (!sys_truncate(j->fd, 0, "journal", err) || !sys_fdatasync(j->fd, "journal", err))
            return false;
    }
    if (r.end < r.len &&
        (!sys_truncate(j->fd, j->end, "journal", err) || !sys_fdatasync(j->fd, "journal", err)))
        return false;
    if (!append_note(j, NOTE_OPENED, j->last, err) || !sys_fdatasync(j->fd, "journal", err))
        return false;
    j->synced = j->last;
    return true;
}

static struct journal *journal_new(const char *folder, struct err *err)
{
    AUTO(journal) struct journal *j = own_alloc(sizeof *j, err);
    if (!j)
        return NULL;
    j->fd = -1;
    j->limit = LIMIT_BYTES;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->synced_more, NULL);
    if (strlen(folder) >= PATH_MAX - 64) {
        err_set(err, ERR_INVALID, "path is too long: '%.80s...'", folder);
        return NULL;
    }
    j->folder = own_strdup(folder, err);
    return j->folder ? TAKE(j) : NULL;
}

struct journal *journal_create(const char *folder, struct err *err)
{
    AUTO(journal) struct journal *j = journal_new(folder, err);
    char path[PATH_MAX];
    if (!j)
        return NULL;
    str_format(path, sizeof path, "%s/journal", folder);
    j->unnamed = true;
    j->fd = sys_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, err);
    if (j->fd < 0 || !append_note(j, NOTE_OPENED, 0, err))
        return err_null(err, "journal of '%s'", folder);
    return TAKE(j);
}

struct journal *journal_open(const char *folder, journal_state_fn *state, journal_fn *record,
                             void *arg, bool *ret_clean, struct err *err)
{
    AUTO(journal) struct journal *j = journal_new(folder, err);
    if (!j)
        return NULL;
    bool clean = false;
    if (!load(j, state, record, arg, &clean, err)) {
        err_wrap(err, "journal of '%s'", folder);
        return NULL;
    }
    *ret_clean = clean;
    return TAKE(j);
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    own_auto_fd(&j->fd);
    bytes_done(&j->record);
    own_free(j->folder);
    own_free(j->why);
    pthread_cond_destroy(&j->synced_more);
    pthread_mutex_destroy(&j->lock);
    own_free(j);
}

bool journal_close(struct journal *j, struct err *err)
{
    if (!j)
        return true;
    AUTO(journal) struct journal *mine = j;
    pthread_mutex_lock(&j->lock);
    uint64_t last = j->last;
    pthread_mutex_unlock(&j->lock);
    /* First what is there, then the mark: no mark without it. */
    return journal_sync(j, last, err) && append_note(j, NOTE_CLOSED, last, err) &&
           sys_fdatasync(j->fd, "journal", err);
}

/* Under the lock. */
static bool fits(const struct journal *j, size_t bytes, uint64_t limit, struct err *err)
{
    return j->end + bytes + 4096 <= limit ||
           err_set(err, ERR_LIMIT, "journal of '%s' is full", j->folder);
}

void journal_limit(struct journal *j, uint64_t bytes)
{
    pthread_mutex_lock(&j->lock);
    j->limit = bytes;
    pthread_mutex_unlock(&j->lock);
}

bool journal_has_room(struct journal *j, size_t bytes, struct err *err)
{
    pthread_mutex_lock(&j->lock);
    bool room = fits(j, bytes, j->limit, err);
    pthread_mutex_unlock(&j->lock);
    return room;
}

bool journal_add(struct journal *j, uint8_t kind, const struct bytes *payload, uint64_t *ret_number,
                 struct err *err)
{
    if (kind == KIND_NOTE || payload->len > PAYLOAD_MAX)
        return err_set(err, ERR_INVALID, "record of kind %u with %zu bytes", kind, payload->len);
    pthread_mutex_lock(&j->lock);
    bool ok = !is_broken(j, err) && fits(j, payload->len, j->limit + j->limit / OWN_SHARE, err) &&
              append(j, kind, payload->data, payload->len, err);
    if (ok)
        *ret_number = j->last;
    pthread_mutex_unlock(&j->lock);
    return ok;
}

/* Under the lock, which it gives up while the disk works. */
static void sync_once(struct journal *j)
{
    struct err why = {0};
    uint64_t upto = j->last;
    bool name = j->unnamed;
    j->syncing = true;
    pthread_mutex_unlock(&j->lock);
    bool ok = name ? sys_fsync(j->fd, "journal", &why) && sys_fsync_dir(j->folder, &why)
                   : sys_fdatasync(j->fd, "journal", &why);
    pthread_mutex_lock(&j->lock);
    j->syncing = false;
    if (ok) {
        j->unnamed = false;
        j->synced = upto;
        err_clear(&why);
        IGNORE(append_note(j, NOTE_SYNCED, upto, &why)); /* only makes damage easier to tell */
    } else {
        break_it(j, &why);
    }
    pthread_cond_broadcast(&j->synced_more);
}

bool journal_sync(struct journal *j, uint64_t number, struct err *err)
{
    waiting_begins();
    pthread_mutex_lock(&j->lock);
    while (j->synced < number && number <= j->last && !j->broken) {
        if (j->syncing)
            pthread_cond_wait(&j->synced_more, &j->lock);
        else
            sync_once(j);
    }
    bool ok = j->synced >= number ||
              (!is_broken(j, err) && err_set(err, ERR_INTERNAL, "no record %llu in the journal",
                                             (unsigned long long)number));
    pthread_mutex_unlock(&j->lock);
    return ok;
}

/* ---- compaction ---- */

static bool write_state(struct journal *j, const struct bytes *state, struct err *err)
{
    AUTO(bytes) struct bytes head = {0};
    if (!bytes_add(&head, state_magic, sizeof state_magic, err) ||
        !bytes_u64(&head, j->last, err) || !bytes_u64(&head, state->len, err) ||
        !bytes_add(&head, state->data, state->len, err) ||
        !bytes_u64(&head, format_sum(0, head.data, head.len), err))
        return false;
    AUTO(fd) int fd = make_file(j->folder, "state.new", err);
    return fd >= 0 && sys_pwrite(fd, head.data, head.len, 0, "state", err) &&
           sys_fsync(fd, "state", err);
}

static bool put_in_place(struct journal *j, const char *name, struct err *err)
{
    char from[PATH_MAX];
    char to[PATH_MAX];
    str_format(from, sizeof from, "%s/%s.new", j->folder, name);
    str_format(to, sizeof to, "%s/%s", j->folder, name);
    return sys_rename(from, to, err);
}

/* Under the lock. A state in place makes all records here old; so the empty journal may come late,
 * but no record may be promised before its name is on disk. */
static bool compact(struct journal *j, const struct bytes *state, struct err *err)
{
    AUTO(fd) int fd = -1;
    if (!write_state(j, state, err) || (fd = make_file(j->folder, "journal.new", err)) < 0 ||
        !sys_fsync(fd, "journal", err))
        return false;
    struct err why = {0};
    if (!put_in_place(j, "state", &why) || !sys_fsync_dir(j->folder, &why) ||
        !put_in_place(j, "journal", &why) || !sys_fsync_dir(j->folder, &why)) {
        break_it(j, &why);
        *err = why;
        return false;
    }
    int old = j->fd;
    j->fd = fd;
    fd = old;
    j->end = 0;
    j->synced = j->last;
    return true;
}

bool journal_compact(struct journal *j, const struct bytes *state, struct err *err)
{
    if (state->len > STATE_MAX - STATE_HEAD - 8)
        return err_set(err, ERR_LIMIT, "a state of %zu bytes", state->len);
    pthread_mutex_lock(&j->lock);
    while (j->syncing)
        pthread_cond_wait(&j->synced_more, &j->lock);
    bool ok = !is_broken(j, err) && compact(j, state, err);
    pthread_cond_broadcast(&j->synced_more);
    pthread_mutex_unlock(&j->lock);
    return ok || err_wrap(err, "compact the journal of '%s'", j->folder);
}

bool journal_is_well(struct journal *j, struct err *err)
{
    pthread_mutex_lock(&j->lock);
    bool broken = is_broken(j, err);
    pthread_mutex_unlock(&j->lock);
    return !broken;
}

uint64_t journal_bytes(const struct journal *j)
{
    struct journal *own = (struct journal *)(uintptr_t)j; /* only its lock changes */
    pthread_mutex_lock(&own->lock);
    uint64_t bytes = j->end;
    pthread_mutex_unlock(&own->lock);
    return bytes;
}

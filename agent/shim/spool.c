/* The spool: one file of numbered lines, read from the front, written at the end. */
#include "agent/shim/spool.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEADER_MAX = 256, VERDICT_MAX = 1 << 20, RECORD_MAX = 8192 };
#define HEADER "evercopy spool 1"
#define JOB_SIGNS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
#define LOG_END ".log"
#define VERDICT_END ".verdict"

struct spool {
    int fd;
    bool on_disk, closed;
    struct spool_id id;
    char path[PATH_MAX], verdict_path[PATH_MAX];
    uint64_t max_bytes;
    uint64_t body;               /* where the lines begin, behind the header */
    uint64_t head, tail;         /* first byte not acknowledged; end of the file */
    uint64_t first, next;        /* number of the line at head; of the one to come */
    uint64_t read_at, read_next; /* where reading goes on, and that line's number */
    uint64_t dropped;            /* for want of room, not yet told */
};

static bool write_at_end(struct spool *s, const char *bytes, size_t len, struct err *err)
{
    if (!sys_pwrite(s->fd, bytes, len, s->tail, s->path, err))
        return false;
    s->tail += len;
    return true;
}

struct spool *spool_new(uint64_t max_bytes, struct err *err)
{
    AUTO(spool) struct spool *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    s->max_bytes = max_bytes;
    s->fd = memfd_create("evercopy-spool", MFD_CLOEXEC);
    if (s->fd < 0) {
        err_errno(err, errno, "make room for the log in memory");
        return NULL;
    }
    IGNORE(!str_copy(s->path, sizeof s->path, "memory"));
    return TAKE(s);
}

void spool_free(struct spool *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    own_free(s);
}

/* ---- from memory to disk ---- */

static bool set_paths(struct spool *s, const char *dir, struct err *err)
{
    if (!s->id.job[0] || strspn(s->id.job, JOB_SIGNS) != strlen(s->id.job))
        return err_set(err, ERR_INVALID, "'%.40s' is no name of a job", s->id.job);
    return (str_format(s->path, sizeof s->path, "%s/%s" LOG_END, dir, s->id.job) &&
            str_format(s->verdict_path, sizeof s->verdict_path, "%s/%s" VERDICT_END, dir,
                       s->id.job)) ||
           err_set(err, ERR_CONFIG, "the spool's path is too long");
}

static bool copy_body(int from, uint64_t begin, uint64_t end, struct spool *to, struct err *err)
{
    char bytes[RECORD_MAX];
    while (begin < end) {
        size_t want = end - begin < sizeof bytes ? (size_t)(end - begin) : sizeof bytes;
        ssize_t n = sys_pread(from, bytes, want, begin, "memory", err);
        if (n <= 0 || !write_at_end(to, bytes, (size_t)n, err))
            return false;
        begin += (uint64_t)n;
    }
    return true;
}

/* A folder of ours alone: logs hold names of files and people. */
static bool private_folder(const char *dir, struct err *err)
{
    struct stat st;
    if (!sys_mkdirs(dir, 0700, err) || !sys_lstat(dir, &st, err))
        return false;
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        return err_set(err, ERR_DENIED, "spool '%s' is not a folder of ours alone", dir);
    return true;
}

static bool begin_file(struct spool *to, const struct spool *from, const char *dir, struct err *err)
{
    char header[HEADER_MAX];
    bool locked = false;
    if (!private_folder(dir, err) || !set_paths(to, dir, err) ||
        !str_format(header, sizeof header, HEADER "\t%s\t%s\t%" PRIu64 "\n", to->id.database,
                    to->id.job, to->id.token))
        return false;
    to->fd = sys_open(to->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, err);
    if (to->fd < 0 || !sys_try_lock(to->fd, &locked, to->path, err) ||
        !write_at_end(to, header, strlen(header), err))
        return false;
    to->body = to->head = to->tail;
    spool_rewind(to);
    return copy_body(from->fd, from->head, from->tail, to, err);
}

bool spool_attach(struct spool *s, const char *dir, const struct spool_id *id, struct err *err)
{
    AUTO(mem) struct spool *to = own_alloc(sizeof *to, err);
    if (!to)
        return false;
    *to = *s;
    to->fd = -1;
    to->tail = 0;
    to->on_disk = true;
    to->id = *id;
    s->id = *id;
    if (!begin_file(to, s, dir, err)) {
        struct err why = {0};
        if (to->fd >= 0) {
            close(to->fd);
            IGNORE(!sys_unlink(to->path, &why)); /* half written; the lines are in memory */
        }
        return err_wrap(err, "spool");
    }
    close(s->fd);
    *s = *to;
    return true;
}

/* ---- lines ---- */

static bool add_record(struct spool *s, const char *line, size_t len)
{
    char record[RECORD_MAX];
    struct err err = {0};
    int used = snprintf(record, sizeof record, "%" PRIu64 "\t", s->next);
    size_t room = sizeof record - (size_t)used - 1;
    len = len < room ? len : room;
    for (size_t i = 0; i < len; i++)
        record[(size_t)used + i] = line[i];
    for (char *p = record + used; (p = memchr(p, '\n', len - (size_t)(p - record - used)));)
        *p = ' ';
    record[(size_t)used + len] = '\n';
    size_t size = (size_t)used + len + 1;
    if (s->tail - s->body + size > s->max_bytes || !write_at_end(s, record, size, &err))
        return false;
    s->next++;
    return true;
}

/* The disk may have taken a part of a record: what lies behind the end counts for nothing. */
static bool cut_tail(struct spool *s) { return ftruncate(s->fd, (off_t)s->tail) == 0; }

void spool_add(struct spool *s, const char *line, size_t len)
{
    char text[80];
    if (s->closed)
        return;
    if (s->dropped) {
        IGNORE(!str_format(text, sizeof text,
                           "evercopy: %" PRIu64 " lines were left out, the spool was full",
                           s->dropped));
        if (s->tail - s->body > s->max_bytes / 2 || !add_record(s, text, strlen(text))) {
            s->dropped++;
            return;
        }
        s->dropped = 0;
    }
    if (!add_record(s, line, len)) {
        s->dropped++;
        IGNORE(!cut_tail(s)); /* the next record overwrites it */
    }
}

uint64_t spool_waiting(const struct spool *s) { return s->next - s->first; }

/* "N\ttext" at `at`; NULL ends what is whole. */
static const char *next_record(const char *at, const char *end, uint64_t *ret_number,
                               const char **ret_text)
{
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    uint64_t number = 0;
    if (!stop)
        return NULL;
    while (at < stop && *at >= '0' && *at <= '9')
        number = number * 10 + (uint64_t)(*at++ - '0');
    if (at == stop || *at != '\t')
        return NULL;
    *ret_number = number;
    *ret_text = at + 1;
    return stop;
}

bool spool_read(struct spool *s, struct spool_batch *ret, struct err *err)
{
    if (s->read_next < s->first)
        spool_rewind(s);
    ret->count = 0;
    ret->first = s->read_next;
    if (s->read_next == s->next)
        return true;
    ssize_t n = sys_pread(s->fd, ret->bytes, sizeof ret->bytes, s->read_at, s->path, err);
    if (n < 0)
        return false;
    const char *at = ret->bytes;
    const char *end = ret->bytes + n;
    const char *text;
    const char *stop;
    uint64_t number;
    while (ret->count < SPOOL_BATCH_LINES && at < end &&
           (stop = next_record(at, end, &number, &text))) {
        if (number != ret->first + ret->count)
            return err_set(err, ERR_CORRUPT, "spool '%s': line %" PRIu64 " is not there", s->path,
                           ret->first + ret->count);
        ret->lines[ret->count].text = text;
        ret->lines[ret->count++].len = (size_t)(stop - text);
        at = stop + 1;
    }
    s->read_at += (uint64_t)(at - ret->bytes);
    s->read_next += ret->count;
    return ret->count || err_set(err, ERR_CORRUPT, "spool '%s' is damaged", s->path);
}

void spool_rewind(struct spool *s)
{
    s->read_at = s->head;
    s->read_next = s->first;
}

/* Moves head behind the acknowledged lines; the file shrinks when it has been sent whole. */
void spool_acked(struct spool *s, uint64_t next_line)
{
    char bytes[RECORD_MAX];
    struct err err = {0};
    uint64_t number;
    const char *text;
    if (next_line > s->next)
        next_line = s->next;
    while (s->first < next_line) {
        ssize_t n = sys_pread(s->fd, bytes, sizeof bytes, s->head, s->path, &err);
        const char *at = bytes;
        const char *stop = NULL;
        while (n > 0 && s->first < next_line && at < bytes + n &&
               (stop = next_record(at, bytes + n, &number, &text))) {
            s->first++;
            at = stop + 1;
        }
        if (at == bytes)
            return; /* unreadable: told by the next spool_read */
        s->head += (uint64_t)(at - bytes);
    }
    if (s->first == s->next && s->tail > s->body && ftruncate(s->fd, (off_t)s->body) == 0)
        s->head = s->tail = s->body;
    if (s->read_next < s->first || s->head == s->tail)
        spool_rewind(s);
}

void spool_close(struct spool *s)
{
    s->closed = true;
    spool_acked(s, s->next);
}

/* ---- ends ---- */

const char *spool_end(struct spool *s, bool keep)
{
    struct err err = {0};
    if (!s->on_disk)
        return "";
    if (keep)
        return s->path;
    IGNORE(!spool_remove(s, &err)); /* the next shim finds it, and nothing to do */
    return "";
}

bool spool_verdict_put(struct spool *s, const char *json, struct err *err)
{
    if (!s->on_disk)
        return err_set(err, ERR_UNAVAILABLE, "there is no spool on disk to keep the verdict");
    return sys_write_file(s->verdict_path, json, strlen(json), 0600, err);
}

char *spool_verdict_get(struct spool *s, struct err *err)
{
    size_t len;
    return sys_read_file(s->verdict_path, VERDICT_MAX, &len, err);
}

bool spool_remove(struct spool *s, struct err *err)
{
    struct err why = {0};
    if (!s->on_disk)
        return true;
    if (!sys_unlink(s->verdict_path, &why) && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    s->on_disk = false;
    return sys_unlink(s->path, err);
}

const struct spool_id *spool_who(const struct spool *s) { return &s->id; }

/* ---- what an earlier shim left ---- */

static bool read_header(struct spool *s, struct err *err)
{
    char header[HEADER_MAX];
    ssize_t n = sys_pread(s->fd, header, sizeof header - 1, 0, s->path, err);
    if (n < 0)
        return false;
    header[n] = '\0';
    char *stop = strchr(header, '\n');
    char *cursor = header;
    if (stop)
        *stop = '\0';
    const char *mark = str_field(&cursor, '\t');
    const char *database = cursor ? str_field(&cursor, '\t') : NULL;
    const char *job = cursor ? str_field(&cursor, '\t') : NULL;
    if (!stop || !cursor || !str_equal(mark, HEADER) ||
        !str_copy(s->id.database, sizeof s->id.database, database) || !job ||
        !str_copy(s->id.job, sizeof s->id.job, job) ||
        !str_to_u64(cursor, UINT64_MAX, &s->id.token))
        return err_set(err, ERR_INVALID, "'%s' is no spool", s->path);
    s->body = s->head = (uint64_t)(stop - header) + 1;
    return true;
}

/* Numbers of the first and last whole line; a last one cut by a crash is left out. */
static bool scan(struct spool *s, struct err *err)
{
    char bytes[RECORD_MAX];
    uint64_t number;
    const char *text;
    s->tail = s->body;
    for (;;) {
        ssize_t n = sys_pread(s->fd, bytes, sizeof bytes, s->tail, s->path, err);
        const char *at = bytes;
        const char *stop;
        if (n < 0)
            return false;
        while (at < bytes + n && (stop = next_record(at, bytes + n, &number, &text))) {
            if (s->tail == s->body && at == bytes)
                s->first = s->next = number;
            if (number != s->next)
                return err_set(err, ERR_CORRUPT, "spool '%s' has a hole", s->path);
            s->next++;
            at = stop + 1;
        }
        if (at == bytes)
            return true;
        s->tail += (uint64_t)(at - bytes);
    }
}

struct spool *spool_adopt(const char *dir, const char *name, struct err *err)
{
    bool locked = false;
    AUTO(spool) struct spool *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    s->fd = -1;
    s->on_disk = true;
    s->max_bytes = UINT64_MAX;
    if (!str_ends(name, LOG_END) || !str_format(s->path, sizeof s->path, "%s/%s", dir, name)) {
        err_set(err, ERR_INVALID, "'%.80s' is no spool", name);
        return NULL;
    }
    s->fd = sys_open(s->path, O_RDWR | O_NOFOLLOW, 0, err);
    if (s->fd < 0 || !sys_try_lock(s->fd, &locked, s->path, err))
        return NULL;
    if (!locked) {
        err_set(err, ERR_BUSY, "the shim of '%s' is at work", s->path);
        return NULL;
    }
    if (!read_header(s, err) || !set_paths(s, dir, err) || !scan(s, err))
        return NULL;
    spool_rewind(s);
    if (!str_equal(s->path + strlen(dir) + 1, name)) {
        err_set(err, ERR_INVALID, "'%s' is the spool of another job", name);
        return NULL;
    }
    return TAKE(s);
}

/* The audit's writer: append, rotate, heal. */
#include "agent/auth/audit_int.h"

#include "agent/base/sys.h"
#include "agent/net/crypto.h"
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { TAIL_BYTES = 64 << 10, BOOT_BYTES = 37, NOTICE_BYTES = 300, FILE_MODE = 0600 };

struct audit {
    char dir[PATH_MAX], path[PATH_MAX];
    uint64_t rotate_bytes;
    char boot[BOOT_BYTES];
    int head_fd, fd; /* fd -1: no audit.log now */
    uint64_t size;   /* of audit.log as we know it; another size means another writer */
    uint64_t first;  /* number of its first line */
    struct audit_link last;
    bool known; /* last and size were read under a lock once, and nothing failed since */
    char notice[NOTICE_BYTES];
};

static long kill_nth;
static long kill_count;

long audit_kill_at(long nth)
{
    long seen = kill_count;
    kill_count = 0;
    kill_nth = nth;
    return seen;
}

static void kill_point(void)
{
    if (++kill_count == kill_nth)
        _exit(137);
}

/* ---- opening ---- */

static bool read_boot(char ret[BOOT_BYTES], struct err *err)
{
    AUTO(fd) int fd = sys_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0, err);
    ssize_t n = fd < 0 ? -1 : sys_pread(fd, ret, BOOT_BYTES - 1, 0, "boot_id", err);
    if (n < 0)
        return false;
    ret[n] = '\0';
    return true;
}

/* Made by root's command, it must still be the agent's to write. */
static int open_owned(const char *dir, const char *path, int flags, struct err *err)
{
    struct stat parent;
    struct stat own;
    AUTO(fd) int fd = sys_open(path, flags | O_CREAT | O_NOFOLLOW, FILE_MODE, err);
    if (fd < 0 || !sys_stat(dir, &parent, err) || !sys_fstat(fd, &own, path, err))
        return -1;
    if (!S_ISREG(own.st_mode)) {
        err_set(err, ERR_CONFIG, "'%s' is no plain file", path);
        return -1;
    }
    if (geteuid() == 0 && own.st_uid != parent.st_uid &&
        !sys_fchown(fd, parent.st_uid, parent.st_gid, path, err))
        return -1;
    int ret = fd;
    fd = -1;
    return ret;
}

static void notice(struct audit *a, const char *fmt, const char *text)
{
    if (!a->notice[0])
        IGNORE(!str_format(a->notice, sizeof a->notice, fmt, text));
}

const char *audit_notice(const struct audit *audit) { return audit->notice; }

/* ---- where the chain stands ---- */

struct tail {
    bool found; /* a whole last line */
    struct audit_link last;
    uint64_t size;  /* up to the end of the last whole line */
    uint64_t torn;  /* bytes behind it */
    struct err why; /* of a last line that is none of ours */
};

static bool read_tail(int fd, const char *what, struct tail *ret, struct err *err)
{
    struct stat info;
    AUTO(mem) char *text = own_alloc(TAIL_BYTES + 1, err);
    if (!text || !sys_fstat(fd, &info, what, err))
        return false;
    uint64_t size = (uint64_t)info.st_size;
    uint64_t from = size > TAIL_BYTES ? size - TAIL_BYTES : 0;
    ssize_t n = sys_pread(fd, text, (size_t)(size - from), from, what, err);
    if (n < 0)
        return false;
    size_t end = (size_t)n;
    while (end && text[end - 1] != '\n')
        end--;
    *ret = (struct tail){.size = from + end, .torn = (uint64_t)n - end};
    if (!end)
        return true;
    size_t start = end - 1;
    while (start && text[start - 1] != '\n')
        start--;
    ret->found = audit_line_check(text + start, end - 1 - start, &ret->last, &ret->why);
    return true;
}

static bool read_first(int fd, const char *what, uint64_t *ret_first, struct err *err)
{
    char text[AUDIT_LINE_MAX + 1];
    struct audit_link link;
    struct err why = {0};
    ssize_t n = sys_pread(fd, text, AUDIT_LINE_MAX, 0, what, err);
    if (n < 0)
        return false;
    text[n] = '\0';
    char *end = strchr(text, '\n');
    bool ok = end && audit_line_check(text, (size_t)(end - text), &link, &why);
    *ret_first = ok ? link.number : 0;
    return true;
}

/* The last line of the newest file that was left; not found when there is none. */
static bool read_left_tail(const struct audit *a, struct tail *ret, struct err *err)
{
    char path[PATH_MAX];
    AUTO(sys_names) struct sys_names names = {0};
    if (!audit_files(a->dir, &names, err))
        return false;
    *ret = (struct tail){0};
    for (size_t i = names.count; i-- > 0;) {
        if (str_equal(names.names[i], "audit.log"))
            continue;
        if (!audit_path(path, a->dir, names.names[i], err))
            return false;
        AUTO(fd) int fd = sys_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
        return fd >= 0 && read_tail(fd, path, ret, err);
    }
    return true;
}

static bool write_bodies(struct audit *a, const char *const *bodies, size_t count, struct err *err);

static bool write_own(struct audit *a, const char *kind, const char *text, struct err *err)
{
    struct audit_record record = {.kind = kind, .text = text};
    AUTO(mem) char *body = audit_body(&record, err);
    const char *bodies[] = {body};
    return body && write_bodies(a, bodies, 1, err);
}

/* Why the files do not fit the head; "" when they do. Lines newer than the head are what a crash
 * between the two leaves. */
static void judge_tail(const struct tail *tail, const struct audit_head *head, bool empty,
                       char ret[NOTICE_BYTES])
{
    ret[0] = '\0';
    if (tail->why.code != ERR_NONE)
        IGNORE(!str_format(ret, NOTICE_BYTES, "the last line: %.200s", tail->why.text));
    else if (empty && head->count)
        IGNORE(!str_format(ret, NOTICE_BYTES, "the files are gone; %" PRIu64 " lines were written",
                           head->count));
    else if (!empty && tail->last.number < head->count)
        IGNORE(!str_format(ret, NOTICE_BYTES,
                           "it ends with line %" PRIu64 "; %" PRIu64 " were written",
                           tail->last.number, head->count));
    else if (!empty && tail->last.number == head->count && !str_equal(tail->last.hash, head->hash))
        IGNORE(!str_copy(ret, NOTICE_BYTES, "the last line is another than the one written"));
}

static bool read_head(struct audit *a, bool empty, struct audit_head *ret, char why[NOTICE_BYTES],
                      struct err *err)
{
    struct err none = {0};
    why[0] = '\0';
    if (audit_head_read(a->head_fd, ret, &none))
        return true;
    if (none.code != ERR_NOT_FOUND && none.code != ERR_CORRUPT) {
        *err = none;
        return false;
    }
    *ret = (struct audit_head){.hash = AUDIT_ZERO_HASH};
    if (none.code == ERR_CORRUPT || !empty)
        IGNORE(!str_copy(why, NOTICE_BYTES, none.text));
    return true;
}

/* What a crash tore is cut off, kept only as a hash; nobody was told that it was written. */
static bool cut_torn(struct audit *a, const struct tail *tail, char ret_text[NOTICE_BYTES],
                     struct err *err)
{
    char hash[CRYPTO_SHA256_HEX];
    char bytes[AUDIT_LINE_MAX];
    size_t most = tail->torn < sizeof bytes ? (size_t)tail->torn : sizeof bytes;
    ssize_t n = sys_pread(a->fd, bytes, most, tail->size, a->path, err);
    if (n < 0 || !sys_truncate(a->fd, tail->size, a->path, err))
        return false;
    crypto_sha256_hex(bytes, (size_t)n, hash);
    IGNORE(!str_format(ret_text, NOTICE_BYTES,
                       "cut %" PRIu64 " bytes a crash left of a line that was not written whole "
                       "(SHA-256 %s)",
                       tail->torn, hash));
    return true;
}

static bool end_damaged_line(struct audit *a, struct tail *tail, struct err *err)
{
    if (!tail->torn)
        return true;
    tail->size += tail->torn + 1;
    return sys_pwrite(a->fd, "\n", 1, tail->size - 1, a->path, err);
}

/* Opens audit.log, if it is there, and finds the last line: in it, or in the file left before. */
static bool find_tail(struct audit *a, struct tail *tail, struct err *err)
{
    struct err none = {0};
    if (a->fd >= 0)
        close(a->fd);
    a->fd = sys_open(a->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0, &none);
    if (a->fd < 0 && none.code != ERR_NOT_FOUND) {
        *err = none;
        return false;
    }
    if (a->fd >= 0 &&
        (!read_tail(a->fd, a->path, tail, err) || !read_first(a->fd, a->path, &a->first, err)))
        return false;
    if (tail->found || tail->why.code != ERR_NONE)
        return true;
    struct tail left;
    if (!read_left_tail(a, &left, err))
        return false;
    left.size = tail->size;
    left.torn = tail->torn;
    *tail = left;
    return true;
}

static bool tell_findings(struct audit *a, const char *why, const char *head_why,
                          const char *healed, struct err *err)
{
    if (why[0] || head_why[0])
        notice(a, "the audit is not as it was written: %s", why[0] ? why : head_why);
    if (healed[0])
        notice(a, "%s", healed);
    return (!why[0] || write_own(a, AUDIT_KIND_ALARM, why, err)) &&
           (!head_why[0] || write_own(a, AUDIT_KIND_ALARM, head_why, err)) &&
           (!healed[0] || write_own(a, "healed", healed, err));
}

/* Under the lock: finds the end of the chain, heals, and says in the chain what it found. */
static bool catch_up(struct audit *a, struct err *err)
{
    struct tail tail = {0};
    struct audit_head head;
    char why[NOTICE_BYTES];
    char head_why[NOTICE_BYTES];
    char healed[NOTICE_BYTES] = "";
    if (!find_tail(a, &tail, err))
        return false;
    bool empty = !tail.found && tail.why.code == ERR_NONE;
    if (!read_head(a, empty && !tail.torn, &head, head_why, err))
        return false;
    judge_tail(&tail, &head, empty, why);
    bool sound = !why[0];
    if (sound && tail.torn && !cut_torn(a, &tail, healed, err))
        return false;
    if (!sound && a->fd >= 0 && !end_damaged_line(a, &tail, err))
        return false;
    a->last = tail.last;
    if (!sound || !tail.found) {
        a->last.number = head.count;
        IGNORE(!str_copy(a->last.hash, sizeof a->last.hash, head.hash));
    }
    a->size = tail.size;
    a->known = true;
    return tell_findings(a, why, head_why, healed, err);
}

/* ---- writing ---- */

static bool leave_file(struct audit *a, struct err *err)
{
    char name[40];
    char path[PATH_MAX];
    audit_file_name(a->first ? a->first : a->last.number, name);
    if (!audit_path(path, a->dir, name, err) || !sys_rename_new(a->path, path, err) ||
        !sys_fsync_dir(a->dir, err))
        return err_wrap(err, "rotate the audit");
    kill_point();
    close(a->fd);
    a->fd = -1;
    a->size = 0;
    return true;
}

static bool begin_file(struct audit *a, struct err *err)
{
    a->fd = open_owned(a->dir, a->path, O_RDWR | O_EXCL | O_CLOEXEC, err);
    if (a->fd < 0)
        return false;
    kill_point();
    a->size = 0;
    a->first = a->last.number + 1;
    return sys_fsync_dir(a->dir, err);
}

static bool write_lines(struct audit *a, const struct str *lines, struct err *err)
{
    if (kill_nth && kill_count + 1 == kill_nth) /* a kill in mid-write tears the line */
        IGNORE(!sys_pwrite(a->fd, lines->text, lines->len / 2, a->size, a->path, err));
    kill_point();
    if (!sys_pwrite(a->fd, lines->text, lines->len, a->size, a->path, err))
        return false;
    kill_point();
    if (!sys_fdatasync(a->fd, a->path, err))
        return false;
    kill_point();
    return true;
}

static bool write_head(struct audit *a, struct err *err)
{
    char slot[AUDIT_SLOT_BYTES];
    struct audit_head head = {.count = a->last.number};
    IGNORE(!str_copy(head.hash, sizeof head.hash, a->last.hash));
    audit_head_format(&head, slot);
    /* The slot that is not the newest: one of both is always whole. */
    return sys_pwrite(a->head_fd, slot, sizeof slot, a->last.number % 2 * sizeof slot, "audit.head",
                      err);
}

static bool write_bodies(struct audit *a, const char *const *bodies, size_t count, struct err *err)
{
    AUTO(str) struct str lines = {0};
    struct audit_link link = a->last;
    if (a->fd < 0 && !begin_file(a, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        link.number++;
        IGNORE(!str_copy(link.prev, sizeof link.prev, link.hash));
        audit_line_add(&lines, bodies[i], a->boot, &link);
    }
    if (!str_ok(&lines, err))
        return false;
    if (!write_lines(a, &lines, err)) {
        struct err why = {0};
        a->known = false; /* the next writer reads what is there */
        IGNORE(!sys_truncate(a->fd, a->size, a->path, &why));
        return false;
    }
    a->size += lines.len;
    a->last = link;
    bool ok = write_head(a, err);
    kill_point();
    return ok;
}

static bool rotate(struct audit *a, struct err *err)
{
    char text[80];
    char name[40];
    audit_file_name(a->first ? a->first : a->last.number, name);
    IGNORE(!str_format(text, sizeof text, "goes on from %s", name));
    return leave_file(a, err) && write_own(a, "rotated", text, err);
}

static bool is_ours(const struct audit *a)
{
    struct stat there;
    struct stat open;
    struct err none = {0};
    if (!a->known || a->fd < 0)
        return false;
    return sys_fstat(a->fd, &open, a->path, &none) && sys_lstat(a->path, &there, &none) &&
           open.st_ino == there.st_ino && open.st_dev == there.st_dev &&
           (uint64_t)open.st_size == a->size;
}

static bool append(struct audit *a, const char *const *bodies, size_t count, uint64_t *ret_first,
                   struct err *err)
{
    if (!is_ours(a) && !catch_up(a, err))
        return false;
    if (a->fd >= 0 && a->size >= a->rotate_bytes && !rotate(a, err))
        return false;
    if (!count)
        return true;
    *ret_first = a->last.number + 1;
    return write_bodies(a, bodies, count, err);
}

bool audit_append(struct audit *a, const char *const *bodies, size_t count, uint64_t *ret_first,
                  struct err *err)
{
    if (!sys_lock(a->head_fd, "audit.head", err))
        return err_wrap(err, "audit");
    uint64_t first = 0;
    bool ok = append(a, bodies, count, &first, err);
    if (!ok)
        a->known = false;
    sys_unlock(a->head_fd);
    if (!ok)
        return err_wrap(err, "audit");
    *ret_first = first;
    return true;
}

bool audit_settle(struct audit *a, struct err *err)
{
    return sys_fdatasync(a->head_fd, "audit.head", err) || err_wrap(err, "audit");
}

bool audit_write(struct audit *a, const struct audit_record *record, uint64_t *ret_number,
                 struct err *err)
{
    AUTO(mem) char *body = audit_body(record, err);
    const char *bodies[] = {body};
    return body && audit_append(a, bodies, 1, ret_number, err) && audit_settle(a, err);
}

struct audit *audit_open(const char *dir, uint64_t rotate_bytes, struct err *err)
{
    char head[PATH_MAX];
    uint64_t none;
    AUTO(audit) struct audit *a = own_alloc(sizeof *a, err);
    if (!a)
        return NULL;
    a->fd = a->head_fd = -1;
    a->rotate_bytes = rotate_bytes;
    if (!str_copy(a->dir, sizeof a->dir, dir) || !audit_path(a->path, dir, "audit.log", err) ||
        !audit_path(head, dir, "audit.head", err) || !sys_mkdirs(dir, 0700, err) ||
        !read_boot(a->boot, err))
        return err_null(err, "audit");
    a->head_fd = open_owned(dir, head, O_RDWR | O_CLOEXEC, err);
    if (a->head_fd < 0 || !audit_append(a, NULL, 0, &none, err))
        return err_null(err, "audit");
    return TAKE(a);
}

void audit_close(struct audit *audit)
{
    if (!audit)
        return;
    if (audit->fd >= 0)
        close(audit->fd);
    if (audit->head_fd >= 0)
        close(audit->head_fd);
    own_free(audit);
}

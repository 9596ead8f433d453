/* Fingerprint files: a header that proves what they stand for, then 16 bytes a record. */
#include "drivers/vault/ingest/fingers.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES = 80,
    PROVEN_BYTES = 64, /* of the header; its own fingerprint follows */
    BUFFERED = 4096,   /* fingerprints */
    PATH_BYTES = 600,
};
static const char magic[8] = "ECPRINT1";

struct fingers {
    char path[PATH_BYTES - 40];
    uint64_t volume;
    uint8_t secret[FINGERPRINT_SECRET_BYTES];
};

struct fingers_pass {
    int in, out;
    uint64_t in_at, in_end, out_at;
    size_t have, taken, kept;
    struct fingerprint known[BUFFERED], seen[BUFFERED];
};

enum which { KEPT, LATEST, BEFORE };

static void path_of(const struct fingers *f, uint64_t file, enum which which, char ret[PATH_BYTES])
{
    static const char *const ends[] = {"", ".new", ".old"};
    str_format(ret, PATH_BYTES, "%s/%06llx%s", f->path, (unsigned long long)file, ends[which]);
}

/* A secret that is damaged is replaced: what was kept under it then proves nothing. */
static bool secret_of(const char *folder, uint8_t *ret, struct err *err)
{
    char path[PATH_BYTES];
    size_t len = 0;
    struct err none = {0};
    if (!str_format(path, sizeof path, "%s/secret", folder))
        return err_set(err, ERR_LIMIT, "the path '%.200s' is too long", folder);
    AUTO(mem) char *text = sys_read_file(path, FINGERPRINT_SECRET_BYTES, &len, &none);
    if (text && len == FINGERPRINT_SECRET_BYTES) {
        memcpy(ret, text, len);
        return true;
    }
    if (!text && none.code != ERR_NOT_FOUND && none.code != ERR_LIMIT) {
        *err = none;
        return false;
    }
    clock_random(ret, FINGERPRINT_SECRET_BYTES);
    return sys_write_file(path, ret, FINGERPRINT_SECRET_BYTES, 0600, err);
}

struct fingers *fingers_open(const char *folder, uint64_t volume, struct err *err)
{
    AUTO(fingers) struct fingers *f = own_alloc(sizeof *f, err);
    if (!f)
        return NULL;
    f->volume = volume;
    if (!str_format(f->path, sizeof f->path, "%s/%016llx", folder, (unsigned long long)volume)) {
        err_set(err, ERR_LIMIT, "the path '%.200s' is too long", folder);
        return NULL;
    }
    return sys_mkdirs(f->path, 0700, err) && secret_of(folder, f->secret, err) ? TAKE(f) : NULL;
}

void fingers_close(struct fingers *fingers) { own_free(fingers); }

void fingers_print(const struct fingers *f, const void *record, struct fingerprint *ret)
{
    fingerprint_of(f->secret, record, RECORD_BYTES, ret);
}

/* ---- headers ---- */

static bool header_encode(const struct fingers *f, const struct fingers_of *of, struct bytes *to,
                          struct err *err)
{
    struct fingerprint proof;
    bool ok = bytes_add(to, magic, sizeof magic, err) && bytes_u64(to, VAULT_VERSION, err) &&
              bytes_u64(to, of->volume, err) && bytes_u64(to, of->file, err) &&
              bytes_u64(to, of->generation, err) && bytes_u64(to, of->size, err) &&
              bytes_u64(to, of->sequence, err) && bytes_u64(to, of->snapshot, err);
    if (!ok)
        return false;
    fingerprint_of(f->secret, to->data, PROVEN_BYTES, &proof);
    return bytes_add(to, proof.bytes, sizeof proof.bytes, err);
}

static uint64_t records_in(uint64_t size)
{
    return (size >> RECORD_SHIFT) + ((size & (RECORD_BYTES - 1)) != 0);
}

static bool header_decode(const struct fingers *f, const uint8_t *bytes, struct fingers_of *ret)
{
    struct fingerprint proof;
    struct cursor c = cursor_over(bytes + sizeof magic, HEADER_BYTES - sizeof magic);
    fingerprint_of(f->secret, bytes, PROVEN_BYTES, &proof);
    if (memcmp(bytes, magic, sizeof magic) != 0 || cursor_u64(&c) != VAULT_VERSION ||
        memcmp(bytes + PROVEN_BYTES, proof.bytes, sizeof proof.bytes) != 0)
        return false;
    ret->volume = cursor_u64(&c);
    ret->file = cursor_u64(&c);
    ret->generation = cursor_u64(&c);
    ret->size = cursor_u64(&c);
    ret->sequence = cursor_u64(&c);
    ret->snapshot = cursor_u64(&c);
    return ret->volume == f->volume;
}

bool fingers_find(struct fingers *f, uint64_t file, struct fingers_of *ret)
{
    char path[PATH_BYTES];
    uint8_t bytes[HEADER_BYTES];
    struct stat st;
    struct err none = {0};
    path_of(f, file, KEPT, path);
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0, &none);
    return fd >= 0 && sys_fstat(fd, &st, path, &none) &&
           sys_pread(fd, bytes, sizeof bytes, 0, path, &none) == HEADER_BYTES &&
           header_decode(f, bytes, ret) && ret->file == file &&
           (uint64_t)st.st_size ==
               HEADER_BYTES + records_in(ret->size) * (uint64_t)FINGERPRINT_BYTES;
}

/* ---- passes ---- */

void fingers_give_up(struct fingers_pass *pass)
{
    if (!pass)
        return;
    own_auto_fd(&pass->in);
    own_auto_fd(&pass->out);
    own_free(pass);
}

static bool open_known(struct fingers_pass *pass, const char *path, struct err *err)
{
    struct stat st;
    pass->in = sys_open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0, err);
    if (pass->in < 0 || !sys_fstat(pass->in, &st, path, err))
        return false;
    pass->in_at = HEADER_BYTES;
    pass->in_end = (uint64_t)st.st_size;
    return true;
}

struct fingers_pass *fingers_begin(struct fingers *f, uint64_t file, enum fingers_from from,
                                   struct err *err)
{
    char latest[PATH_BYTES], other[PATH_BYTES];
    path_of(f, file, LATEST, latest);
    path_of(f, file, from == FINGERS_LATEST ? BEFORE : KEPT, other);
    AUTO(fingers_pass) struct fingers_pass *pass = own_alloc(sizeof *pass, err);
    if (!pass)
        return NULL;
    pass->in = pass->out = -1;
    pass->out_at = HEADER_BYTES;
    if ((from == FINGERS_LATEST && !sys_rename(latest, other, err)) ||
        (from != FINGERS_NONE && !open_known(pass, other, err)))
        return NULL;
    pass->out = sys_open(latest, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600, err);
    return pass->out >= 0 ? TAKE(pass) : NULL;
}

static bool fill(struct fingers_pass *pass, struct err *err)
{
    uint64_t left = pass->in_at < pass->in_end ? pass->in_end - pass->in_at : 0;
    size_t size = left < sizeof pass->known ? (size_t)left : sizeof pass->known;
    ssize_t got =
        size ? sys_pread(pass->in, pass->known, size, pass->in_at, "fingerprints", err) : 0;
    if (got < 0)
        return false;
    pass->have = (size_t)got / FINGERPRINT_BYTES;
    pass->in_at += pass->have * FINGERPRINT_BYTES;
    pass->taken = 0;
    return true;
}

bool fingers_known(struct fingers_pass *pass, struct fingerprint *ret, size_t count,
                   size_t *ret_count, struct err *err)
{
    size_t done = 0;
    while (pass->in >= 0 && done < count) {
        if (pass->taken == pass->have && !fill(pass, err))
            return false;
        if (pass->have == 0)
            break;
        size_t part = pass->have - pass->taken;
        if (part > count - done)
            part = count - done;
        memcpy(ret + done, pass->known + pass->taken, part * sizeof *ret);
        pass->taken += part;
        done += part;
    }
    *ret_count = done;
    return true;
}

static bool flush(struct fingers_pass *pass, struct err *err)
{
    size_t size = pass->kept * sizeof *pass->seen;
    if (!sys_pwrite(pass->out, pass->seen, size, pass->out_at, "fingerprints", err))
        return false;
    pass->out_at += size;
    pass->kept = 0;
    return true;
}

bool fingers_seen(struct fingers_pass *pass, const struct fingerprint *prints, size_t count,
                  struct err *err)
{
    while (count > 0) {
        size_t part = BUFFERED - pass->kept < count ? BUFFERED - pass->kept : count;
        memcpy(pass->seen + pass->kept, prints, part * sizeof *prints);
        pass->kept += part;
        prints += part;
        count -= part;
        if (pass->kept == BUFFERED && !flush(pass, err))
            return false;
    }
    return true;
}

bool fingers_end(struct fingers_pass *pass, struct err *err)
{
    bool ok = flush(pass, err) && sys_close(&pass->out, err);
    fingers_give_up(pass);
    return ok;
}

bool fingers_keep(struct fingers *f, const struct fingers_of *of, struct err *err)
{
    char latest[PATH_BYTES], kept[PATH_BYTES], before[PATH_BYTES];
    struct err gone = {0};
    AUTO(bytes) struct bytes header = {0};
    path_of(f, of->file, LATEST, latest);
    path_of(f, of->file, KEPT, kept);
    path_of(f, of->file, BEFORE, before);
    AUTO(fd) int fd = sys_open(latest, O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0, err);
    if (fd < 0 || !header_encode(f, of, &header, err) ||
        !sys_pwrite(fd, header.data, header.len, 0, latest, err) ||
        !sys_fdatasync(fd, latest, err) || !sys_rename(latest, kept, err))
        return false;
    IGNORE(sys_unlink(before, &gone)); /* swept later, if at all there */
    return true;
}

void fingers_forget_pass(struct fingers *f, uint64_t file)
{
    char path[PATH_BYTES];
    struct err gone = {0};
    for (int which = LATEST; which <= BEFORE; which++) {
        path_of(f, file, (enum which)which, path);
        IGNORE(sys_unlink(path, &gone)); /* swept later, if at all there */
    }
}

/* ---- sweeping ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_among(const char *name, const uint64_t *numbers, size_t count)
{
    char *end = NULL;
    uint64_t number = strtoull(name, &end, 16);
    return count > 0 && end != name && *end == '\0' &&
           bsearch(&number, numbers, count, sizeof *numbers, by_number);
}

bool fingers_sweep(struct fingers *f, const uint64_t *files, size_t count, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(f->path, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        char path[PATH_BYTES + 256];
        if (is_among(names.names[i], files, count))
            continue;
        if (str_format(path, sizeof path, "%s/%s", f->path, names.names[i]) &&
            !sys_unlink(path, err))
            return false;
    }
    return true;
}

bool fingers_sweep_volumes(const char *folder, const uint64_t *volumes, size_t count,
                           struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(folder, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        char path[PATH_BYTES + 256];
        if (strlen(names.names[i]) != 16 || is_among(names.names[i], volumes, count))
            continue;
        if (str_format(path, sizeof path, "%s/%s", folder, names.names[i]) &&
            !sys_remove_tree(path, err))
            return false;
    }
    return true;
}

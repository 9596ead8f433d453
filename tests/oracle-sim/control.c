/* Control files and backup pieces: real frames, our own payload (the control database's bytes). */
#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { CTL_BS = 16384, CHUNK_HEAD = 48, META_AT = 128 };
static const char chunk_magic[4] = {'E', 'V', 'P', 'C'};

static void common_header(struct sim *s, uint8_t *b, uint32_t bs, uint32_t blocks, unsigned type,
                          const char *tag)
{
    struct fmt f = s->fmt;
    char name[9] = "", t[33] = "";

    copy_text(name, sizeof name, s->dbname);
    copy_text(t, sizeof t, tag);
    put4(f, b + 24, s->compat);
    put4(f, b + 28, s->dbid);
    memcpy(b + 32, name, 8);
    put4(f, b + 40, (uint32_t)kv_int(s, "ctl", "csq", 1));
    put4(f, b + 44, blocks);
    put4(f, b + 48, bs);
    put2(f, b + 54, type);
    memcpy(b + 64, t, 32);
}

/* The control database as bytes; the journal mode in its header is set back to "plain file". */
uint8_t *control_bytes(struct sim *s, size_t *n)
{
    sqlite3_int64 size = 0;
    uint8_t *data = sqlite3_serialize(s->db, "ctl", &size, 0);

    if (!data || size < 100)
        die("cannot serialize the control file");
    data[18] = data[19] = 1;
    *n = (size_t)size;
    return data;
}

static void chunk(struct fmt f, uint8_t *b, uint32_t bs, uint32_t no, int kind, uint64_t total,
                  const uint8_t *data, size_t part, int type)
{
    memset(b, 0, bs);
    memcpy(b + 20, chunk_magic, 4);
    put4(f, b + 24, (uint32_t)kind);
    put4(f, b + 28, (uint32_t)part);
    put8(f, b + 32, total);
    if (part)
        memcpy(b + CHUNK_HEAD, data, part);
    kcbh_seal(f, b, bs, type, no, 0, 1);
}

static bool chunks_put(struct fmt f, int fd, uint32_t bs, uint32_t *block, int kind,
                       const uint8_t *data, size_t n, int type)
{
    size_t room = bs - CHUNK_HEAD - 4, done = 0;
    uint8_t *b = malloc(bs);
    bool ok = b != NULL;

    do {
        size_t part = n - done < room ? n - done : room;

        if (!ok)
            break;
        chunk(f, b, bs, *block, kind, n, data + done, part, type);
        ok = disk_pwrite(fd, b, bs, (off_t)*block * bs) == (ssize_t)bs;
        (*block)++;
        done += part;
    } while (done < n);
    free(b);
    return ok;
}

bool control_write(struct sim *s, const char *path, int type, struct ora *e)
{
    uint8_t b[CTL_BS], *data;
    char tmp[PATH_LEN];
    size_t n;
    uint32_t block = 2;
    int fd;
    bool ok;

    format_text(tmp, sizeof tmp, "%.1000s.%d", path, (int)getpid());
    fd = disk_open(tmp, O_RDWR | O_CREAT | O_TRUNC, 0640);
    if (fd < 0)
        return ora_io(e, "create", path, errno);
    data = control_bytes(s, &n);
    ok = chunks_put(s->fmt, fd, CTL_BS, &block, 1, data, n, 0x15);
    sqlite3_free(data);
    memset(b, 0, sizeof b);
    common_header(s, b, CTL_BS, block - 1, (unsigned)type, "");
    kcbh_seal(s->fmt, b, CTL_BS, 0x15, 1, 0, 1);
    ok = ok && disk_pwrite(fd, b, CTL_BS, CTL_BS) == CTL_BS;
    os_block(s->fmt, b, CTL_BS, block - 1);
    ok = ok && disk_pwrite(fd, b, CTL_BS, 0) == CTL_BS;
    if (!ok)
        disk_abandon(fd);
    if (!ok || disk_close(fd) < 0 || disk_rename(tmp, path) < 0) {
        int why = errno;

        disk_unlink(tmp);
        return ora_io(e, "write", path, why);
    }
    return true;
}

static bool frame(const uint8_t *os, size_t n, struct fmt *f, uint32_t *bs)
{
    if (n < 64 || os[0] != 0)
        return false;
    f->be = os[28] == 0x7a;
    f->big = false;
    if (get4(*f, os + 28) != 0x7a7b7c7du)
        return false;
    *bs = get4(*f, os + 20);
    return *bs >= 512 && *bs <= 32768 && (size_t)*bs * 2 <= n;
}

/* Adds one chunk to the stream being gathered; the first chunk tells the stream's whole length. */
static bool gather(uint8_t **data, size_t total, size_t done, const uint8_t *part, size_t n)
{
    if (done == 0 && total < (size_t)1 << 30)
        *data = malloc(total + 1);
    if (!*data || done + n > total)
        return false;
    memcpy(*data + done, part, n);
    (*data)[done + n] = 0;
    return true;
}

/* Reads the nth run of chunks of one kind; data blocks of files in between are passed over. */
static bool unchunk(const uint8_t *all, size_t n, int kind, int nth, uint8_t **data, size_t *len)
{
    struct fmt f;
    uint32_t bs;
    size_t done = 0, total = 0;

    *data = NULL;
    if (!frame(all, n, &f, &bs))
        return false;
    for (size_t at = (size_t)bs * 2; at + bs <= n; at += bs) {
        const uint8_t *b = all + at;
        uint32_t part = get4(f, b + 28);

        if (memcmp(b + 20, chunk_magic, 4) != 0 || (int)get4(f, b + 24) != kind)
            continue;
        if (!kcbh_ok(f, b, bs) || part > bs - CHUNK_HEAD - 4)
            break;
        if (done == 0)
            total = (size_t)get8(f, b + 32);
        if (nth == 0 && !gather(data, total, done, b + CHUNK_HEAD, part))
            break;
        done += part;
        if (done < total)
            continue;
        *len = total;
        if (nth-- == 0)
            return true;
        done = 0;
    }
    free(*data);
    *data = NULL;
    return false;
}

bool piece_unstream(const char *path, int kind, int nth, uint8_t **data, size_t *n)
{
    size_t size = 0;
    char *all = read_all(path, &size);
    bool ok = all && unchunk((const uint8_t *)all, size, kind, nth, data, n);

    free(all);
    return ok;
}

bool control_read(const char *path, uint8_t **data, size_t *n)
{
    return piece_unstream(path, 1, 0, data, n);
}

/* Writes every control file of the instance anew from the state. */
bool control_flush(struct sim *s, struct ora *e)
{
    char list[PATH_LEN * 2], *p, *next;
    bool ok = true;

    param(s, "control_files", list, sizeof list);
    for (p = list; p && *p; p = next) {
        next = strchr(p, ',');
        if (next)
            *next++ = 0;
        while (*p == ' ' || *p == '\'')
            p++;
        p[strcspn(p, "'")] = 0;
        if (*p)
            ok = control_write(s, p, 1, e) && ok;
    }
    return ok;
}

/* Mount: the control file's bytes become the instance's control state. */
bool control_mount(struct sim *s, struct ora *e)
{
    char list[PATH_LEN * 2], path[PATH_LEN];
    uint8_t *data = NULL;
    size_t n = 0;
    bool ok;

    param(s, "control_files", list, sizeof list);
    list[strcspn(list, ",")] = 0;
    if (!control_read(list, &data, &n)) {
        ora_add(e, "ORA-00205: error in identifying control file, check alert log for more info");
        return false;
    }
    format_text(path, sizeof path, "%.900s/control.sqlite", s->dir);
    ok = write_all(path, data, n);
    free(data);
    return ok && sim_mount(s, false);
}

/* ---- pieces ---- */

int piece_create(struct sim *s, const char *path, uint32_t bs, struct ora *e)
{
    int fd = disk_open(path, O_RDWR | O_CREAT | O_TRUNC, 0640);
    uint8_t *b = calloc(1, bs);

    if (fd < 0) {
        ora_io(e, "create", path, errno);
    } else if (b) {
        os_block(s->fmt, b, bs, 1);
        if (disk_pwrite(fd, b, bs, 0) != (ssize_t)bs) {
            ora_io(e, "write", path, errno);
            disk_abandon(fd);
            fd = -1;
        }
    }
    free(b);
    return fd;
}

bool piece_finish(struct sim *s, int fd, const char *path, uint32_t bs, const char *tag,
                  uint32_t set, uint32_t blocks, struct ora *e)
{
    uint8_t *b = calloc(1, bs);
    bool ok = b != NULL;

    if (ok) {
        common_header(s, b, bs, blocks - 1, 5, tag);
        put4(s->fmt, b + META_AT, set);
        kcbh_seal(s->fmt, b, bs, 0x13, 1, 0, 1);
        ok = disk_pwrite(fd, b, bs, bs) == (ssize_t)bs;
        os_block(s->fmt, b, bs, blocks - 1);
        ok = ok && disk_pwrite(fd, b, bs, 0) == (ssize_t)bs;
    }
    free(b);
    if (!ok)
        disk_abandon(fd);
    if (!ok || disk_close(fd) < 0)
        return ora_io(e, "write", path, errno);
    return true;
}

bool piece_stream(struct sim *s, int fd, uint32_t bs, uint32_t *block, int kind,
                  const uint8_t *data, size_t n)
{
    return chunks_put(s->fmt, fd, bs, block, kind, data, n, 0x13);
}

bool piece_head(const char *path, struct piece_meta *m)
{
    uint8_t os[64], *b;
    int fd = disk_open(path, O_RDONLY, 0);
    bool ok;

    if (fd < 0)
        return false;
    memset(m, 0, sizeof *m);
    ok =
        disk_pread(fd, os, sizeof os, 0) == (ssize_t)sizeof os && frame(os, 65536, &m->fmt, &m->bs);
    b = ok ? malloc(m->bs) : NULL;
    ok = b && disk_pread(fd, b, m->bs, m->bs) == (ssize_t)m->bs && kcbh_ok(m->fmt, b, m->bs) &&
         get2(m->fmt, b + 54) == 5;
    if (ok) {
        m->blocks = get4(m->fmt, os + 24);
        m->dbid = get4(m->fmt, b + 28);
        memcpy(m->dbname, b + 32, 8);
        memcpy(m->tag, b + 64, 32);
        m->set = get4(m->fmt, b + META_AT);
    }
    free(b);
    disk_close(fd);
    return ok;
}

char *spfile_text(struct sim *s)
{
    size_t n = 0;
    char *out = NULL;
    FILE *f = open_memstream(&out, &n);
    sqlite3_stmt *st =
        q(s, "select name, value from main.params where value<>'' order by name", NULL);

    while (row(st)) {
        const char *v = text(st, 1);
        bool plain = v[0] && v[strspn(v, "0123456789TRUEFALSN")] == 0;

        if (f)
            fprintf(f, plain || v[0] == '\'' ? "*.%s=%s\n" : "*.%s='%s'\n", text(st, 0), v);
    }
    if (!f || fclose(f) != 0)
        die("out of memory");
    return out;
}

void control_trace(struct sim *s, const char *path)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    struct dfile *all;
    int n = files_load(s, &all);

    if (!f)
        die("out of memory");
    fprintf(
        f,
        "-- Set #1. NORESETLOGS case\nSTARTUP NOMOUNT\nCREATE CONTROLFILE REUSE DATABASE \"%s\" "
        "NORESETLOGS  ARCHIVELOG\nDATAFILE\n",
        s->dbname);
    for (int i = 0; i < n; i++)
        fprintf(f, "  '%s'%s\n", all[i].name, i + 1 < n ? "," : "");
    fprintf(f, "CHARACTER SET AL32UTF8\n;\n");
    free(all);
    fclose(f);
    write_all(path, out, size);
    free(out);
}

/* Datafiles: real header, space, data and undo blocks; a block's content follows from its SCN
 * alone. */
#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const char file_columns[] =
    "select "
    "file,ts,rfn,con,tsname,name,blocks,undo,crscn,crtime,status,enabled,ckpscn,ckptime,ckpthread,"
    "ckpseq,ckpblk,cpc,stopscn,offscn,onscn from ctl.files";

static void file_from_row(sqlite3_stmt *st, struct dfile *f)
{
    memset(f, 0, sizeof *f);
    f->file = (int)col(st, 0);
    f->ts = (int)col(st, 1);
    f->rfn = (int)col(st, 2);
    f->con = (int)col(st, 3);
    copy_text(f->tsname, sizeof f->tsname, text(st, 4));
    copy_text(f->name, sizeof f->name, text(st, 5));
    f->blocks = (uint32_t)col(st, 6);
    f->undo = col(st, 7) != 0;
    f->crscn = (uint64_t)col(st, 8);
    f->crtime = (uint32_t)col(st, 9);
    copy_text(f->status, sizeof f->status, text(st, 10));
    copy_text(f->enabled, sizeof f->enabled, text(st, 11));
    f->ckpscn = (uint64_t)col(st, 12);
    f->ckptime = (uint32_t)col(st, 13);
    f->ckpthread = (int)col(st, 14);
    f->ckpseq = (uint32_t)col(st, 15);
    f->ckpblk = (uint32_t)col(st, 16);
    f->cpc = (uint32_t)col(st, 17);
    f->stopscn = (uint64_t)col(st, 18);
    f->offscn = (uint64_t)col(st, 19);
    f->onscn = (uint64_t)col(st, 20);
}

int files_load(struct sim *s, struct dfile **out)
{
    char sql[512];
    int n = (int)q_int(s, "select count(*) from ctl.files", NULL), i = 0;
    struct dfile *all = calloc((size_t)n + 1, sizeof *all);
    sqlite3_stmt *st;

    if (!all)
        die("out of memory");
    format_text(sql, sizeof sql, "%s order by file", file_columns);
    st = q(s, sql, NULL);
    while (row(st))
        if (i < n)
            file_from_row(st, &all[i++]);
    *out = all;
    return i;
}

bool file_load(struct sim *s, int file, struct dfile *f)
{
    char sql[512];
    sqlite3_stmt *st;
    bool found = false;

    format_text(sql, sizeof sql, "%s where file=?", file_columns);
    st = q(s, sql, "i", (int64_t)file);
    while (row(st)) {
        file_from_row(st, f);
        found = true;
    }
    return found;
}

void file_insert(struct sim *s, const struct dfile *f)
{
    x(s,
      "insert into ctl.files(file,ts,rfn,con,tsname,name,undo,crscn,crtime) "
      "values(?,?,?,?,?,?,?,?,?)",
      "iiiissiii", (int64_t)f->file, (int64_t)f->ts, (int64_t)f->rfn, (int64_t)f->con, f->tsname,
      f->name, (int64_t)f->undo, (int64_t)f->crscn, (int64_t)f->crtime);
    file_save(s, f);
}

void file_save(struct sim *s, const struct dfile *f)
{
    x(s,
      "update ctl.files set "
      "name=?,blocks=?,status=?,enabled=?,ckpscn=?,ckptime=?,ckpthread=?,ckpseq=?,"
      "ckpblk=?,cpc=?,stopscn=?,offscn=?,onscn=? where file=?",
      "sissiiiiiiiiii", f->name, (int64_t)f->blocks, f->status, f->enabled, (int64_t)f->ckpscn,
      (int64_t)f->ckptime, (int64_t)f->ckpthread, (int64_t)f->ckpseq, (int64_t)f->ckpblk,
      (int64_t)f->cpc, (int64_t)f->stopscn, (int64_t)f->offscn, (int64_t)f->onscn,
      (int64_t)f->file);
}

/* Read-only, offline normal, seed: a stop SCN says no redo is needed. */
bool file_static(const struct dfile *f) { return f->stopscn != 0; }

uint32_t file_rdba(int rfn, uint32_t block)
{
    return rfn == 1024 ? block : (uint32_t)rfn << 22 | (block & 0x3fffff);
}

void header_from_file(struct sim *s, const struct dfile *f, struct dfh *h)
{
    memset(h, 0, sizeof *h);
    h->fmt = s->fmt;
    h->bsc = hot_since(s, f->file);
    h->compat = s->compat;
    h->dbid = s->dbid;
    copy_text(h->dbname, sizeof h->dbname, s->dbname);
    h->csq = (uint32_t)kv_int(s, "ctl", "csq", 1);
    h->fsz = f->blocks;
    h->bs = s->bs;
    h->fno = f->file;
    h->typ = 3;
    h->crs = f->crscn;
    h->crt = f->crtime;
    h->rlc = s->rlc;
    h->rls = s->rls;
    h->sta = (file_static(f) || !is_open(s) ? 0 : STA_ONLINE) | (f->file == 1 ? STA_BOOT : 0);
    h->sta |= h->bsc ? STA_BACKUP : 0;
    h->cpc = f->cpc;
    h->ccc = f->cpc ? f->cpc - 1 : 0;
    h->tsn = f->ts;
    copy_text(h->tsname, sizeof h->tsname, f->tsname);
    h->rfn = f->rfn;
    h->prc = (uint32_t)kv_int(s, "ctl", "prc", 0);
    h->prs = (uint64_t)kv_int(s, "ctl", "prs", 0);
    h->ckp = f->ckpscn;
    h->ckptim = f->ckptime;
    h->ckpthr = f->ckpthread;
    h->ckpseq = f->ckpseq;
    h->ckpblk = f->ckpblk;
}

static void dfh_put_common(const struct dfh *h, uint8_t *b)
{
    struct fmt f = h->fmt;

    put4(f, b + 24, h->compat);
    put4(f, b + 28, h->dbid);
    memcpy(b + 32, h->dbname, 8);
    put4(f, b + 40, h->csq);
    put4(f, b + 44, h->fsz);
    put4(f, b + 48, h->bs);
    put2(f, b + 52, (unsigned)h->fno);
    put2(f, b + 54, h->typ);
    memcpy(b + 64, h->tag, 32);
}

/* Offsets: section 3 of the format page, one line per field in its order. */
void dfh_put(const struct dfh *h, uint8_t *b)
{
    struct fmt f = h->fmt;
    size_t len = strlen(h->tsname) < 30 ? strlen(h->tsname) : 30;

    memset(b, 0, h->bs);
    dfh_put_common(h, b);
    put4(f, b + 96, h->fno == 1 ? 0x00400208u : 0);
    put_scn(f, b + 100, h->crs);
    put4(f, b + 108, h->crt);
    put4(f, b + 112, h->rlc);
    put_scn(f, b + 116, h->rls);
    put_scn(f, b + 128, h->bsc);
    put2(f, b + 138, (unsigned)h->sta);
    put4(f, b + 140, h->cpc);
    put4(f, b + 144, h->rts);
    put4(f, b + 148, h->ccc);
    put_scn(f, b + 152, 0);
    put4(f, b + 332, (uint32_t)h->tsn);
    put2(f, b + 336, (unsigned)len);
    memcpy(b + 338, h->tsname, len);
    put4(f, b + 368, (uint32_t)h->rfn);
    put_scn(f, b + 372, h->rfs);
    put4(f, b + 380, h->rft);
    put_scn(f, b + 384, h->afs);
    put4(f, b + 392, h->bbc);
    put4(f, b + 408, h->bcs);
    put2(f, b + 412, h->fno == 1 ? 10 : 0);
    put2(f, b + 414, h->fno == 1 ? 10 : 0);
    put4(f, b + 416, h->prc);
    put_scn(f, b + 420, h->prs);
    put_scn(f, b + 428, 0);
    put_scn(f, b + 484, h->ckp);
    put4(f, b + 492, h->ckptim);
    put2(f, b + 496, (unsigned)h->ckpthr);
    put4(f, b + 500, h->ckpseq);
    put4(f, b + 504, h->ckpblk);
    put2(f, b + 508, 0x10);
    b[512] = 2;
    put2(f, b + 644, 13);
    put2(f, b + 646, 13);
    put2(f, b + 648, 13);
    put2(f, b + 650, 1);
    kcbh_seal(f, b, h->bs, 0x0b, file_rdba(h->rfn, 1), 0, 1);
}

static bool os_get(const uint8_t *os, struct fmt *f, uint32_t *bs)
{
    static const uint8_t le[4] = {0x7d, 0x7c, 0x7b, 0x7a}, be[4] = {0x7a, 0x7b, 0x7c, 0x7d};

    if (os[0] != 0 || (memcmp(os + 28, le, 4) != 0 && memcmp(os + 28, be, 4) != 0))
        return false;
    f->be = memcmp(os + 28, be, 4) == 0;
    f->big = false;
    *bs = get4(*f, os + 20);
    return *bs >= 512 && *bs <= 32768 && (*bs & (*bs - 1)) == 0;
}

bool dfh_get(const uint8_t *os, const uint8_t *b, struct dfh *h)
{
    struct fmt f;
    size_t len;

    memset(h, 0, sizeof *h);
    if (!os_get(os, &f, &h->bs) || h->bs < 2048 || b[0] != 0x0b || !kcbh_ok(f, b, h->bs))
        return false;
    h->compat = get4(f, b + 24);
    f.big = h->compat >= 0x0c200000u;
    h->fmt = f;
    h->dbid = get4(f, b + 28);
    memcpy(h->dbname, b + 32, 8);
    h->csq = get4(f, b + 40);
    h->fsz = get4(f, b + 44);
    h->fno = (int)get2(f, b + 52);
    h->typ = get2(f, b + 54);
    memcpy(h->tag, b + 64, 32);
    h->crs = get_scn(f, b + 100);
    h->crt = get4(f, b + 108);
    h->rlc = get4(f, b + 112);
    h->rls = get_scn(f, b + 116);
    h->bsc = get_scn(f, b + 128);
    h->sta = (int)get2(f, b + 138);
    h->cpc = get4(f, b + 140);
    h->rts = get4(f, b + 144);
    h->ccc = get4(f, b + 148);
    h->tsn = (int)get4(f, b + 332);
    len = get2(f, b + 336) < 30 ? get2(f, b + 336) : 30;
    memcpy(h->tsname, b + 338, len);
    h->rfn = (int)get4(f, b + 368);
    h->rfs = get_scn(f, b + 372);
    h->rft = get4(f, b + 380);
    h->afs = get_scn(f, b + 384);
    h->bbc = get4(f, b + 392);
    h->bcs = get4(f, b + 408);
    h->prc = get4(f, b + 416);
    h->prs = get_scn(f, b + 420);
    h->ckp = get_scn(f, b + 484);
    h->ckptim = get4(f, b + 492);
    h->ckpthr = (int)get2(f, b + 496);
    h->ckpseq = get4(f, b + 500);
    h->ckpblk = get4(f, b + 504);
    return true;
}

bool dfh_read(const char *path, struct dfh *h)
{
    static uint8_t os[32768], b[32768];
    int fd = disk_open(path, O_RDONLY, 0);
    struct fmt f;
    uint32_t bs;
    bool ok;

    if (fd < 0)
        return false;
    memset(os, 0, 64);
    ok = disk_pread(fd, os, 64, 0) == 64 && os_get(os, &f, &bs) && bs >= 2048 &&
         disk_pread(fd, b, bs, bs) == (ssize_t)bs && dfh_get(os, b, h);
    disk_close(fd);
    return ok;
}

/* Block 0 and the header: block 0 first, so that the size and the header agree at the end. */
bool dfh_write(int fd, const struct dfh *h)
{
    static uint8_t b[32768];

    os_block(h->fmt, b, h->bs, h->fsz);
    if (disk_pwrite(fd, b, h->bs, 0) != (ssize_t)h->bs)
        return false;
    dfh_put(h, b);
    return disk_pwrite(fd, b, h->bs, h->bs) == (ssize_t)h->bs;
}

void live_header(struct sim *s, const struct dfile *f)
{
    struct dfh h;
    int fd = disk_open(f->name, O_WRONLY, 0);

    if (fd < 0)
        return;
    header_from_file(s, f, &h);
    if (!dfh_write(fd, &h))
        die("cannot write the header of '%s'", f->name);
    disk_close(fd);
}

static uint64_t mix(uint64_t v)
{
    v ^= v >> 30;
    v *= UINT64_C(0xbf58476d1ce4e5b9);
    v ^= v >> 27;
    v *= UINT64_C(0x94d049bb133111eb);
    return v ^ v >> 31;
}

static int block_type(const struct body *k, uint32_t block)
{
    if (block == 2)
        return 0x1d;
    if (block == 3)
        return 0x1e;
    return k->undo ? 0x02 : 0x06;
}

/* Half noise, half repetition, so that compression has something to find. */
void block_make(const struct body *k, uint32_t block, uint64_t scn, uint8_t *b)
{
    uint64_t v = mix((uint64_t)k->dbid << 32 ^ (uint64_t)k->file << 40 ^ block) ^ mix(scn + 1), w;
    size_t half = k->bs / 2;

    if (scn == 0) {
        memset(b, 0, k->bs);
        return;
    }
    v |= 1;
    for (size_t i = 0; i < half; i += 8) {
        v ^= v << 13;
        v ^= v >> 7;
        v ^= v << 17;
        memcpy(b + i, &v, 8);
    }
    w = v;
    for (size_t i = half; i < k->bs; i += 8)
        memcpy(b + i, &w, 8);
    put4(k->fmt, b + 20, block == 2 ? (uint32_t)k->rfn : (uint32_t)k->file);
    put8(k->fmt, b + 24, scn);
    kcbh_seal(k->fmt, b, k->bs, block_type(k, block), file_rdba(k->rfn, block), scn, 1);
}

uint64_t birth_scn(const struct birth *v, int file, uint32_t block)
{
    if (block > v->hwm)
        return 0;
    return v->lo + (v->span ? mix((uint64_t)file << 32 | block) % v->span : 0);
}

struct body body_of(struct sim *s, const struct dfile *f)
{
    struct body k = {s->fmt, s->dbid, s->bs, f->file, f->rfn, f->undo};

    return k;
}

static bool write_body(int fd, const struct body *k, uint32_t blocks, const struct birth *v)
{
    enum { RUN = 64 };
    uint8_t *buf = malloc((size_t)RUN * k->bs);
    uint32_t last = v->hwm < blocks ? v->hwm : blocks, n;
    bool ok = buf != NULL;

    for (uint32_t b = 2; ok && b <= last; b += n) {
        n = last - b + 1 < RUN ? last - b + 1 : RUN;
        for (uint32_t i = 0; i < n; i++)
            block_make(k, b + i, birth_scn(v, k->file, b + i), buf + (size_t)i * k->bs);
        ok = disk_pwrite(fd, buf, (size_t)n * k->bs, (off_t)b * k->bs) ==
             (ssize_t)((size_t)n * k->bs);
    }
    free(buf);
    return ok && disk_truncate(fd, ((off_t)blocks + 1) * k->bs) == 0;
}

bool datafile_create(struct sim *s, const struct dfile *f, const struct birth *v)
{
    struct body k = body_of(s, f);
    struct dfh h;
    int fd;
    bool ok;

    if (!mkdirs_for(f->name))
        return false;
    fd = disk_open(f->name, O_RDWR | O_CREAT | O_TRUNC, 0640);
    if (fd < 0)
        return false;
    header_from_file(s, f, &h);
    ok = write_body(fd, &k, f->blocks, v) && dfh_write(fd, &h);
    return disk_close(fd) == 0 && ok;
}

static void checkpoint_at(struct sim *s, struct dfile *f, uint64_t scn)
{
    sqlite3_stmt *st =
        q(s,
          "select l.seq, l.wblk, t.thread from ctl.threads t join ctl.logs l on l.grp=t.grp"
          " where t.status='OPEN' order by t.thread limit 1",
          NULL);

    while (row(st)) {
        f->ckpseq = (uint32_t)col(st, 0);
        f->ckpblk = (uint32_t)col(st, 1);
        f->ckpthread = (int)col(st, 2);
    }
    f->ckpscn = scn;
    f->ckptime = now_ft(s);
    f->cpc++;
    file_save(s, f);
    live_header(s, f);
}

void file_checkpoint(struct sim *s, struct dfile *f)
{
    if (file_static(f) || hot_since(s, f->file))
        return; /* in hot backup the header's checkpoint stands still */
    tx_begin(s);
    checkpoint_at(s, f, scn_next(s));
    tx_end(s);
}

void db_checkpoint(struct sim *s)
{
    struct dfile *all;
    int n;
    uint64_t scn;

    tx_begin(s);
    n = files_load(s, &all);
    scn = scn_next(s);
    for (int i = 0; i < n; i++)
        if (!file_static(&all[i]) && !hot_since(s, all[i].file))
            checkpoint_at(s, &all[i], scn);
    kv_set(s, "ctl", "ckpscn", (int64_t)scn);
    free(all);
    tx_end(s);
}

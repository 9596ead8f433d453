/* The simulator's shared words: one instance, its files, its redo, and the clients that speak for
 * it. */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "files.h"
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_LEN = 1024, NAME_LEN = 64, ORA_LINES = 12, ORA_TEXT = 1400 };
#define SCN_NONE UINT64_C(281474976710655) /* what Oracle shows for "no upper limit" */

/* ---- errors: an Oracle stack, first line printed first ---- */
struct ora {
    int lines;
    char line[ORA_LINES][ORA_TEXT];
};
bool ora_add(struct ora *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool ora_io(struct ora *e, const char *what, const char *path, int error);
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);

/* ---- bytes.c: numbers, checksums, SCNs, fictive time ---- */
struct fmt {
    bool be;  /* byte order of the platform that made the file */
    bool big; /* compatible >= 12.2: flagged 8-byte SCNs */
};
void put2(struct fmt f, uint8_t *p, unsigned v);
void put4(struct fmt f, uint8_t *p, uint32_t v);
void put8(struct fmt f, uint8_t *p, uint64_t v);
unsigned get2(struct fmt f, const uint8_t *p);
uint32_t get4(struct fmt f, const uint8_t *p);
uint64_t get8(struct fmt f, const uint8_t *p);
void put_scn(struct fmt f, uint8_t *p, uint64_t scn);
void put_scn_open(uint8_t *p);
uint64_t get_scn(struct fmt f, const uint8_t *p);
unsigned fold16(const uint8_t *p, size_t n);
uint32_t compat_code(const char *text);
unsigned size_code(uint32_t bs);
/* Seals a kcbh block: type, size code, rdba, scn, seq, flag 4, tail, checksum. */
void kcbh_seal(struct fmt f, uint8_t *b, uint32_t bs, int type, uint32_t rdba, uint64_t scn,
               int seq);
bool kcbh_ok(struct fmt f, const uint8_t *b, uint32_t bs);
uint64_t kcbh_scn(struct fmt f, const uint8_t *b);
void os_block(struct fmt f, uint8_t *b, uint32_t bs, uint32_t blocks);
uint32_t ft_from_local(int64_t local_epoch);
int64_t ft_to_local(uint32_t ft);
/* "YYYY-MM-DD HH:MM:SS" of a fictive time. */
const char *ft_text(uint32_t ft, char out[32]);
void civil(int64_t local_epoch, int out[6]);

/* ---- state.c: SQLite state, clock, SCN, parameters ---- */
struct sim {
    sqlite3 *db;
    char home[PATH_LEN], sid[NAME_LEN], dir[PATH_LEN];
    bool have;    /* an instance exists (started at least) */
    bool sandbox; /* made by startup nomount from a pfile */
    bool mounted; /* schema ctl is attached */
    char state[16];
    char release[32], edition[8];
    int major;
    /* from the control file, once mounted */
    struct fmt fmt;
    uint32_t compat, dbid, bs, redo_bs, rlc, acid;
    uint64_t rls;
    char dbname[16], unique[64];
    bool cdb, mute;
    int zone_s, copy_type;
    int ctl_changes;
    uint64_t seed;
};
bool sim_find(struct sim *s, const char *home, const char *sid);
bool sim_open(struct sim *s);
void sim_close(struct sim *s);
bool sim_mount(struct sim *s, bool fresh);
void sim_unmount(struct sim *s);
bool sim_new(struct sim *s, const char *dir, bool sandbox);
void sim_forget(struct sim *s);
void sim_load_control(struct sim *s);
void set_state(struct sim *s, const char *state);
bool is_open(const struct sim *s);
/* Notes in H/dbs/sim.hazards what a sandbox would have done to a file that is not its own. */
void hazard(const struct sim *s, const char *what, const char *path);
sqlite3_stmt *q(struct sim *s, const char *sql, const char *types, ...);
bool row(sqlite3_stmt *st);     /* steps; releases it when there are no more rows */
void release(sqlite3_stmt *st); /* of q, before its last row */
void db_close(struct sim *s);
int64_t col(sqlite3_stmt *st, int c);
const char *text(sqlite3_stmt *st, int c); /* never NULL, valid until the next step */
int64_t q_int(struct sim *s, const char *sql, const char *types, ...);
void q_text(struct sim *s, char *out, size_t n, const char *sql, const char *types, ...);
void x(struct sim *s, const char *sql, const char *types, ...);
void tx_begin(struct sim *s);
void tx_end(struct sim *s);
int64_t kv_int(struct sim *s, const char *table, const char *key, int64_t dflt);
void kv_set(struct sim *s, const char *table, const char *key, int64_t v);
void kv_text(struct sim *s, const char *table, const char *key, char *out, size_t n);
void kv_put(struct sim *s, const char *table, const char *key, const char *v);
void param(struct sim *s, const char *name, char *out, size_t n);
void param_set(struct sim *s, const char *name, const char *value);
int64_t now_epoch(struct sim *s); /* UTC seconds, with the clock's offset */
int64_t now_local(struct sim *s); /* the same in the database's zone */
uint32_t now_ft(struct sim *s);
uint64_t scn_now(struct sim *s);
uint64_t scn_next(struct sim *s);
uint64_t rnd(struct sim *s, uint64_t below);
void uniq8(struct sim *s, char out[9]);
bool fault_take(struct sim *s, const char *name, int64_t *arg);
int64_t fault_peek(struct sim *s, const char *name); /* -1 when absent */

/* ---- util.c ---- */
char *read_all(const char *path, size_t *n);
char *read_stream(const char *path); /* the first 4 KiB of what has no size, such as /proc */
bool write_all(const char *path, const void *data, size_t n);
bool mkdirs(const char *path);     /* like mkdir -p */
bool mkdirs_for(const char *file); /* the directory a file will live in */
void copy_text(char *out, size_t n, const char *in);
void format_text(char *out, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void upper(char *s);
void lower(char *s);
bool same(const char *a, const char *b);        /* ignoring case */
bool starts(const char *s, const char *prefix); /* ignoring case */

/* ---- datafile.c ---- */
struct dfile {
    int file, ts, rfn, con;
    char tsname[NAME_LEN], name[PATH_LEN], status[16], enabled[16];
    uint32_t blocks;
    bool undo;
    uint64_t crscn, ckpscn, stopscn, offscn, onscn;
    uint32_t crtime, ckptime, ckpseq, ckpblk, cpc;
    int ckpthread;
};
struct dfh { /* a datafile header, decoded */
    struct fmt fmt;
    uint32_t compat, dbid, csq, fsz, bs, typ, crt, rlc, rts, cpc, ccc, bcs, bbc, prc, ckptim,
        ckpseq, ckpblk, rft;
    int fno, tsn, rfn, sta, ckpthr;
    char dbname[16], tag[40], tsname[40];
    uint64_t crs, rls, rfs, afs, prs, ckp, bsc;
};
enum { STA_BACKUP = 1, STA_ONLINE = 4, STA_MEDIA = 0x10, STA_BOOT = 0x2000, STA_LEVEL0 = 0x8000 };
int files_load(struct sim *s, struct dfile **out);
bool file_load(struct sim *s, int file, struct dfile *f);
void file_insert(struct sim *s, const struct dfile *f);
void file_save(struct sim *s, const struct dfile *f);
bool file_static(const struct dfile *f);
uint32_t file_rdba(int rfn, uint32_t block);
void header_from_file(struct sim *s, const struct dfile *f, struct dfh *h);
void dfh_put(const struct dfh *h, uint8_t *b);
bool dfh_get(const uint8_t *os, const uint8_t *b, struct dfh *h);
bool dfh_read(const char *path, struct dfh *h);
bool dfh_write(int fd, const struct dfh *h);
void live_header(struct sim *s, const struct dfile *f);
struct body { /* what a data block's bytes depend on */
    struct fmt fmt;
    uint32_t dbid, bs;
    int file, rfn;
    bool undo;
};
void block_make(const struct body *k, uint32_t block, uint64_t scn, uint8_t *b);
struct birth { /* how a file looked when it was born */
    uint64_t lo, span;
    uint32_t hwm;
};
uint64_t birth_scn(const struct birth *v, int file, uint32_t block);
struct body body_of(struct sim *s, const struct dfile *f);
bool datafile_create(struct sim *s, const struct dfile *f, const struct birth *v);
void file_checkpoint(struct sim *s, struct dfile *f);
void db_checkpoint(struct sim *s);

/* ---- redo.c ---- */
enum { OP_BLOCK = 1, OP_CREATE = 2, OP_RESIZE = 3, OP_DROP = 4, OP_END_BACKUP = 5 };
struct vec { /* one change vector of the simulator's own */
    int op, file, rfn, undo;
    uint32_t block;
    uint64_t scn, prev;
    const char *data;
    uint32_t len;
};
struct rlog { /* a redo log's header, decoded */
    struct fmt fmt;
    uint32_t dbid, blocks, bs, nab, rlc, seq, ftime, ntime, acid;
    int thread;
    uint64_t first, next, rls;
    char dbname[16];
};
struct lwn {
    uint8_t *buf;
    size_t len, cap;
    uint64_t scn;
    int count;
};
void lwn_add(struct sim *s, struct lwn *l, const struct vec *v);
void lwn_write(struct sim *s, struct lwn *l, int thread);
void logs_create(struct sim *s, int thread, int groups, uint32_t blocks, uint64_t scn);
bool logs_reset(struct sim *s, uint64_t scn, struct ora *e);
bool log_switch(struct sim *s, int thread, struct ora *e);
bool log_archive_all(struct sim *s, struct ora *e);
void archive_late(struct sim *s);
void dests_sync(struct sim *s);
bool rlog_read(const char *path, struct rlog *h);
typedef bool vec_fn(void *arg, const struct vec *v, uint32_t time);
bool rlog_walk(const char *path, vec_fn *fn, void *arg, char *why, size_t n);
void archlog_add(struct sim *s, const char *path, const struct rlog *h, int dest);

/* ---- control.c ---- */
bool control_write(struct sim *s, const char *path, int type, struct ora *e);
bool control_read(const char *path, uint8_t **data, size_t *n);
bool control_flush(struct sim *s, struct ora *e);
bool control_mount(struct sim *s, struct ora *e);
struct piece_meta {
    struct fmt fmt;
    uint32_t bs, dbid, set, blocks;
    char dbname[16], tag[40];
};
int piece_create(struct sim *s, const char *path, uint32_t bs, struct ora *e);
bool piece_finish(struct sim *s, int fd, const char *path, uint32_t bs, const char *tag,
                  uint32_t set, uint32_t blocks, struct ora *e);
bool piece_stream(struct sim *s, int fd, uint32_t bs, uint32_t *block, int kind,
                  const uint8_t *data, size_t n);
bool piece_unstream(const char *path, int kind, int nth, uint8_t **data, size_t *n);
bool piece_head(const char *path, struct piece_meta *m);
uint8_t *control_bytes(struct sim *s, size_t *n);
char *spfile_text(struct sim *s);
void control_trace(struct sim *s, const char *path);

/* ---- work.c ---- */
uint64_t work(struct sim *s, int changes, int commit_seconds, int file_only);
int add_file(struct sim *s, const char *ts, uint32_t blocks, int con);
bool drop_file(struct sim *s, int file);
bool resize_file(struct sim *s, int file, uint32_t blocks);
bool ts_enable(struct sim *s, const char *ts, bool write);
bool file_offline(struct sim *s, int file, bool online);
/* ALTER DATABASE or TABLESPACE (ts) BEGIN and END BACKUP. */
bool hot_backup(struct sim *s, const char *ts, bool begin, struct ora *e);
uint64_t hot_since(struct sim *s, int file);
bool truth_compare(struct sim *truth, struct sim *inst, const char *dir, uint64_t scn);
bool db_create(struct sim *s, int argc, char **argv);

/* ---- instance.c: what both clients can do ---- */
bool inst_startup(struct sim *s, const char *pfile, const char *upto, struct ora *e);
bool inst_mount(struct sim *s, struct ora *e);
bool inst_open(struct sim *s, bool readonly, struct ora *e);
bool inst_resetlogs(struct sim *s, struct ora *e);
bool inst_shutdown(struct sim *s, const char *mode, struct ora *e);
void sessions_sweep(struct sim *s);
int session_add(struct sim *s, const char *program, const char *info);
bool run_statement(struct sim *s, const char *sql, char *say, size_t n, struct ora *e);

/* ---- lex.c: words, strings and signs of a statement ---- */
struct tok {
    char kind; /* w word, s 'string', d "string", p sign */
    int line, column;
    char text[PATH_LEN];
};
struct toks {
    struct tok *t;
    int n, at;
};
void lex(const char *text, int line, struct toks *out);
void lex_free(struct toks *k);
bool more(const struct toks *k);
const struct tok *peek(const struct toks *k); /* never NULL */
bool words(struct toks *k, const char *list); /* all of them or none */
bool sign(struct toks *k, char c);
bool take_string(struct toks *k, char *out, size_t n);
bool take_any(struct toks *k, char *out, size_t n);
bool take_number(struct toks *k, uint64_t *out);

/* ---- names.c ---- */
struct naming {
    const char *unique_u; /* %u */
    int file, thread, piece, copy;
    uint32_t set, stamp, seq;
    const char *tsname;
    char kind; /* 'D' datafile copy, 'A' archived log copy, 'P' piece, 'C' control file copy */
};
void name_u(uint32_t count, uint32_t stamp, char out[24]);
void name_expand(struct sim *s, const char *format, const struct naming *k, char *out, size_t n);
void name_autobackup(struct sim *s, const char *format, char *out, size_t n);

/* ---- clients ---- */
int rman_main(int argc, char **argv);
int sqlplus_main(int argc, char **argv);
int verbs_main(int argc, char **argv);

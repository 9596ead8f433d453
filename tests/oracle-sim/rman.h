/* The rman client: one session, its channels, and the commands' families. */
#pragma once
#include "sim.h"

enum { MAX_CHANNELS = 64 };

struct channel {
    char name[32], format[PATH_LEN];
    int sid;
};

struct rman {
    struct sim s;
    struct channel ch[MAX_CHANNELS];
    int channels;
    bool manual, in_run, echo, told_nocatalog, failed, leave, connected;
    char command_id[160], auto_format[PATH_LEN], arch_dest[PATH_LEN];
    uint64_t until;
    int command; /* index of the running command, for RMAN-03002 */
    const char *command_name;
    struct ora e;
    char bad_channel[32]; /* set when a channel failed: RMAN-03009 instead of RMAN-03002 */
};

/* ---- rman.c ---- */
bool syntax(struct rman *r, struct toks *k);
bool end_of_command(struct rman *r, struct toks *k);
const char *day(struct rman *r, char out[64]);
void channels_need(struct rman *r);
void channels_release(struct rman *r);
bool interrupted(struct rman *r);
/* Waits while a "hang" fault is set at this place; false when killed or interrupted meanwhile. */
bool hang_point(struct rman *r, const char *where);
bool need_mounted(struct rman *r);
bool config_get(struct rman *r, const char *name, char *out, size_t n);
uint32_t next_set(struct rman *r);

/* ---- families of commands: each takes what follows its head, up to the semicolon ---- */
bool cmd_backup(struct rman *r, struct toks *k);
bool cmd_recover(struct rman *r, struct toks *k);
bool cmd_restore(struct rman *r, struct toks *k);
bool cmd_delete(struct rman *r, struct toks *k);
bool cmd_catalog(struct rman *r, struct toks *k);
bool cmd_crosscheck(struct rman *r, struct toks *k);
bool cmd_change(struct rman *r, struct toks *k);
bool cmd_switch(struct rman *r, struct toks *k);
bool cmd_configure(struct rman *r, struct toks *k);
bool cmd_show(struct rman *r, struct toks *k);
bool cmd_list(struct rman *r, struct toks *k);
bool autobackup(struct rman *r);
/* The record in front of each file's blocks inside a level 1 piece. */
struct pfile {
    int file;
    uint64_t start, ckp, afs, crscn;
    uint32_t ckptime, ckpseq, ckpblk, cpc, fsz, count, lo, hi;
    int thread;
};
void pfile_text(const struct pfile *p, char *out, size_t n);
bool pfile_parse(const char *text, struct pfile *p);
/* Brings copies with the tag forward from their level 1 pieces. */
bool merge(struct rman *r, const char *tag);
void list_pieces(struct rman *r, const char *title, const int64_t *recid, int n);

/* Small worlds for the planner, in code: snapshots with what their bytes and fact sheets say. */
#pragma once
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/engine/planner.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PW_SOURCES = 96, PW_DBID = 1433672784, PW_RESETLOGS = 928161908 };
/* SCN n is written n seconds after this moment. */
#define PW_EPOCH_US 1767225600000000u /* 2026-01-01T00:00:00Z */

struct pw {
    struct plan_source sources[PW_SOURCES];
    size_t count;
    char names[PW_SOURCES][64], runs[PW_SOURCES][32];
    bool cannot_compose;
    struct plan *plan;
};

static inline struct scn pw_scn(uint64_t n) { return (struct scn){n}; }
/* A test may let its SCNs lie further apart, and begin elsewhere. */
static uint64_t pw_epoch_us = PW_EPOCH_US;
static uint64_t pw_scn_us = 1000000u;
static inline uint64_t pw_us(uint64_t scn) { return pw_epoch_us + scn * pw_scn_us; }

/* The header time of a host at that offset from UTC. */
static inline uint32_t pw_header_time(uint64_t us, int offset_min)
{
    char text[32];
    unsigned y, mo, d, h, mi, s;
    clock_format_compact(us + (uint64_t)((int64_t)offset_min * 60000000), text);
    cr_assert_eq(sscanf(text, "%4u%2u%2uT%2u%2u%2uZ", &y, &mo, &d, &h, &mi, &s), 6);
    return (((((y - 1988) * 12 + mo - 1) * 31 + d - 1) * 24 + h) * 60 + mi) * 60 + s;
}

static inline struct manifest *pw_manifest(struct pw *w, size_t i)
{
    return (struct manifest *)w->sources[i].manifest;
}

static inline struct facts *pw_sheet(struct pw *w, size_t i)
{
    return (struct facts *)w->sources[i].facts;
}

/* A source of that kind; "" is the live area. */
static inline size_t pw_add(struct pw *w, const char *kind, const char *run)
{
    struct err err = {0};
    size_t i = w->count++;
    cr_assert_lt(i, PW_SOURCES);
    struct manifest *manifest = manifest_new(&err);
    cr_assert(manifest);
    if (*kind)
        IGNORE(str_format(w->names[i], sizeof w->names[i], "%s-%s", kind, run));
    IGNORE(str_copy(w->runs[i], sizeof w->runs[i], run));
    w->sources[i] = (struct plan_source){
        .name = w->names[i], .kind = kind, .run = w->runs[i], .manifest = manifest};
    return i;
}

static inline void pw_moment(struct facts *f, const char *phase, uint64_t scn, uint64_t us,
                             int offset_min)
{
    struct err err = {0};
    cr_assert(own_grow((void **)&f->moments, &f->moment_capacity, f->moment_count,
                       sizeof *f->moments, &err));
    struct facts_moment moment = {.scn = pw_scn(scn), .utc_us = us, .offset_min = offset_min};
    IGNORE(str_copy(moment.phase, sizeof moment.phase, phase));
    f->moments[f->moment_count++] = moment;
}

static inline struct facts_incarnation *pw_incarnation(struct facts *f, uint32_t number,
                                                       uint32_t prior, uint32_t id, uint64_t scn,
                                                       const char *status)
{
    struct err err = {0};
    cr_assert(own_grow((void **)&f->incarnations, &f->incarnation_capacity, f->incarnation_count,
                       sizeof *f->incarnations, &err));
    struct facts_incarnation *row = &f->incarnations[f->incarnation_count++];
    *row = (struct facts_incarnation){
        .number = number, .prior = prior, .resetlogs_id = id, .resetlogs_scn = pw_scn(scn)};
    IGNORE(str_copy(row->status, sizeof row->status, status));
    return row;
}

static inline struct facts_thread *pw_thread(struct facts *f, uint32_t number)
{
    struct err err = {0};
    cr_assert(own_grow((void **)&f->threads, &f->thread_capacity, f->thread_count,
                       sizeof *f->threads, &err));
    f->threads[f->thread_count] = (struct facts_thread){
        .number = number, .open = true, .enabled = true, .sequence = 1, .enable_scn = {1}};
    return &f->threads[f->thread_count++];
}

static inline struct facts_file *pw_file(struct facts *f, uint32_t number, uint64_t creation)
{
    struct err err = {0};
    cr_assert(
        own_grow((void **)&f->files, &f->file_capacity, f->file_count, sizeof *f->files, &err));
    struct facts_file *file = &f->files[f->file_count++];
    *file = (struct facts_file){.file_no = number,
                                .creation_scn = pw_scn(creation),
                                .stop_scn = SCN_NONE,
                                .block_size = 8192};
    IGNORE(str_copy(file->status, sizeof file->status, "ONLINE"));
    IGNORE(str_copy(file->enabled, sizeof file->enabled, "READ WRITE"));
    IGNORE(str_format(file->name, sizeof file->name, "/oradata/f%u.dbf", number));
    return file;
}

/* A fact sheet of one incarnation, noted at that SCN; threads and files are the caller's. */
static inline struct facts *pw_facts(struct pw *w, size_t i, uint64_t at)
{
    struct err err = {0};
    struct facts *f = facts_new(&err);
    cr_assert(f);
    w->sources[i].facts = f;
    f->dbid = PW_DBID;
    f->resetlogs_id = PW_RESETLOGS;
    f->resetlogs_scn = pw_scn(1);
    f->complete = true;
    IGNORE(str_copy(f->db_name, sizeof f->db_name, "ORCL"));
    IGNORE(str_copy(f->db_unique_name, sizeof f->db_unique_name, "ORCL"));
    IGNORE(str_copy(f->run, sizeof f->run, w->runs[i]));
    IGNORE(str_copy(f->phase, sizeof f->phase, w->sources[i].kind));
    pw_incarnation(f, 1, 0, PW_RESETLOGS, 1, "CURRENT");
    pw_moment(f, w->sources[i].kind, at, pw_us(at), 0);
    return f;
}

static inline struct manifest_entry *pw_entry(struct pw *w, size_t i, const char *path,
                                              enum file_kind kind)
{
    struct err err = {0};
    struct manifest_entry *e = manifest_add(pw_manifest(w, i), path, &err);
    cr_assert(e);
    e->kind = kind;
    e->state = STATE_GOOD;
    e->dbid = PW_DBID;
    e->resetlogs_id = PW_RESETLOGS;
    e->block_size = 8192;
    return e;
}

static inline struct manifest_entry *pw_copy(struct pw *w, size_t i, uint32_t file_no,
                                             uint64_t creation, uint64_t checkpoint)
{
    char path[64];
    IGNORE(str_format(path, sizeof path, "data/f%u-%llu.dbf", file_no,
                      (unsigned long long)checkpoint));
    struct manifest_entry *e = pw_entry(w, i, path, FILE_DATAFILE);
    e->datafile.file_no = file_no;
    e->datafile.rfile_no = file_no;
    e->datafile.type = 3;
    e->datafile.creation_scn = pw_scn(creation);
    e->datafile.checkpoint_scn = pw_scn(checkpoint);
    return e;
}

static inline struct manifest_entry *pw_log(struct pw *w, size_t i, uint32_t thread,
                                            uint32_t sequence, uint64_t first, uint64_t next)
{
    char path[64];
    IGNORE(str_format(path, sizeof path, "archivelog/%u_%u.arc", thread, sequence));
    struct manifest_entry *e = pw_entry(w, i, path, FILE_ARCHIVED_LOG);
    e->log.thread = thread;
    e->log.sequence = sequence;
    e->log.first_scn = pw_scn(first);
    e->log.next_scn = pw_scn(next);
    e->log.first_time = pw_header_time(pw_us(first), 0);
    e->log.next_time = pw_header_time(pw_us(next), 0);
    return e;
}

/* A control file piece of that name in the snapshot. */
static inline struct manifest_entry *pw_piece(struct pw *w, size_t i, const char *path)
{
    return pw_entry(w, i, path, FILE_BACKUP_PIECE);
}

/* The snapshot's own sheet names it as the piece of its run. */
static inline void pw_controlfile(struct pw *w, size_t i, const char *path)
{
    pw_piece(w, i, path);
    struct facts *f = pw_sheet(w, i);
    IGNORE(str_copy(f->controlfile_piece, sizeof f->controlfile_piece, path));
}

static inline struct manifest_entry *pw_find(struct pw *w, size_t i, const char *path)
{
    struct manifest *m = pw_manifest(w, i);
    for (size_t e = 0; e < m->count; e++)
        if (str_equal(m->entries[e].path, path))
            return &m->entries[e];
    cr_assert(false, "no '%s'", path);
    return NULL;
}

/* The file is gone from the snapshot. */
static inline void pw_lose(struct pw *w, size_t i, const char *path)
{
    struct manifest *m = pw_manifest(w, i);
    struct manifest_entry *e = pw_find(w, i, path);
    manifest_entry_done(e);
    memmove(e, e + 1, sizeof *e * (size_t)(m->entries + m->count - e - 1));
    m->count--;
}

static inline const struct plan *pw_plan(struct pw *w)
{
    struct err err = {0};
    plan_free(w->plan);
    w->plan = plan_new(w->sources, w->count, !w->cannot_compose, &err);
    cr_assert(w->plan, "%s", err.text);
    return w->plan;
}

static inline void pw_done(struct pw *w)
{
    plan_free(w->plan);
    for (size_t i = 0; i < w->count; i++) {
        manifest_free(pw_manifest(w, i));
        facts_free(pw_sheet(w, i));
    }
    *w = (struct pw){0};
}
OWN_DEFINE_INPLACE(pw, struct pw, pw_done);

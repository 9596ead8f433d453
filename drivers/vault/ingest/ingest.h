/* Ingest: somebody else's folder or NFS export becomes a volume's live area, then a snapshot. What
 * did not change is read once and written never (README.md says why that is safe). */
#pragma once
#include "drivers/area/area.h"
#include "drivers/vault/volume/vault.h"

struct ingest_options {
    const char *folder; /* where fingerprints are kept: box/ingest */
    unsigned tries;     /* of a file that changes while it is read; 0: 3, at most 100 */
    bool allow_empty;   /* else an empty source is refused when the volume holds files */
    bool distrust;      /* compare with the volume's own bytes, whatever fingerprints say */
    /* Asked once a MiB; true ends it with CANCELLED and no snapshot. NULL: never. */
    bool (*cancelled)(void *arg);
    void *arg;
};

enum ingest_why {
    INGEST_UNSTABLE, /* changed during every try: its content is of no one moment */
    INGEST_ODD,      /* no plain file, or a name that cannot be kept: left out */
};
struct ingest_note {
    enum ingest_why why;
    char *path; /* owned by the report */
};
enum { INGEST_NOTES_MAX = 1000 };

struct ingest_report {
    uint64_t files, made, removed, changed; /* changed: content; made ones among them */
    uint64_t bytes_read;                    /* of the source */
    uint64_t records, records_written, records_compared; /* compared: with the volume's bytes */
    uint64_t unstable, odd;
    uint64_t sequence, snapshot_id;
    struct ingest_note notes[INGEST_NOTES_MAX]; /* the first of them */
    size_t note_count;
};
void ingest_report_done(struct ingest_report *report);
void ingest_report_free(struct ingest_report *report);
OWN_DEFINE(ingest_report, struct ingest_report, ingest_report_free);

enum { INGEST_SET_MAX = 16 };
struct ingest_one {
    const char *volume; /* a landing volume */
    struct area *source;
    struct ingest_report *report; /* zeroed; filled as far as it went, also on error */
};
/* Makes each live area what its source shows, then takes the snapshot `name` of all or of none.
 * While it runs nobody else changes the live areas (BUSY). An error, or a crash: no snapshot, live
 * areas may be midway, and the next ingest makes them right. What vanishes from a source meanwhile
 * is as if gone before. */
bool vault_ingest(struct vault *vault, const struct ingest_one *ones, size_t count,
                  const char *name, const struct ingest_options *options, struct err *err) MUST;
/* A folder, or nfs://HOST/PATH; below: a relative path under it, NULL: none. */
struct area *ingest_source(const char *source, const char *below, struct err *err) MUST;

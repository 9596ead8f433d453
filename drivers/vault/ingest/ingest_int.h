/* What the files of this room share: an ingest under way. */
#pragma once
#include "drivers/vault/ingest/fingers.h"
#include "drivers/vault/ingest/ingest.h"
#include "drivers/vault/ingest/reader.h"
#include "drivers/vault/volume/claim.h"

/* A file whose fingerprints are new: they count from the snapshot on. */
struct ingest_fresh {
    uint64_t file, generation, size;
};

struct ingest {
    const struct ingest_options *options;
    struct area *source;
    struct view *view; /* the live area, claimed */
    struct fingers *fingers;
    struct reader *reader;
    struct area_list list;
    struct view_touch *touches; /* when it began */
    size_t touch_count;
    struct ingest_fresh *fresh;
    size_t fresh_count, fresh_capacity;
    uint8_t *mine; /* READER_PIECE bytes of the volume */
    struct ingest_report *report;
};

bool ingest_is_cancelled(const struct ingest *ingest, struct err *err); /* sets err when true */
bool ingest_note(struct ingest *ingest, enum ingest_why why, const char *path, struct err *err)
    MUST;

/* ---- names.c ---- */
/* Removes from the volume what the source has not. */
bool names_tidy(struct ingest *ingest, struct err *err) MUST;
/* The file of that path, with folders above it, made where missing. */
bool names_make(struct ingest *ingest, const char *path, uint64_t mtime_us, struct view_file *ret,
                struct err *err) MUST;
/* As tidy does for one path; what is not there is removed already. */
bool names_remove(struct ingest *ingest, const char *path, struct err *err) MUST;
/* A name of the volume's format, in each part. */
bool names_fit(const char *path);

/* ---- content.c ---- */
bool content_take(struct ingest *ingest, const struct area_file *file, struct err *err) MUST;

/* The survey: reads an area and writes down what the bytes say (the manifest). Blocks; runs on a
 * lane. */
#pragma once
#include "agent/oracle/manifest.h"
#include "drivers/area/area.h"

struct survey_options {
    bool scan_blocks;  /* read every datafile block by block, not only its header */
    bool headers_only; /* logs too: no full check, so none counts; for quick looks */
    /* An earlier survey of the same live area: logs of unchanged size and time are taken from it
     * unread. For what has arrived only; in a snapshot every log is read. NULL: read all. */
    const struct manifest *earlier;
    size_t files_max; /* 0: 200000 */
    /* What cannot be read just now (a transient error) fails the whole, to be tried again. For what
     * is kept or compared: there it must not stand as unreadable. */
    bool whole;
    /* Asked between files and pieces of them; true stops with CANCELLED. NULL: never. */
    bool (*cancelled)(void *arg);
    void *arg;
};

enum { SURVEY_FILES_MAX = 200000, SURVEY_CHUNK_BYTES = 1 << 20 };

/* Every file of the area, named for what it is; files that cannot be read are entries too. Fails
 * only when the area itself cannot be listed, memory runs out, or it is stopped. */
struct manifest *survey_area(struct area *area, const struct survey_options *options,
                             struct err *err) MUST;
/* The first SCN in a log whose time lies at or after from_us, for a host at offset_min from UTC;
 * SCN_NONE when there is none. Reads the whole log: its manifest entry keeps only some of the
 * moments. */
bool survey_scn_from(struct area *area, const char *path, uint64_t from_us, int offset_min,
                     struct scn *ret_scn, struct err *err) MUST;
/* One file by its path in the area; appends to the manifest. */
bool survey_file(struct area *area, const struct area_file *file,
                 const struct survey_options *options, struct manifest *manifest, struct err *err)
    MUST;

/* A layer: the writes of a volume between two swaps, in sparse files on the box with a presence log
 * (FORMAT.md section 4). Several threads may use one layer; each call says what it holds. */
#pragma once
#include "drivers/vault/store/format.h"

struct layer;
/* An empty layer in memory alone: nothing may be written before layer_make, which one thread at a
 * time calls, once or again. seed: of the sums. */
struct layer *layer_plan(const char *path, uint64_t sequence, uint64_t seed, struct err *err) MUST;
/* Makes its folder, durable. */
bool layer_make(struct layer *layer, struct err *err) MUST;
/* Both. */
struct layer *layer_create(const char *path, uint64_t sequence, uint64_t seed, struct err *err)
    MUST;
/* Opens what a stop or crash left: the log up to its last whole record. clean: the box was stopped
 * in order, so a record whose sum is not the log's is damage; else it is summed anew once. */
struct layer *layer_open(const char *path, uint64_t sequence, uint64_t seed, bool clean,
                         struct err *err) MUST;
struct layer *layer_ref(struct layer *layer);
void layer_unref(struct layer *layer); /* closes; the files stay */
OWN_DEFINE(layer, struct layer, layer_unref);
/* Its folder is called l-N.gone at once and removed when the last reference goes, which may take
 * long; after a crash such folders are the opener's to sweep. */
void layer_drop(struct layer *layer);
uint64_t layer_sequence(const struct layer *layer);
/* No write comes after; what is under way has ended when it returns. */
void layer_freeze(struct layer *layer);

enum layer_has { LAYER_BELOW, LAYER_PRESENT, LAYER_HOLE };
/* What the layer says of a record; beyond the file's cut nothing of below shows (HOLE). */
enum layer_has layer_has(struct layer *layer, uint64_t file, uint64_t record);
/* How many records from `record` on, at most max, say the same as it. */
uint64_t layer_span(struct layer *layer, uint64_t file, uint64_t record, uint64_t max,
                    enum layer_has *ret_has);
/* Whole records that are PRESENT, from the data file. In a frozen layer sums are checked (CORRUPT).
 */
bool layer_read(struct layer *layer, uint64_t file, uint64_t record, uint64_t count, void *to,
                struct err *err) MUST;
/* Whole records; a record of zeros may become a HOLE. PRECONDITION once frozen. */
bool layer_write(struct layer *layer, uint64_t file, uint64_t record, uint64_t count,
                 const void *from, struct err *err) MUST;
/* Nothing of below shows from byte `size` on; records of this layer behind it go. The caller
 * rewrites the partial record that size cuts. */
bool layer_truncate(struct layer *layer, uint64_t file, uint64_t size, struct err *err) MUST;
/* All that the layer has of a file goes; nothing of below shows. */
bool layer_forget(struct layer *layer, uint64_t file, struct err *err) MUST;
/* Size and time of the file to be kept with its next commit; file numbers are below 2^24. A power
 * failure may bring an older time of a write back; one that was set is durable with the commit. */
void layer_attributes(struct layer *layer, uint64_t file, uint64_t size, uint64_t mtime_us);
void layer_attributes_set(struct layer *layer, uint64_t file, uint64_t size, uint64_t mtime_us);
/* Durable: what was written to the file (UINT64_MAX: to any) before the call. Concurrent calls
 * share their syncs. Only a commit of all makes layer_open's `clean` true:
 * it never saves the log's sync (README.md, Layers 3). After a failed sync all changes say IO. */
bool layer_commit(struct layer *layer, uint64_t file, struct err *err) MUST;
/* No change is taken any more, for that reason, until it is opened again after an unclean stop. */
void layer_refuse(struct layer *layer, const struct err *why);
/* False with the reason (IO) when a failed sync, or somebody, made it refuse changes. */
bool layer_is_well(struct layer *layer, struct err *err) MUST;
/* Bytes written and not yet committed; records present, and their bytes on disk. */
uint64_t layer_debt(const struct layer *layer);
uint64_t layer_records(const struct layer *layer);
/* Starts writing data back without waiting, so that debt does not grow. */
void layer_write_back(struct layer *layer);

struct layer_file {
    uint64_t file, size, mtime_us;
    uint64_t cut;     /* bytes of below that show; UINT64_MAX: all */
    uint64_t records; /* present or hole */
    bool sized;       /* size and mtime were told */
};
/* Files the layer says something of, by number; owned. */
struct layer_file *layer_files(struct layer *layer, size_t *ret_count, struct err *err) MUST;
/* Record numbers of a file that are PRESENT or HOLE, ascending; owned. */
uint64_t *layer_records_of(struct layer *layer, uint64_t file, size_t *ret_count, struct err *err)
    MUST;
/* Reads every record and checks its sum: for scrub. */
bool layer_verify(struct layer *layer, uint64_t *ret_bad_file, uint64_t *ret_bad_record,
                  struct err *err) MUST;

/* Fingerprint files on the box: what the records of a volume's file were at a snapshot (README.md).
 * They are hints: what does not prove to be right is not used. */
#pragma once
#include "drivers/vault/store/fingerprint.h"

/* What a fingerprint file stands for. */
struct fingers_of {
    uint64_t volume, file, generation;
    uint64_t size;               /* of the file, in bytes */
    uint64_t sequence, snapshot; /* the snapshot's */
};

struct fingers; /* of one volume: its folder, and the box's secret */
/* folder: box/ingest; made, with its secret, when missing. */
struct fingers *fingers_open(const char *folder, uint64_t volume, struct err *err) MUST;
void fingers_close(struct fingers *fingers);
OWN_DEFINE(fingers, struct fingers, fingers_close);
void fingers_print(const struct fingers *fingers, const void *record, struct fingerprint *ret);

/* What the file of that number says it stands for; false, without an error, when there is none, or
 * none that is whole and ours. */
bool fingers_find(struct fingers *fingers, uint64_t file, struct fingers_of *ret);

/* One pass over a file: what was known comes in, what is seen goes out, both in order. */
struct fingers_pass;
enum fingers_from { FINGERS_NONE, FINGERS_KEPT, FINGERS_LATEST }; /* latest: the pass before it */
struct fingers_pass *fingers_begin(struct fingers *fingers, uint64_t file, enum fingers_from from,
                                   struct err *err) MUST;
/* The next `count` that are known; ret_count less when there are no more. */
bool fingers_known(struct fingers_pass *pass, struct fingerprint *ret, size_t count,
                   size_t *ret_count, struct err *err) MUST;
bool fingers_seen(struct fingers_pass *pass, const struct fingerprint *prints, size_t count,
                  struct err *err) MUST;
bool fingers_end(struct fingers_pass *pass, struct err *err) MUST;
void fingers_give_up(struct fingers_pass *pass);
OWN_DEFINE(fingers_pass, struct fingers_pass, fingers_give_up);

/* The latest pass replaces what was kept, from now on standing for `of`; or it is forgotten. */
bool fingers_keep(struct fingers *fingers, const struct fingers_of *of, struct err *err) MUST;
void fingers_forget_pass(struct fingers *fingers, uint64_t file);
/* Removes what belongs to no file of these (ascending), and what a crash left. */
bool fingers_sweep(struct fingers *fingers, const uint64_t *files, size_t count, struct err *err)
    MUST;
/* Removes the folders of volumes that are not among these. */
bool fingers_sweep_volumes(const char *folder, const uint64_t *volumes, size_t count,
                           struct err *err) MUST;

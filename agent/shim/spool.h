/* The spool: the job's log on its way to the agent, kept on this host's disk, so that neither an
 * agent that is away nor a killed shim loses a line; and the verdict the agent has not heard. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

struct spool;
/* Lines of a job that has no name yet stay in memory. */
struct spool *spool_new(uint64_t max_bytes, struct err *err) MUST;
/* What was not sent stays on disk for the next shim; spool_end comes before it in an orderly end.
 */
void spool_free(struct spool *spool);
OWN_DEFINE(spool, struct spool, spool_free);

struct spool_id {
    char database[64];
    char job[40];
    uint64_t token;
};
/* From here on the lines lie in `dir`/<job>.log (0600, folder 0700), locked while this process
 * lives. False when nothing can be written there: they stay in memory, and err says why. */
bool spool_attach(struct spool *spool, const char *dir, const struct spool_id *id, struct err *err)
    MUST;
/* Never fails: what finds no room is counted, and a line says so as soon as there is room again. */
void spool_add(struct spool *spool, const char *line, size_t len);
uint64_t spool_waiting(const struct spool *spool); /* lines not yet acknowledged */
/* Bytes the lines take at most, for the limit of one message. */
enum { SPOOL_BATCH_LINES = 1000, SPOOL_BATCH_BYTES = 256 << 10 };
struct spool_batch {
    uint64_t first; /* number of lines[0] */
    size_t count;
    struct {
        const char *text;
        size_t len;
    } lines[SPOOL_BATCH_LINES];
    char bytes[SPOOL_BATCH_BYTES];
};
/* The next lines to be sent; count 0 when there are none. Reads on from call to call. */
bool spool_read(struct spool *spool, struct spool_batch *ret, struct err *err) MUST;
/* Reading begins again after the last acknowledged line. */
void spool_rewind(struct spool *spool);
/* The agent has everything below this number. */
void spool_acked(struct spool *spool, uint64_t next_line);
/* The agent takes no more lines of this job: they are dropped from now on. */
void spool_close(struct spool *spool);
/* The run has ended. The file goes when the agent has all of it, or want_log is false, and no
 * verdict waits beside it; "" or its path is told. */
const char *spool_end(struct spool *spool, bool keep);

/* ---- the verdict: <job>.verdict, JSON, on disk before it returns ---- */
bool spool_verdict_put(struct spool *spool, const char *json, struct err *err) MUST;

/* ---- what an earlier shim left ---- */
/* Opens `dir`/`name` when it is a log nobody holds; NULL with BUSY for one whose shim lives, with
 * INVALID for a file that is none. */
struct spool *spool_adopt(const char *dir, const char *name, struct err *err) MUST;
const struct spool_id *spool_who(const struct spool *spool);
/* Owned text; NULL with NOT_FOUND when that shim was killed before it came to a verdict. */
char *spool_verdict_get(struct spool *spool, struct err *err) MUST;
/* Both files go, the verdict first. */
bool spool_remove(struct spool *spool, struct err *err) MUST;

/* The audit's lines, written off the loop. */
#include "agent/auth/scribe.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/net/crypto.h"
#include <string.h>

enum {
    BATCH_MAX = 256,
    REFUSALS_MAX = 64,
    REFUSAL_MS = 60000,
    WAITING_NOTES_MAX = 4096,
    SETTLE_MS = 200,
    UNSETTLED_MAX = 64
};

struct refusal {
    char kind[CRYPTO_SHA256_HEX];
    uint64_t since_ms, counted;
};

struct scribe {
    struct work work; /* first */
    struct loop *loop;
    struct lane *lane;
    struct audit *audit;
    struct scribe_entry *head, **tail; /* waiting, on the loop */
    struct scribe_entry *batch;        /* being written */
    size_t notes;                      /* waiting ones nobody waits for */
    struct timer *settle;
    unsigned unsettled; /* batches since the head was synced */
    bool writing;
    struct refusal refusals[REFUSALS_MAX];
};

static void note_done(struct scribe_entry *entry)
{
    if (entry->err.code != ERR_NONE)
        log_error("a line of the audit is lost: %s", entry->err.text);
    own_free(entry->body);
    own_free(entry);
}

static void write_batch(struct audit *audit, struct scribe_entry *batch, struct err *err)
{
    const char *bodies[BATCH_MAX] = {0};
    size_t count = 0;
    uint64_t first = 0;
    for (const struct scribe_entry *e = batch; e; e = e->next)
        bodies[count++] = e->body;
    IGNORE(!audit_append(audit, bodies, count, &first, err)); /* told to each by its err */
    for (struct scribe_entry *e = batch; e; e = e->next) {
        e->number = first++;
        if (err->code != ERR_NONE)
            e->err = *err;
    }
}

static void run_write(struct work *work)
{
    struct scribe *s = (struct scribe *)work;
    write_batch(s->audit, s->batch, &work->err);
}

static void start(struct scribe *s);

static void tell(struct scribe *s, struct scribe_entry *batch)
{
    while (batch) {
        struct scribe_entry *entry = batch;
        batch = entry->next;
        s->notes -= entry->done == note_done;
        entry->done(entry);
    }
}

static void run_settle(struct work *work)
{
    struct scribe *s = (struct scribe *)work;
    IGNORE(!audit_settle(s->audit, &work->err)); /* told when it comes home */
}

static void settled(struct work *work)
{
    struct scribe *s = (struct scribe *)work;
    if (work->err.code != ERR_NONE)
        log_error("%s", work->err.text);
    s->writing = false;
    start(s);
}

/* The head's own sync waits for a quiet moment: until it, a power cut leaves it a little behind its
 * lines, which it may be. */
static void settle(struct scribe *s)
{
    s->unsettled = 0;
    s->writing = true;
    s->work = (struct work){.run = run_settle, .done = settled, .home = loop_post(s->loop)};
    lane_submit(s->lane, &s->work);
}

static void on_quiet(void *arg)
{
    struct scribe *s = arg;
    if (!s->writing && s->unsettled)
        settle(s);
}

static void written(struct work *work)
{
    struct scribe *s = (struct scribe *)work;
    struct scribe_entry *batch = TAKE(s->batch);
    if (work->err.code != ERR_NONE)
        log_error("changes are refused until the audit can be written: %s", work->err.text);
    s->writing = false;
    if (++s->unsettled >= UNSETTLED_MAX)
        settle(s);
    else
        timer_set(s->settle, SETTLE_MS, 0);
    start(s);
    tell(s, batch);
}

static void start(struct scribe *s)
{
    if (s->writing || !s->head)
        return;
    struct scribe_entry *last = s->head;
    for (size_t i = 1; i < BATCH_MAX && last->next; i++)
        last = last->next;
    s->batch = s->head;
    s->head = last->next;
    last->next = NULL;
    if (!s->head)
        s->tail = &s->head;
    s->writing = true;
    s->work = (struct work){.run = run_write, .done = written, .home = loop_post(s->loop)};
    lane_submit(s->lane, &s->work);
}

struct scribe *scribe_new(struct loop *loop, struct audit *audit, struct err *err)
{
    AUTO(scribe) struct scribe *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    s->loop = loop;
    s->tail = &s->head;
    s->lane = lane_new("audit", 1, err);
    if (!s->lane)
        return NULL;
    s->settle = timer_new(loop, on_quiet, s, err);
    if (!s->settle)
        return NULL;
    s->audit = audit;
    return TAKE(s);
}

void scribe_free(struct scribe *s)
{
    if (!s)
        return;
    timer_free(s->settle);
    lane_free(s->lane); /* ends what is being written */
    struct scribe_entry *entry = s->batch;
    while (entry || s->head) {
        struct err err = {0};
        if (!entry) {
            entry = s->head;
            s->head = entry->next;
            entry->next = NULL;
            write_batch(s->audit, entry, &err);
        }
        struct scribe_entry *next = entry->next;
        if (entry->done == note_done)
            note_done(entry);
        entry = next;
    }
    struct err err = {0};
    if (s->audit && !audit_settle(s->audit, &err))
        log_error("%s", err.text);
    audit_close(s->audit);
    own_free(s);
}

void scribe_write(struct scribe *s, struct scribe_entry *entry, const struct audit_record *record)
{
    entry->next = NULL;
    entry->err = (struct err){0};
    own_free(entry->body);
    entry->body = audit_body(record, &entry->err);
    if (!entry->body) {
        entry->done(entry);
        return;
    }
    s->notes += entry->done == note_done;
    *s->tail = entry;
    s->tail = &entry->next;
    start(s);
}

void scribe_note(struct scribe *s, const struct audit_record *record)
{
    struct err err = {0};
    struct scribe_entry *entry =
        s->notes < WAITING_NOTES_MAX ? own_alloc(sizeof *entry, &err) : NULL;
    if (!entry) {
        log_error("a line of the audit is lost: too many wait");
        return;
    }
    entry->done = note_done;
    scribe_write(s, entry, record);
}

/* The place of that kind, else of the one that was longest without a line. */
static struct refusal *find_refusal(struct scribe *s, const char *kind)
{
    struct refusal *oldest = &s->refusals[0];
    for (size_t i = 0; i < REFUSALS_MAX; i++) {
        struct refusal *r = &s->refusals[i];
        if (strcmp(r->kind, kind) == 0)
            return r;
        if (r->since_ms < oldest->since_ms)
            oldest = r;
    }
    return oldest;
}

void scribe_refusal(struct scribe *s, const struct audit_record *record)
{
    AUTO(str) struct str text = {0};
    char kind[CRYPTO_SHA256_HEX];
    struct audit_record counted = *record;
    uint64_t now = clock_mono_ms();
    str_printf(&text, "%s %s %s", record->who ? record->who->fingerprint : "", record->method,
               record->code);
    crypto_sha256_hex(text.text ? text.text : "", text.len, kind);
    struct refusal *r = find_refusal(s, kind);
    bool known = strcmp(r->kind, kind) == 0;
    if (known && now - r->since_ms < REFUSAL_MS) {
        r->counted++;
        return;
    }
    counted.repeats = known ? r->counted : 0;
    *r = (struct refusal){.since_ms = now};
    memcpy(r->kind, kind, sizeof kind);
    scribe_note(s, &counted);
}

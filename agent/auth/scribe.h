/* The audit's lines, written off the loop: many share one fsync. Lives on the loop. */
#pragma once
#include "agent/auth/audit.h"
#include "agent/base/loop.h"

/* One line on its way; owned by whoever waits for it. */
struct scribe_entry {
    void (*done)(struct scribe_entry *entry); /* on the loop, once it is on disk or err is set */
    uint64_t number;                          /* of the line */
    struct err err;
    char *body;
    struct scribe_entry *next;
};

struct scribe;
/* Takes the audit over on success. */
struct scribe *scribe_new(struct loop *loop, struct audit *audit, struct err *err) MUST;
/* Writes what still waits; nobody is called any more. */
void scribe_free(struct scribe *scribe);
OWN_DEFINE(scribe, struct scribe, scribe_free);
/* entry->done is set; the record's texts are copied. done may be called before this returns. */
void scribe_write(struct scribe *scribe, struct scribe_entry *entry,
                  const struct audit_record *record);
/* A line nobody waits for. */
void scribe_note(struct scribe *scribe, const struct audit_record *record);
/* A refusal: the first of its kind (certificate, method, code) is written, more of it within a
 * minute are counted, and the count is written with the next, so that a flood fills no disk. */
void scribe_refusal(struct scribe *scribe, const struct audit_record *record);

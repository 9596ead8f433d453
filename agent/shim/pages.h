/* What is too long for one message, put together from pages. */
#pragma once
#include "agent/shim/shim.h"
#include "evercopy/v1/clones.pb-c.h"

/* A list of the agent's, asked page by page. */
struct pages {
    const char *service, *method;
    ProtobufCMessage *request;
    char **token; /* the request's page_token */
    const ProtobufCMessageDescriptor *output;
    /* The items of a reply and the token of the next page, "" at the end. */
    void **(*items)(const ProtobufCMessage *reply, size_t *ret_count, const char **ret_next);
    size_t most; /* items in all; 0: no end */
};
struct gathered {
    ProtobufCMessage **replies;
    void **items; /* of the replies */
    size_t reply_count, reply_capacity, count, capacity;
};
void gathered_done(struct gathered *gathered);
OWN_DEFINE_INPLACE(gathered, struct gathered, gathered_done);
bool pages_gather(struct shim *shim, const struct pages *pages, struct gathered *ret_gathered,
                  struct err *err) MUST;

/* Manifest and fact sheet of a snapshot, whole and of one version; owned, *ret_facts "" for none.
 * call: asks the agent as the verb wants it asked. */
typedef ProtobufCMessage *pages_call(void *arg, const char *service, const char *method,
                                     const ProtobufCMessage *request,
                                     const ProtobufCMessageDescriptor *output, struct err *err);
bool pages_texts(pages_call *call, void *arg, const char *database, const char *snapshot,
                 char **ret_manifest, char **ret_facts, struct err *err) MUST;
/* PlanRecovery, with the whole recipe; PRECONDITION with the agent's reason when there is none. */
ProtobufCMessage *pages_plan(struct shim *shim, uint64_t scn, uint64_t time_us, struct err *err)
    MUST;
/* CreateClone, with the whole recipe when there is one; freed with shim_free_reply. */
ProtobufCMessage *pages_create_clone(struct shim *shim, Evercopy__V1__CreateCloneRequest *request,
                                     struct err *err) MUST;

/* evercopy cancel: asks a running job to stop. */
#include "agent/shim/shim.h"

#include "evercopy/v1/jobs.pb-c.h"
#include <stdio.h>

static bool print_answer(const struct shim *shim, const Evercopy__V1__CancelJobReply *reply,
                         struct err *err)
{
    const Evercopy__V1__Job *job = reply->job;
    if (shim->options->json) {
        AUTO(json) json_t *doc = json_object();
        return json_put_text(doc, "id", job->id, err) &&
               json_put_text(doc, "state", job->state, err) &&
               json_put_text(doc, "cancelled_by", job->cancelled_by, err) &&
               json_put_text(doc, "text", reply->text, err) && shim_print_json(TAKE(doc), err);
    }
    if (!shim->options->quiet)
        printf("%s of %s, %s: %s\n", job->id, job->db_unique_name, job->state, reply->text);
    return true;
}

int verb_cancel(const struct shim_options *options, const char *job)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__CancelJobRequest request = EVERCOPY__V1__CANCEL_JOB_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.job = (char *)job;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_open(&shim, options, NULL, &err)
            ? shim_call(&shim, "Jobs", "CancelJob", &request.base,
                        &evercopy__v1__cancel_job_reply__descriptor, SHIM_CALL_MS, &err)
            : NULL;
    if (!reply || !print_answer(&shim, (const Evercopy__V1__CancelJobReply *)reply, &err))
        return shim_report(&shim, "", "cancel", &err);
    return 0;
}

/* evercopy retention, and snapshot create, delete, hold, release, lock, verify. */
#include "agent/shim/shim.h"

#include "agent/base/clock.h"
#include "agent/shim/progress.h"
#include "agent/shim/words.h"
#include "evercopy/v1/retention.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NOT_ALL = 161 };

/* ---- the table ---- */

static void age_text(uint64_t now_us, uint64_t then_us, char ret[32])
{
    uint64_t s = now_us > then_us ? (now_us - then_us) / 1000000u : 0;
    if (s < 7200)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " min", s / 60));
    else if (s < UINT64_C(48) * 3600)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " h", s / 3600));
    else
        IGNORE(!str_format(ret, 32, "%" PRIu64 " days", s / 86400));
}

static void print_rule(const char *word, uint64_t number, bool *first)
{
    if (number)
        printf("%s%s %" PRIu64, *first ? "" : ", ", word, number);
    *first &= number == 0;
}

static void print_policy(const char *db, const Evercopy__V1__RetentionPolicy *p)
{
    bool first = true;
    printf("retention of %s: ", db);
    print_rule("recoverywindow", p->recovery_window_days, &first);
    print_rule("snapexpirationdays", p->snap_expiration_days, &first);
    print_rule("snapexpirationmonths", p->snap_expiration_months, &first);
    print_rule("keephourly", p->keep_hourly, &first);
    print_rule("keepdaily", p->keep_daily, &first);
    print_rule("keepweekly", p->keep_weekly, &first);
    print_rule("keepmonthly", p->keep_monthly, &first);
    print_rule("keepyearly", p->keep_yearly, &first);
    printf("%s; a floor of %" PRIu64 " days with a proven point; zone %s; %s\n",
           first ? "no policy is set, nothing goes" : "", p->keep_proven, p->zone,
           p->automatic ? "applied after each good run" : "applied by hand");
}

static void print_decision(const Evercopy__V1__RetentionDecision *d, uint64_t now_us)
{
    char age[32];
    age_text(now_us, d->created_us, age);
    printf("%-42s %9s  %-6s ", d->snapshot, age, d->keep ? "keep" : "DELETE");
    for (size_t i = 0; i < d->n_reasons; i++)
        printf("%s%s\n", i ? "                                                             " : "",
               d->reasons[i]->text);
    if (!d->n_reasons)
        printf("\n");
}

static size_t going(const Evercopy__V1__PreviewRetentionReply *reply)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->n_decisions; i++)
        count += !reply->decisions[i]->keep;
    return count;
}

static void print_preview(const char *db, const Evercopy__V1__PreviewRetentionReply *reply)
{
    char bytes[32];
    print_policy(db, reply->policy);
    printf("%-42s %9s  %-6s %s\n", "snapshot", "age", "", "why");
    for (size_t i = 0; i < reply->n_decisions; i++)
        print_decision(reply->decisions[i], reply->now_us);
    shim_bytes(reply->reclaimable_bytes, bytes);
    printf("%zu go, %zu stay; space that comes back: %s; plan %s\n", going(reply),
           reply->n_decisions - going(reply), going(reply) ? bytes : "none", reply->plan_id);
    if (reply->refused[0])
        printf("applying would be refused now: %s\n", reply->refused);
}

/* ---- JSON ---- */

static bool decision_json(const Evercopy__V1__RetentionDecision *d, json_t *to, struct err *err)
{
    json_t *reasons = json_array();
    if (!json_put_text(to, "snapshot", d->snapshot, err) ||
        !words_put_time(to, "created", d->created_us, err) ||
        !json_put_flag(to, "keep", d->keep, err) || !json_put_flag(to, "proven", d->proven, err) ||
        !json_put(to, "reasons", reasons, err))
        return false;
    for (size_t i = 0; i < d->n_reasons; i++) {
        json_t *reason = json_object();
        if (!json_add(reasons, reason, err) ||
            !json_put_text(reason, "rule", d->reasons[i]->rule, err) ||
            !json_put_text(reason, "text", d->reasons[i]->text, err) ||
            !json_put_flag(reason, "blocks", d->reasons[i]->blocks, err))
            return false;
    }
    return words_put_known(to, "unique_bytes", d->unique_bytes, err);
}

static json_t *preview_json(const Evercopy__V1__PreviewRetentionReply *reply, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    json_t *list = json_array();
    if (!json_put_text(doc, "plan", reply->plan_id, err) ||
        !json_put_text(doc, "zone", reply->policy->zone, err) ||
        !json_put_text(doc, "refused", reply->refused, err) ||
        !json_put_u64(doc, "going", going(reply), err) || !json_put(doc, "decisions", list, err))
        return NULL;
    if (!words_put_known(doc, "reclaimable_bytes", reply->reclaimable_bytes, err))
        return NULL;
    for (size_t i = 0; i < reply->n_decisions; i++) {
        json_t *one = json_object();
        if (!json_add(list, one, err) || !decision_json(reply->decisions[i], one, err))
            return NULL;
    }
    return TAKE(doc);
}

static bool applied_json(json_t *doc, const Evercopy__V1__ApplyRetentionReply *reply,
                         struct err *err)
{
    json_t *deleted = json_array();
    if (!json_put(doc, "deleted", deleted, err) ||
        !json_put_text(doc, "stopped", reply->stopped, err) ||
        !json_put_text(doc, "job", reply->job, err))
        return false;
    for (size_t i = 0; i < reply->n_deleted; i++)
        if (!json_add(deleted, json_string(reply->deleted[i]), err))
            return false;
    return true;
}

/* ---- evercopy retention ---- */

/* --clock-is-right, before anything is asked to go. */
static bool confirm_clock(struct shim *shim, struct err *err)
{
    Evercopy__V1__ConfirmClockRequest request = EVERCOPY__V1__CONFIRM_CLOCK_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    if (!shim->options->clock_is_right)
        return true;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(shim, "Retention", "ConfirmClock", &request.base,
                  &evercopy__v1__confirm_clock_reply__descriptor, SHIM_CALL_MS, err);
    return reply != NULL;
}

/* Exactly the plan that was shown. */
static ProtobufCMessage *apply(struct shim *shim, const Evercopy__V1__PreviewRetentionReply *seen,
                               struct err *err)
{
    Evercopy__V1__ApplyRetentionRequest request = EVERCOPY__V1__APPLY_RETENTION_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)shim->db->name;
    request.plan_id = seen->plan_id;
    if (!confirm_clock(shim, err))
        return NULL;
    return shim_call(shim, "Retention", "ApplyRetention", &request.base,
                     &evercopy__v1__apply_retention_reply__descriptor, SHIM_SNAPSHOT_MS, err);
}

static int conclude(const struct shim *shim, const Evercopy__V1__ApplyRetentionReply *reply)
{
    if (reply && !shim->options->json && !shim->options->quiet) {
        for (size_t i = 0; i < reply->n_deleted; i++)
            printf("deleted %s\n", reply->deleted[i]);
        printf("%zu snapshots deleted [job %s]\n", reply->n_deleted, reply->job);
    }
    if (!reply || !reply->stopped[0])
        return 0;
    fprintf(stderr, "WARNING %s retention: %s\n", shim->db->name, reply->stopped);
    return NOT_ALL;
}

int verb_retention(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__PreviewRetentionRequest request = EVERCOPY__V1__PREVIEW_RETENTION_REQUEST__INIT;
    request.db_unique_name = (char *)db;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_open(&shim, options, db, &err)
            ? shim_call(&shim, "Retention", "PreviewRetention", &request.base,
                        &evercopy__v1__preview_retention_reply__descriptor, SHIM_CALL_MS, &err)
            : NULL;
    if (!message)
        return shim_report(&shim, db, "retention", &err);
    const Evercopy__V1__PreviewRetentionReply *seen = (const void *)message;
    if (!options->json && !options->quiet)
        print_preview(db, seen);
    AUTO(json) json_t *doc = options->json ? preview_json(seen, &err) : NULL;
    AUTO(reply) ProtobufCMessage *done = options->apply ? apply(&shim, seen, &err) : NULL;
    if (done && doc && !applied_json(doc, (const void *)done, &err))
        return shim_report(&shim, db, "retention", &err);
    if ((options->apply && !done) || (options->json && !doc) ||
        (doc && !shim_print_json(TAKE(doc), &err)))
        return shim_report(&shim, db, "retention", &err);
    return conclude(&shim, (const void *)done);
}

/* ---- evercopy snapshot ... ---- */

static bool waits(void *arg)
{
    progress_show(arg, 0, 0);
    return false;
}

/* One answer of the agent, which may read a snapshot for hours; NULL after the error was told. */
static ProtobufCMessage *ask(struct shim *shim, const struct shim_options *options, const char *db,
                             const char *service, const char *method,
                             const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *output, int *ret_exit)
{
    struct err err = {0};
    char text[80];
    ProtobufCMessage *reply = NULL;
    IGNORE(!str_format(text, sizeof text, "the agent works on it (%s)", method)); /* cut is fine */
    progress_begin(!options->quiet && !options->json);
    if (shim_open(shim, options, db, &err) && shim_connect(shim, &err)) {
        rpc_client_on_wait(shim->client, waits, text);
        reply = shim_call(shim, service, method, request, output, SHIM_SNAPSHOT_MS, &err);
        rpc_client_on_wait(shim->client, NULL, NULL);
    }
    progress_clear();
    *ret_exit = reply ? 0 : shim_report(shim, db, "snapshot", &err);
    return reply;
}

/* What a verb did to a snapshot, with what it has to add; doc is taken over. */
static int print_done(const struct shim_options *options, const char *db, const char *name,
                      const char *action, json_t *doc, bool ok)
{
    AUTO(shim) struct shim shim = {.options = options};
    struct err err = {0};
    AUTO(json) json_t *owned = doc;
    ok = ok && json_put_text(owned, "database", db, &err) &&
         json_put_text(owned, "snapshot", name, &err) &&
         json_put_text(owned, "action", action, &err) && shim_print_json(TAKE(owned), &err);
    if (ok)
        return 0;
    if (err.code == ERR_NONE)
        err_set(&err, ERR_NO_MEMORY, "print what was done");
    return shim_report(&shim, db, "snapshot", &err);
}

int verb_snapshot_create(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    int code;
    Evercopy__V1__CreateSnapshotRequest request = EVERCOPY__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    AUTO(reply)
    ProtobufCMessage *reply = ask(&shim, options, db, "Snapshots", "CreateSnapshot", &request.base,
                                  &evercopy__v1__create_snapshot_reply__descriptor, &code);
    if (!reply)
        return code;
    const Evercopy__V1__Snapshot *s = ((Evercopy__V1__CreateSnapshotReply *)reply)->snapshot;
    if (options->json) {
        struct err err = {0};
        json_t *doc = json_object();
        bool ok = words_put_verdict(doc, "verdict", (int)s->verdict, &err) &&
                  json_put_text(doc, "cause", s->cause, &err);
        return print_done(options, db, s->name, "created", doc, ok);
    }
    printf("%s\n", s->name);
    if (!options->quiet)
        fprintf(stderr, "as a recovery base: %s%s%s\n", shim_verdict_word((int)s->verdict),
                s->cause[0] ? ": " : "", s->cause);
    return 0;
}

struct answer {
    const char *name; /* the snapshot's */
    const void *request, *reply;
};

/* A verb that changes one snapshot: what it asks, and what it says of the answer. */
struct change {
    const char *method, *action;
    const ProtobufCMessageDescriptor *output;
    bool (*add)(const struct answer *answer, json_t *to, struct err *err); /* NULL: nothing */
    void (*say)(const struct answer *answer);
};

static int change(const struct change *what, const struct shim_options *options, const char *db,
                  const char *name, const ProtobufCMessage *request)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    int code;
    AUTO(reply)
    ProtobufCMessage *reply =
        ask(&shim, options, db, "Retention", what->method, request, what->output, &code);
    const struct answer answer = {name, request, reply};
    if (reply && options->json) {
        json_t *doc = json_object();
        bool ok = !what->add || what->add(&answer, doc, &err);
        return print_done(options, db, name, what->action, doc, ok);
    }
    if (reply && !options->quiet)
        what->say(&answer);
    return code;
}

static void say_deleted(const struct answer *a) { printf("snapshot '%s' deleted\n", a->name); }

int verb_snapshot_delete(const struct shim_options *options, const char *db, const char *name)
{
    static const struct change what = {"DeleteSnapshot", "deleted",
                                       &evercopy__v1__delete_snapshot_reply__descriptor, NULL,
                                       say_deleted};
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__DeleteSnapshotRequest request = EVERCOPY__V1__DELETE_SNAPSHOT_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    request.snapshot = (char *)name;
    if (options->clock_is_right &&
        (!shim_open(&shim, options, db, &err) || !confirm_clock(&shim, &err)))
        return shim_report(&shim, db, "snapshot", &err);
    shim_close(&shim);
    return change(&what, options, db, name, &request.base);
}

static bool duration(const char *text, uint64_t *ret_s, struct err *err)
{
    const uint64_t longest_s = UINT64_C(3660) * 86400;
    uint64_t value = text ? words_parse_age(text, 1) : 0;
    if (!value || value > longest_s)
        return err_set(err, ERR_INVALID, "--for '%.20s' is no time such as 90m, 12h or 3d",
                       text ? text : "");
    *ret_s = value;
    return true;
}

/* --until, a moment; --for, from now; neither: until it is released. */
static bool hold_until(const struct shim_options *options, const char *db, uint64_t *ret_us,
                       struct err *err)
{
    AUTO(shim) struct shim shim = {0};
    struct shim_options target = *options;
    uint64_t seconds = 0;
    uint64_t scn;
    *ret_us = 0;
    if (options->until && options->lease)
        return err_set(err, ERR_INVALID, "name one of --until and --for");
    if (options->lease) {
        if (!duration(options->lease, &seconds, err))
            return false;
        *ret_us = clock_wall_us() + seconds * 1000000u;
        return true;
    }
    target.to = options->until;
    target.scn = NULL;
    return !options->until ||
           (shim_open(&shim, &target, db, err) && shim_target(&shim, &scn, ret_us, err));
}

static bool add_hold(const struct answer *a, json_t *to, struct err *err)
{
    const Evercopy__V1__HoldSnapshotRequest *asked = a->request;
    const Evercopy__V1__HoldSnapshotReply *held = a->reply;
    return words_put_time(to, "until", asked->until_us, err) &&
           json_put_text(to, "hold", held->hold, err);
}

static void say_held(const struct answer *a)
{
    const Evercopy__V1__HoldSnapshotRequest *asked = a->request;
    const Evercopy__V1__HoldSnapshotReply *held = a->reply;
    char until[48];
    words_time(asked->until_us, 0, until);
    printf("snapshot '%s' is held until %s [hold %s]\n", a->name,
           asked->until_us ? until : "it is released", held->hold);
}

int verb_snapshot_hold(const struct shim_options *options, const char *db, const char *name)
{
    static const struct change what = {
        "HoldSnapshot", "held", &evercopy__v1__hold_snapshot_reply__descriptor, add_hold, say_held};
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__HoldSnapshotRequest request = EVERCOPY__V1__HOLD_SNAPSHOT_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    request.snapshot = (char *)name;
    request.reason = (char *)(options->reason ? options->reason : "");
    if (!options->reason)
        err_set(&err, ERR_INVALID, "a hold needs --reason TEXT");
    if (err.code != ERR_NONE || !hold_until(options, db, &request.until_us, &err))
        return shim_report(&shim, db, "snapshot", &err);
    return change(&what, options, db, name, &request.base);
}

static bool add_left(const struct answer *a, json_t *to, struct err *err)
{
    const Evercopy__V1__ReleaseSnapshotReply *released = a->reply;
    return json_put_u64(to, "holds_left", released->left, err);
}

static void say_released(const struct answer *a)
{
    const Evercopy__V1__ReleaseSnapshotReply *released = a->reply;
    printf("hold on '%s' released, %" PRIu32 " others hold it\n", a->name, released->left);
}

int verb_snapshot_release(const struct shim_options *options, const char *db, const char *name)
{
    static const struct change what = {"ReleaseSnapshot", "released",
                                       &evercopy__v1__release_snapshot_reply__descriptor, add_left,
                                       say_released};
    Evercopy__V1__ReleaseSnapshotRequest request = EVERCOPY__V1__RELEASE_SNAPSHOT_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    request.snapshot = (char *)name;
    request.hold = (char *)(options->hold ? options->hold : "");
    return change(&what, options, db, name, &request.base);
}

static bool add_lock(const struct answer *a, json_t *to, struct err *err)
{
    const Evercopy__V1__LockSnapshotReply *lock = a->reply;
    return json_put_text(to, "by", lock->by, err) && json_put_u64(to, "left_s", lock->left_s, err);
}

static void say_locked(const struct answer *a)
{
    const Evercopy__V1__LockSnapshotReply *lock = a->reply;
    printf("snapshot '%s' is locked by the %s for %" PRIu64 " min of the box's running time\n",
           a->name, lock->by, (lock->left_s + 59) / 60);
}

int verb_snapshot_lock(const struct shim_options *options, const char *db, const char *name)
{
    static const struct change what = {"LockSnapshot", "locked",
                                       &evercopy__v1__lock_snapshot_reply__descriptor, add_lock,
                                       say_locked};
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__LockSnapshotRequest request = EVERCOPY__V1__LOCK_SNAPSHOT_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    request.snapshot = (char *)name;
    if (!duration(options->lease, &request.for_s, &err))
        return shim_report(&shim, db, "snapshot", &err);
    return change(&what, options, db, name, &request.base);
}

int verb_snapshot_verify(const struct shim_options *options, const char *db, const char *name)
{
    AUTO(shim) struct shim shim = {0};
    int code;
    Evercopy__V1__VerifySnapshotRequest request = EVERCOPY__V1__VERIFY_SNAPSHOT_REQUEST__INIT;
    request.db_unique_name = (char *)db;
    request.snapshot = (char *)name;
    AUTO(reply)
    ProtobufCMessage *message =
        ask(&shim, options, db, "Snapshots", "VerifySnapshot", &request.base,
            &evercopy__v1__verify_snapshot_reply__descriptor, &code);
    if (!message)
        return code;
    const Evercopy__V1__VerifySnapshotReply *reply = (const void *)message;
    bool good = reply->verdict == EVERCOPY__V1__VERDICT__VERDICT_OK;
    if (options->json) {
        struct err err = {0};
        json_t *doc = json_object();
        json_t *list = json_array();
        bool ok = json_put(doc, "findings", list, &err) &&
                  words_put_verdict(doc, "verdict", (int)reply->verdict, &err) &&
                  json_put_u64(doc, "files", reply->files, &err);
        for (size_t i = 0; ok && i < reply->n_findings; i++)
            ok = json_add(list, json_string(reply->findings[i]), &err);
        code = print_done(options, db, name, "verified", doc, ok);
        return code ? code : good ? 0 : NOT_ALL;
    }
    for (size_t i = 0; i < reply->n_findings; i++)
        printf("differs  %s\n", reply->findings[i]);
    if (!options->quiet)
        printf("%-8s %s: %" PRIu32 " files read, %zu differ from what was kept\n",
               good ? "ok" : "FAILED", name, reply->files, reply->n_findings);
    return good ? 0 : NOT_ALL;
}

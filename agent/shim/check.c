/* evercopy check: a Nagios plug-in. Never green by default. */
#include "agent/shim/status.h"

#include "agent/base/clock.h"
#include "agent/shim/words.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOCK_WARNING_S = 120, FUTURE_S = 300, NAME_BYTES = 64 };

static const char *const state_words[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
/* Critical is certain, unknown may be worse than a warning. */
static const int state_ranks[] = {0, 1, 3, 2};

void check_done(struct check *check) { str_done(&check->text); }

static enum check_state worse(enum check_state a, enum check_state b)
{
    return state_ranks[b] > state_ranks[a] ? b : a;
}

/* A cause must not end the text: '|' begins the figures. */
static void append_safe(struct str *out, const char *text)
{
    AUTO(str) struct str line = {0};
    words_append_line(&line, text);
    for (size_t i = 0; i < line.len; i++)
        str_append_n(out, line.text[i] == '|' ? "/" : &line.text[i], 1);
}

static void add(struct check *c, enum check_state state, const char *text)
{
    c->state = worse(c->state, state);
    str_append(&c->text, "; ");
    append_safe(&c->text, text);
}

static enum check_state from_verdict(Evercopy__V1__Verdict verdict)
{
    switch (verdict) {
    case EVERCOPY__V1__VERDICT__VERDICT_OK:
        return CHECK_OK;
    case EVERCOPY__V1__VERDICT__VERDICT_WARNING:
        return CHECK_WARNING;
    case EVERCOPY__V1__VERDICT__VERDICT_FAILED:
        return CHECK_CRITICAL;
    default:
        return CHECK_UNKNOWN;
    }
}

static void judge_age(struct check *c, const char *what, uint64_t age_s)
{
    char age[32];
    char limit[32];
    char text[160];
    const struct check_limits *l = &c->limits;
    bool critical = l->critical_s && age_s >= l->critical_s;
    bool warning = l->warning_s && age_s >= l->warning_s;
    if (!critical && !warning)
        return;
    words_age(age_s, age);
    words_age(critical ? l->critical_s : l->warning_s, limit);
    IGNORE(!str_format(text, sizeof text, "%s is %s old, the limit is %s", what, age, limit));
    add(c, critical ? CHECK_CRITICAL : CHECK_WARNING, text);
}

static void judge_point(struct check *c, uint64_t agent_time_us)
{
    const Evercopy__V1__DatabaseStatus *s = c->status;
    if (!s->recoverable_to_scn) {
        add(c, CHECK_CRITICAL, "nothing is recoverable");
    } else if (!s->recoverable_to_time_us) {
        add(c, CHECK_UNKNOWN, "the time of the newest recovery point is not known");
    } else if (s->recoverable_to_time_us > agent_time_us + FUTURE_S * UINT64_C(1000000)) {
        add(c, CHECK_UNKNOWN, "the newest recovery point lies in the future: a clock is wrong");
    } else {
        judge_age(c, "the newest recovery point", s->exposure_s);
    }
}

static uint64_t age_of(uint64_t us, uint64_t now_us)
{
    return us && now_us > us ? (now_us - us) / 1000000u : 0;
}

void check_judge(const Evercopy__V1__DatabaseStatus *status, const struct check_limits *limits,
                 uint64_t agent_time_us, int64_t clock_offset_s, struct check *c)
{
    char text[96];
    char age[32];
    char time[48];
    *c = (struct check){
        .status = status,
        .limits = *limits,
        .agent_time_us = agent_time_us,
        .state = from_verdict(status->verdict),
    };
    IGNORE(!str_copy(c->name, sizeof c->name, status->db_unique_name));
    words_time(status->recoverable_to_time_us, 0, time);
    words_age(status->exposure_s, age);
    append_safe(&c->text, status->db_unique_name);
    if (status->cause[0]) {
        str_append(&c->text, ": ");
        append_safe(&c->text, status->cause);
    }
    if (status->recoverable_to_time_us)
        str_printf(&c->text, "%s recoverable to %s, exposed for %s", status->cause[0] ? ";" : "",
                   time, age);
    judge_point(c, agent_time_us);
    if (status->base_time_us)
        judge_age(c, "the newest proven base", age_of(status->base_time_us, agent_time_us));
    else if (status->recoverable_to_scn)
        add(c, CHECK_UNKNOWN, "no proven base is named");
    if (llabs((long long)clock_offset_s) >= CLOCK_WARNING_S) {
        IGNORE(!str_format(text, sizeof text,
                           "the clocks of this host and the agent are %lld s apart",
                           llabs((long long)clock_offset_s)));
        add(c, CHECK_WARNING, text);
    }
    if (c->state != CHECK_OK && status->next[0]) {
        str_append(&c->text, "; next: ");
        append_safe(&c->text, status->next);
    }
}

enum check_state check_worst(const struct check *checks, size_t count)
{
    enum check_state state = count ? CHECK_OK : CHECK_UNKNOWN;
    for (size_t i = 0; i < count; i++)
        state = worse(state, checks[i].text.failed ? CHECK_UNKNOWN : checks[i].state);
    return state;
}

/* ---- figures: 'label'=value[unit];[warn];[crit];[min];[max] ---- */

static void label(struct str *out, const char *db, const char *name)
{
    str_append(out, " ");
    if (!db) {
        str_append(out, name);
        return;
    }
    str_append(out, "'"); /* database names hold no quote and no '='; others are left out */
    for (; *db; db++)
        if (*db != '\'' && *db != '=' && *db != '|' && (unsigned char)*db > ' ')
            str_append_n(out, db, 1);
    str_printf(out, " %s'", name);
}

static void limit(struct str *out, uint64_t value)
{
    str_append(out, ";");
    if (value)
        str_printf(out, "%" PRIu64, value);
}

static void figure(struct str *out, const char *db, const char *name, bool known, uint64_t value,
                   const char *unit, const struct check_limits *limits)
{
    label(out, db, name);
    if (known)
        str_printf(out, "=%" PRIu64 "%s", value, unit);
    else
        str_append(out, "=U");
    limit(out, limits ? limits->warning_s : 0);
    limit(out, limits ? limits->critical_s : 0);
    str_append(out, ";0;");
}

static void figures(const struct check *c, const char *db, struct str *out)
{
    const Evercopy__V1__DatabaseStatus *s = c->status;
    uint64_t now = c->agent_time_us;
    uint64_t arrived_s = s->arrived_to_time_us > s->recoverable_to_time_us
                             ? (s->arrived_to_time_us - s->recoverable_to_time_us) / 1000000u
                             : 0;
    bool told = s->recoverable_to_time_us != 0;
    figure(out, db, "exposure", told, s->exposure_s, "s", &c->limits);
    figure(out, db, "snapshots", true, s->snapshot_count, "", NULL);
    figure(out, db, "proof_age", s->base_time_us != 0, age_of(s->base_time_us, now), "s",
           &c->limits);
    figure(out, db, "unprotected_logs", told && s->arrived_to_time_us, arrived_s, "s", NULL);
    figure(out, db, "gaps", true, s->gaps, "", NULL);
    figure(out, db, "free", s->free_bytes <= INT64_MAX, s->free_bytes, "B", NULL);
    figure(out, db, "lease_age", true, age_of(s->lease_taken_us, now), "s", NULL);
}

static void clock_figure(struct str *out, int64_t offset_s)
{
    str_printf(out, " clock_offset=%" PRId64 "s;%d:%d;;;", offset_s, -CLOCK_WARNING_S,
               CLOCK_WARNING_S);
}

static void render_many(const struct check *checks, size_t count, int64_t clock_offset_s,
                        struct str *out)
{
    size_t states[4] = {0};
    for (size_t i = 0; i < count; i++)
        states[checks[i].state]++;
    if (states[CHECK_OK] == count)
        str_printf(out, "all %zu databases; most exposed: ", count);
    else
        str_printf(out, "%zu of %zu databases are not ok; worst: ", count - states[CHECK_OK],
                   count);
    if (count)
        str_append_n(out, checks[0].text.text, checks[0].text.len);
    str_printf(out,
               " | databases=%zu;;;0; ok=%zu;;;0; warning=%zu;;;0; critical=%zu;;;0;"
               " unknown=%zu;;;0;",
               count, states[0], states[1], states[2], states[3]);
    clock_figure(out, clock_offset_s);
    str_append(out, "\n");
    for (size_t i = 0; i < count; i++)
        str_printf(out, "%s - %s\n", state_words[checks[i].state], checks[i].text.text);
    if (out->len)
        out->len--; /* the figures follow the last line */
    str_append(out, " |");
    for (size_t i = 0; i < count; i++) {
        if (i)
            str_append(out, "\n");
        figures(&checks[i], checks[i].name, out);
    }
    str_append(out, "\n");
}

void check_render(const struct check *checks, size_t count, int64_t clock_offset_s, struct str *out)
{
    str_printf(out, "%s - ", state_words[check_worst(checks, count)]);
    if (count == 1) {
        str_append_n(out, checks[0].text.text, checks[0].text.len);
        str_append(out, " |");
        figures(&checks[0], NULL, out);
        clock_figure(out, clock_offset_s);
        str_append(out, "\n");
    } else if (count) {
        render_many(checks, count, clock_offset_s, out);
    } else {
        str_append(out, "the agent names no database that this certificate may see\n");
    }
}

void check_render_failure(const char *db, const struct err *err, struct str *out)
{
    str_printf(out, "UNKNOWN - ");
    append_safe(out, db ? db : "");
    str_append(out, db && *db ? ": " : "");
    append_safe(out, err->text);
    str_append(out, "\n");
}

/* ---- the verb ---- */

struct checking {
    struct shim shim;
    struct check *checks;
    size_t count;
    ProtobufCMessage *message;
    int64_t clock_offset_s;
};

static void checking_done(struct checking *c)
{
    for (size_t i = 0; i < c->count; i++)
        check_done(&c->checks[i]);
    own_free(c->checks);
    shim_free_reply(c->message);
    shim_close(&c->shim);
}
OWN_DEFINE_INPLACE(checking, struct checking, checking_done);

static bool option_age(const char *name, const char *text, uint64_t *ret_s, struct err *err)
{
    if (!text)
        return true;
    *ret_s = words_parse_age(text, 3600);
    return *ret_s ||
           err_set(err, ERR_INVALID, "%s '%.40s' is no time such as 90m, 36h or 2d", name, text);
}

static bool find_limits(const struct checking *c, const char *database, struct check_limits *ret,
                        struct err *err)
{
    struct err none = {0};
    const struct config_database *db = config_shim_find(c->shim.config, database, &none);
    if (!db)
        db = config_shim_generic(c->shim.config);
    *ret = (struct check_limits){words_parse_age(config_value(db, "warningsnapage"), 3600),
                                 words_parse_age(config_value(db, "criticalsnapage"), 3600)};
    if (!option_age("--warning", c->shim.options->warning, &ret->warning_s, err) ||
        !option_age("--critical", c->shim.options->critical, &ret->critical_s, err))
        return false;
    return !ret->critical_s || ret->warning_s <= ret->critical_s ||
           err_set(err, ERR_INVALID, "the warning limit lies above the critical one");
}

static int compare_checks(const void *a, const void *b)
{
    const struct check *x = a;
    const struct check *y = b;
    if (x->state != y->state)
        return state_ranks[y->state] - state_ranks[x->state];
    uint64_t p = x->status->exposure_s;
    uint64_t q = y->status->exposure_s;
    return p < q ? 1 : p > q ? -1 : strcmp(x->name, y->name);
}

static bool judge_all(struct checking *c, struct err *err)
{
    const Evercopy__V1__GetStatusReply *reply = (const void *)c->message;
    c->checks = own_alloc(sizeof *c->checks * (reply->n_databases + 1), err);
    if (!c->checks)
        return false;
    for (size_t i = 0; i < reply->n_databases; i++) {
        struct check_limits limits;
        if (!find_limits(c, reply->databases[i]->db_unique_name, &limits, err))
            return false;
        check_judge(reply->databases[i], &limits, reply->agent_time_us, c->clock_offset_s,
                    &c->checks[c->count++]);
    }
    qsort(c->checks, c->count, sizeof *c->checks, compare_checks);
    return true;
}

static bool ask_agent(struct checking *c, const char *db, struct err *err)
{
    struct check_limits unused;
    Evercopy__V1__GetStatusRequest request = EVERCOPY__V1__GET_STATUS_REQUEST__INIT;
    request.db_unique_name = (char *)(db ? db : "");
    if (!shim_zone(&c->shim, err) || !find_limits(c, "", &unused, err))
        return false;
    shim_deliver_first(&c->shim);
    IGNORE(!shim_connect(&c->shim, err)); /* so that the handshake is not part of the measure */
    uint64_t before = clock_wall_us();
    c->message = err->code == ERR_NONE
                     ? shim_call(&c->shim, "Databases", "GetStatus", &request.base,
                                 &evercopy__v1__get_status_reply__descriptor, SHIM_CALL_MS, err)
                     : NULL;
    uint64_t after = clock_wall_us();
    if (!c->message)
        return false;
    const Evercopy__V1__GetStatusReply *reply = (const void *)c->message;
    int64_t lead_us = (int64_t)(before / 2 + after / 2) - (int64_t)reply->agent_time_us;
    int64_t doubt_us =
        (int64_t)((after - before) / 2); /* the answer was made somewhen in between */
    bool within = lead_us <= doubt_us && lead_us >= -doubt_us;
    c->clock_offset_s = reply->agent_time_us && !within ? lead_us / 1000000 : 0;
    return true;
}

static bool print_json(const struct checking *c, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    json_t *list = json_array();
    if (!json_put_text(doc, "state", state_words[check_worst(c->checks, c->count)], err) ||
        !json_put(doc, "clock_offset_s", json_integer(c->clock_offset_s), err) ||
        !json_put(doc, "databases", list, err))
        return false;
    for (size_t i = 0; i < c->count; i++) {
        const struct check *one = &c->checks[i];
        const Evercopy__V1__DatabaseStatus *s = one->status;
        json_t *to = json_object();
        if (!json_add(list, to, err) || !json_put_text(to, "database", one->name, err) ||
            !json_put_text(to, "state", state_words[one->state], err) ||
            !json_put_text(to, "text", one->text.text ? one->text.text : "", err) ||
            !words_put_known(to, "exposure_s",
                             s->recoverable_to_time_us ? s->exposure_s : UINT64_MAX, err) ||
            !json_put_u64(to, "warning_s", one->limits.warning_s, err) ||
            !json_put_u64(to, "critical_s", one->limits.critical_s, err) ||
            !json_put_u64(to, "snapshots", s->snapshot_count, err) ||
            !json_put_u64(to, "gaps", s->gaps, err) ||
            !words_put_known(to, "free_bytes", s->free_bytes, err) ||
            !words_put_time(to, "base", s->base_time_us, err))
            return false;
    }
    return shim_print_json(TAKE(doc), err);
}

/* Whatever goes wrong, stdout has the plug-in's line: a monitor reads nothing else. */
static int fail(const struct checking *c, const char *db, const struct err *err)
{
    AUTO(str) struct str text = {0};
    struct err why = {0};
    if (!c->shim.options->json) {
        check_render_failure(db, err, &text);
        IGNORE(!shim_print_text(&text, &why));
    }
    IGNORE(shim_report(&c->shim, db, "check", err)); /* the exit code is the plug-in's own */
    return CHECK_UNKNOWN;
}

int verb_check(const struct shim_options *options, const char *db)
{
    AUTO(checking) struct checking c = {.shim.options = options};
    AUTO(str) struct str text = {0};
    struct err err = {0};
    if (!db == !options->all) {
        err_set(&err, ERR_INVALID, "name a database, or --all");
        return fail(&c, db, &err);
    }
    if (!shim_open(&c.shim, options, db, &err) || !ask_agent(&c, db, &err) || !judge_all(&c, &err))
        return fail(&c, db, &err);
    check_render(c.checks, c.count, c.clock_offset_s, &text);
    bool ok = options->json ? print_json(&c, &err) : shim_print_text(&text, &err);
    return ok ? (int)check_worst(c.checks, c.count) : fail(&c, db, &err);
}

int verb_check_failed(const struct shim_options *options, const struct err *err)
{
    AUTO(checking) struct checking c = {.shim.options = options};
    return fail(&c, NULL, err);
}

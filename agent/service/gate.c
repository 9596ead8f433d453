/* The gate: who is let in, and the audit of what they change or are refused. */
#include "agent/service/gate.h"

#include "agent/auth/ca.h"
#include "agent/auth/deny.h"
#include "agent/auth/list.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include <inttypes.h>
#include <string.h>

enum { CALLERS_MAX = 256, MINUTE_MS = 60000, LOOK_MS = 1000, WARN_MS = 86400000 };

struct caller_count {
    char fingerprint[65];
    uint64_t since_ms, calls;
};

struct gate {
    struct deny *deny;
    struct scribe *scribe;
    struct timer *timer;
    char *pki;
    uint64_t warned_ms; /* when certificates that end were looked for last; 0: never */
    void (*changed)(void *arg);
    void *changed_arg;
    bool has_changed; /* told outside of calls only */
    uint64_t calls_per_minute;
    struct caller_count callers[CALLERS_MAX];
};

bool gate_refresh(struct gate *gate, struct err *err)
{
    bool changed = false;
    bool ok = deny_refresh(gate->deny, &changed, err);
    gate->has_changed |= changed;
    if (changed)
        log_info("deny list read again");
    return ok;
}

/* Looked at for each call, so that a denial counts at once; told once for each broken file. */
static void look(struct gate *gate)
{
    struct err err = {0};
    if (!gate_refresh(gate, &err))
        log_error("%s", err.text);
}

/* Once a day, for whoever reads logs and not the status. */
static void warn_of_ends(struct gate *gate)
{
    char text[300];
    struct err err = {0};
    uint64_t now = clock_boot_ms();
    if (gate->warned_ms && now - gate->warned_ms < WARN_MS)
        return;
    gate->warned_ms = now;
    if (!ca_warning(gate->pki, text, &err))
        log_error("%s", err.text);
    else if (text[0])
        log_warning("%s", text);
}

static void on_timer(void *arg)
{
    struct gate *gate = arg;
    look(gate);
    warn_of_ends(gate);
    if (gate->has_changed && gate->changed)
        gate->changed(gate->changed_arg);
    gate->has_changed = false;
}

static void note_life(struct gate *gate, const char *kind, const char *text)
{
    struct audit_record record = {.kind = kind, .text = text};
    scribe_note(gate->scribe, &record);
}

struct gate *gate_new(struct loop *loop, const struct gate_options *options, struct err *err)
{
    AUTO(gate) struct gate *gate = own_alloc(sizeof *gate, err);
    AUTO(audit) struct audit *audit = NULL;
    if (!gate || !(gate->pki = own_strdup(options->pki, err)) ||
        !(gate->deny = deny_open(options->pki, err)) ||
        !(audit = audit_open(options->state, AUDIT_ROTATE_BYTES, err)))
        return NULL;
    list_sweep(options->pki);
    if (audit_notice(audit)[0])
        log_error("%s; hint: evercopyd audit verify", audit_notice(audit));
    gate->calls_per_minute = options->calls_per_minute;
    gate->scribe = scribe_new(loop, audit, err);
    if (!gate->scribe)
        return NULL;
    audit = NULL;
    gate->timer = timer_new(loop, on_timer, gate, err);
    if (!gate->timer)
        return NULL;
    timer_set(gate->timer, LOOK_MS, LOOK_MS);
    note_life(gate, "start", "the agent starts");
    return TAKE(gate);
}

void gate_stop(struct gate *gate) { timer_free(TAKE(gate->timer)); }

void gate_free(struct gate *gate)
{
    if (!gate)
        return;
    timer_free(gate->timer);
    if (gate->scribe)
        note_life(gate, "stop", "the agent stops");
    scribe_free(gate->scribe);
    deny_close(gate->deny);
    own_free(gate->pki);
    own_free(gate);
}

void gate_on_change(struct gate *gate, void (*fn)(void *arg), void *arg)
{
    gate->changed = fn;
    gate->changed_arg = arg;
}

void gate_set_calls(struct gate *gate, uint64_t calls_per_minute)
{
    gate->calls_per_minute = calls_per_minute;
}

struct scribe *gate_scribe(struct gate *gate) { return gate->scribe; }

static void audit_refusal(struct gate *gate, const struct rpc_peer *peer, const char *method,
                          const struct err *why)
{
    struct audit_record record = {.kind = "refused",
                                  .who = peer,
                                  .method = method,
                                  .code = err_code_name(why->code),
                                  .text = why->text};
    scribe_refusal(gate->scribe, &record);
}

bool gate_admit(struct gate *gate, const struct rpc_peer *peer, struct err *err)
{
    look(gate);
    if (roles_check(peer, ROLE_ANY, err) && deny_check(gate->deny, peer, err))
        return true;
    audit_refusal(gate, peer, "connect", err);
    return false;
}

/* The certificate's place, else the one that was quiet for longest. */
static struct caller_count *find_caller(struct gate *gate, const struct rpc_peer *peer)
{
    struct caller_count *oldest = &gate->callers[0];
    for (size_t i = 0; i < CALLERS_MAX; i++) {
        struct caller_count *caller = &gate->callers[i];
        if (strcmp(caller->fingerprint, peer->fingerprint) == 0)
            return caller;
        if (caller->since_ms < oldest->since_ms)
            oldest = caller;
    }
    *oldest = (struct caller_count){0};
    memcpy(oldest->fingerprint, peer->fingerprint, sizeof oldest->fingerprint);
    return oldest;
}

static bool count_call(struct gate *gate, const struct rpc_peer *peer, struct err *err)
{
    uint64_t now = clock_mono_ms();
    if (!gate->calls_per_minute || role_from_name(peer->role) != ROLE_DBHOST)
        return true;
    struct caller_count *caller = find_caller(gate, peer);
    if (!caller->since_ms || now - caller->since_ms >= MINUTE_MS) {
        caller->since_ms = now;
        caller->calls = 0;
    }
    if (++caller->calls <= gate->calls_per_minute)
        return true;
    return err_set(err, ERR_QUOTA,
                   "'%s' made more than %" PRIu64
                   " calls in a minute (callsperminute); free again in %" PRIu64 " s",
                   peer->cn, gate->calls_per_minute,
                   (caller->since_ms + MINUTE_MS - now + 999) / 1000);
}

bool gate_authorize(struct gate *gate, const struct rpc_peer *peer, const char *method,
                    uint32_t roles, struct err *err)
{
    look(gate);
    if (roles_check(peer, roles, err) && deny_check(gate->deny, peer, err) &&
        count_call(gate, peer, err))
        return true;
    log_warning("call refused method=%s peer=%s cn=%s: %s", method, peer->address, peer->cn,
                err->text);
    audit_refusal(gate, peer, method, err);
    return false;
}

/* One backup run on the database host: its tools, its log, its facts. Used by the phases in
 * backup.c. */
#pragma once
#include "agent/oracle/facts.h"
#include "agent/shim/rman.h"
#include "agent/shim/rows.h"
#include "agent/shim/shim.h"
#include "agent/shim/spool.h"
#include "agent/shim/sqlplus.h"
#include "agent/shim/template.h"

struct run {
    struct shim *shim;
    struct oratab_home home;
    struct rows_probe probe;
    struct facts *facts;  /* of the phase that is on */
    struct facts *before; /* as the run began: headers, files */
    struct rmanlog *log;
    char job[40]; /* "" until the agent granted the run */
    uint64_t token;
    bool first_run, slow_snapshot;
    char base_snapshot[128];
    uint64_t base_start_scn;
    uint32_t *suspects; /* whole list as it stands now */
    size_t suspect_count;
    struct rows_logs holes;  /* logs that are nowhere any more */
    struct rows_logs copied; /* logs RMAN was told to copy in this run */
    const char *phase;
    size_t step, steps;        /* phases behind us and in all, for the eye; 0: not known */
    const char *tool;          /* the template that runs, or "" */
    char next[256];            /* what the operator can do about a failure */
    char warning[256];         /* the run is good, but */
    struct spool *spool;       /* NULL: this verb has no log at the agent */
    struct spool_batch *batch; /* room for what is being sent */
    uint64_t sent_ms;
    uint64_t heard_ms;           /* last line of the tool that is on */
    bool silence_told, hung;     /* hung: stopped for its silence */
    char cancelled_by[160];      /* the agent told so; "" otherwise */
    void (*while_on)(void *arg); /* asked several times a second while a tool is on; may be NULL */
    void *while_on_arg;
    bool ended;      /* the agent has the verdict: what is still said comes late */
    bool agent_gone; /* lines wait, RMAN goes on */
};

/* Set by SIGTERM, SIGINT, SIGHUP; the running tool is then stopped in order. */
bool run_is_stopped(void *arg);
void run_catch_signals(void);
/* For what must still be done after a stop. */
void run_forget_stop(void);
/* CANCELLED, with who wanted it; returns false. */
bool run_stopped(const struct run *run, struct err *err);

/* Start of a process in clock ticks since boot, so that a reused pid is not taken for it; 0 when
 * there is no such process. */
uint64_t run_process_start(uint32_t pid);
/* Whose process ids these are: this boot of this kernel, and this space of processes. Hosts and
 * containers may share a name. "" when it cannot be told. */
void run_process_space(char ret[80]);

void run_done(struct run *run);
OWN_DEFINE_INPLACE(run, struct run, run_done);

/* For waits of any kind: shows how far the run is; true when it is to stop. */
bool run_waits(void *run);
/* A line of the job's log; control signs are kept out of the terminal. */
void run_say(struct run *run, const char *fmt, ...) PRINTF(2, 3);
/* Sends waiting lines; trouble with the agent is remembered, not an error. */
void run_flush(struct run *run);
/* Makes the log of this run a spool: in memory, and on disk once the run has its name. */
bool run_keep_log(struct run *run, struct err *err) MUST;
void run_attach_log(struct run *run);

/* A call that a run which has begun cannot do without: waits for an agent that is away, trying
 * again ever more slowly, for `agentwait` at most and no longer than a stop is not asked for. */
ProtobufCMessage *run_call(struct run *run, const char *service, const char *method,
                           const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                           struct err *err) MUST;
/* The same with a wait of its own; patient goes on after a stop was asked for. */
ProtobufCMessage *run_call_within(struct run *run, const char *service, const char *method,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                                  uint64_t wait_ms, bool patient, struct err *err) MUST;
/* The agent said that somebody wants the run to stop. */
void run_note_cancel(struct run *run, const char *who);

/* Renders and runs a SQL template; rows may be NULL. */
bool run_sql(struct run *run, const char *template_name, const struct template_vars *vars,
             bool (*row)(void *arg, char *row, struct err *err), void *row_arg, struct err *err)
    MUST;
/* Renders and runs an RMAN template; output goes to the job's log and the classifier. */
bool run_rman(struct run *run, const char *template_name, const struct template_vars *vars,
              struct err *err) MUST;
/* Vars every template may name: run, area, tag, cf_tag, cdb, noncdb. */
struct template_vars *run_vars(struct run *run, struct err *err) MUST;
/* Finds Oracle's home; asks nothing of an instance. */
bool run_probe_home(struct run *run, struct err *err) MUST;
/* Finds Oracle's home, asks instance and release. */
bool run_probe(struct run *run, struct err *err) MUST;
/* Asks the whole fact sheet; moments of `earlier` are carried over. */
struct facts *run_facts(struct run *run, const char *phase, const struct facts *earlier,
                        struct err *err) MUST;

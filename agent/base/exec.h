/* Running another program: argv array, no shell, own process group, output by line. Blocks. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

enum { EXEC_LEFT_MS = 2000 };

struct exec_result {
    int exit_code;  /* 0..255 when it exited */
    int signal_no;  /* not 0 when a signal ended it */
    bool timed_out; /* ended by us at the deadline */
    bool cancelled; /* ended by us on request */
    bool flooded;   /* ended by us: more output than output_max */
    bool left;      /* not ended: it is another user's now (sudo), and SIGKILL is not permitted. It
                       runs on; signal_no is SIGKILL, so that it never reads as success */
};

struct exec {
    const char *const *argv; /* argv[0] is the path; NULL at the end */
    const char *const *envp; /* the whole environment; NULL at the end */
    const char *dir;         /* working directory, NULL: "/" */
    const char *input;       /* for stdin; secrets go here, never into argv */
    size_t input_len;
    uint64_t deadline_ms; /* 0: none. SIGINT at the deadline, SIGKILL after grace_ms more, and
                             EXEC_LEFT_MS later it is left if that was not permitted */
    uint64_t grace_ms;
    uint64_t output_max; /* bytes; more ends the program as at the deadline. 0: any amount */
    bool end_group;      /* what is left of its process group is killed when it has ended */
    /* Each line of stdout and stderr, without line end, at most 4000 bytes (longer ones are cut);
     * called on the calling thread. NULL drops the output. */
    void (*line)(void *arg, const char *line, size_t len);
    /* Asked several times a second; true ends the program as at the deadline. NULL: never. */
    bool (*cancelled)(void *arg);
    void *arg;
};

/* True when the program was started, whatever became of it. The child gets SIGKILL if this thread
 * dies (PR_SET_PDEATHSIG), no descriptor but 0, 1, 2, and no ambient capability of the agent's. */
bool exec_run(const struct exec *exec, struct exec_result *ret_result, struct err *err) MUST;

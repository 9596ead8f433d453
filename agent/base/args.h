/* Command lines of both programs: options that may stand anywhere, then words. */
#pragma once
#include "agent/base/own.h"

struct args_option {
    const char *name;  /* "--config" */
    const char **text; /* takes a value; NULL for a flag */
    bool *flag;
    const char **list; /* takes a value each time; NULL otherwise */
    size_t *list_count;
    size_t list_max;
};

enum { ARGS_WORDS_MAX = 64 };

struct args {
    const char *words[ARGS_WORDS_MAX];
    size_t word_count;
};

/* INVALID with the nearest known option. "--" ends the options; "--name=value" works too. */
bool args_parse(int argc, char **argv, const struct args_option *options, size_t option_count,
                struct args *ret_args, struct err *err) MUST;

/* evercopy-vaultd's tools: scrub, fsck, stat, export, sync. They read the store beside a serving
 * evercopy-vaultd; what writes rows (fsck --repair) wants it stopped. */
#pragma once
#include "agent/base/args.h"
#include "agent/config/config.h"
#include "drivers/vault/io/io.h"
#include <stdio.h>

struct tools_options {
    const char *config;
    const char *rate, *position;    /* scrub, sync: bytes a second; scrub: where it stands */
    const char *volume, *to_config; /* sync */
    bool repair, rebuild;           /* fsck */
    bool prune, json;
};
/* Exit codes. */
enum { TOOLS_SOUND = 0, TOOLS_DAMAGE = 1, TOOLS_USAGE = 2, TOOLS_FAILED = 3 };
typedef struct io *tools_open(const struct config_vault *config, struct err *err);

bool tools_is_verb(const char *word);
extern const char tools_usage[];
/* A verb with its words: findings and figures to `out`, a line each; errors to `errors`. SIGINT and
 * SIGTERM end it in good order. */
int tools_main(const struct tools_options *options, const struct args *args, tools_open *open,
               FILE *out, FILE *errors) MUST;

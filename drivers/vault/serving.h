/* What evercopy-vaultd serves to the network: exports, the NFS port, the port mapper. */
#pragma once
#include "agent/config/config.h"
#include "drivers/vault/control/exporter.h"
#include "drivers/vault/volume/vault.h"

struct serving;
/* vault is borrowed. No port yet; config is read before it returns. */
struct serving *serving_new(struct vault *vault, const struct config_vault *config, struct err *err)
    MUST;
void serving_free(struct serving *serving); /* after the control socket's server has stopped */
OWN_DEFINE(serving, struct serving, serving_free);
/* Whether serving_new and serving_reload would take it. */
bool serving_check(const struct config_vault *config, struct err *err) MUST;

/* Opens the port, if this configuration wants one and none is open; answers when it returns. */
bool serving_start(struct serving *serving, const struct config_vault *config, struct err *err)
    MUST;
/* Answers what is under way, closes; exports stay, for who lists them. */
void serving_stop(struct serving *serving);
/* Rules of a new reading hold for the next call of each client, and its first [export] opens the
 * port. On failure everything is as before. ret_left: which exports keep their rules all the same,
 * and why; NONE: none does. */
bool serving_reload(struct serving *serving, const struct config_vault *config,
                    struct err *ret_left, struct err *err) MUST;
uint16_t serving_port(struct serving *serving); /* 0: none is open */
/* For the control socket; lives as long as serving. */
const struct exporter *serving_exporter(const struct serving *serving);
